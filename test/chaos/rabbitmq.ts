/**
 * The chaos run: a pipeline of two steps over a real broker, while its consumers are killed, the broker is killed and
 * started again, and the network between them is cut and falls silent. A ledger outside of Levada, by event and step,
 * says what became of each event that the source has accepted.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { LiveStep } from '../../cli/up/admin.ts';
import { type RabbitVersion, startRabbit } from '../../hack/rabbitmq.ts';
import type { DeadLetter } from '../../runtime/pipeline/dead-letters.ts';
import { processes } from '../support/processes.ts';
import { startProxy } from '../support/proxy.ts';
import { Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';
import { generator } from './random.ts';

export interface ChaosOptions {
  readonly version: RabbitVersion;
  readonly seconds: number;
  readonly seed: number;
  readonly perSecond: number;
  readonly log?: (text: string) => void;
}

export interface ChaosReport {
  readonly version: RabbitVersion;
  readonly seed: number;
  readonly seconds: number;
  readonly posted: number;
  /** Answered with 2xx. */
  readonly accepted: number;
  readonly deadLetters: number;
  /** What was done to the run, by name. */
  readonly faults: Readonly<Record<string, number>>;
  /** Event and step of what has no end: must be empty. */
  readonly lost: readonly string[];
  /** Handled to the end more than once, by event and step. */
  readonly duplicates: number;
  /** Deliveries of which an attempt was repeated, and how many there may be: the prefetch of a consumer each time it is disturbed. */
  readonly repeated: number;
  readonly repeatedAtMost: number;
  /** Until nothing was left after the last fault. */
  readonly settledMs: number;
}

/** Events that a consumer has in hand at most. */
const prefetch = 16;
const steps = ['one', 'two'] as const;

const resource = {
  apiVersion: 'levada.dev/v1alpha1',
  kind: 'EventPipeline',
  metadata: { name: 'chaos' },
  spec: {
    sources: [{ name: 'api', emits: 'first', http: { path: '/' } }],
    steps: [
      {
        name: 'one',
        consumes: ['first'],
        http: { url: 'http://ledger/one', timeout: '1s' },
        emits: ['second'],
        retry: { maxAttempts: 8, backoff: { initial: '1s', factor: 2, max: '5s' } },
        concurrency: prefetch,
      },
      {
        name: 'two',
        consumes: ['second'],
        http: { url: 'http://ledger/two', timeout: '1s' },
        retry: { maxAttempts: 8, backoff: { initial: '1s', factor: 2, max: '5s' } },
        concurrency: prefetch,
      },
    ],
  },
};

/** One run of `seconds` with faults, and then as long as it takes to settle. @throws when it does not settle */
export async function chaos(options: ChaosOptions): Promise<ChaosReport> {
  const { version, seconds, seed, perSecond, log = () => {} } = options;
  await using resources = new AsyncDisposableStack();
  const rabbit = await startRabbit(version);
  resources.defer(() => rabbit.remove());
  const proxy = await startProxy(() => ({ host: rabbit.address, port: rabbit.ports.amqp }));
  resources.defer(() => proxy.close());
  const workspace = resources.use(await Workspace.create());
  const file = workspace.path('ledger.jsonl');
  const ledger = spawn(process.execPath, [join(import.meta.dirname, 'ledger.ts'), file, String(seed)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  resources.defer(() => void ledger.kill('SIGKILL'));
  const [port] = (await once(ledger.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
  await workspace.write('chaos/chaos.json', resource);
  await workspace.write('chaos/levada.local.yaml', {
    hosts: { ledger: `http://127.0.0.1:${String(port).trim()}` },
  });
  workspace.env['LEVADA_BROKER_URL'] = `amqp://guest:guest@127.0.0.1:${proxy.port}`;
  const up = workspace.spawn(['up', 'chaos']);
  await up.says('chaos: Running', { timeoutMs: 60_000 });
  const { stdout } = await workspace.levada('get', 'chaos', '-o', 'json');
  const url = `${(JSON.parse(stdout) as { services: Record<string, string> }).services['chaos-api']}/`;
  const posting = startClient(url, perSecond);
  const faults = await disturb({ seconds, random: generator(seed), rabbit, proxy, up: up.pid, log });
  const answers = await posting.end();
  const healed = performance.now();
  await settled(workspace, Math.max(120, seconds) * 1_000);
  const settledMs = Math.round(performance.now() - healed);
  const dead = await deadLetters(workspace);
  const report = judge({ answers, dead, file });
  await up.interrupt();
  const disturbed = Object.values(faults).reduce((sum, count) => sum + count, 0);
  return {
    version,
    seed,
    seconds,
    ...report,
    faults,
    // A kill disturbs one consumer; what happens to the broker or the network disturbs both steps.
    repeatedAtMost: prefetch * ((faults['kill'] ?? 0) + steps.length * (disturbed - (faults['kill'] ?? 0))),
    settledMs,
  };
}

interface Answer {
  readonly id: string;
  readonly status: number;
}

function startClient(url: string, perSecond: number): { end(): Promise<Answer[]> } {
  const client = spawn(process.execPath, [join(import.meta.dirname, 'client.ts'), url, String(perSecond)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  client.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  return {
    async end() {
      const ended = once(client, 'close');
      client.kill('SIGTERM');
      await ended;
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Answer);
    },
  };
}

interface Disturbing {
  readonly seconds: number;
  readonly random: () => number;
  readonly rabbit: Awaited<ReturnType<typeof startRabbit>>;
  readonly proxy: Awaited<ReturnType<typeof startProxy>>;
  readonly up: number;
  readonly log: (text: string) => void;
}

/** Faults at random, one after the other. @returns how many of each */
async function disturb({ seconds, random, rabbit, proxy, up, log }: Disturbing): Promise<Record<string, number>> {
  const faults: Record<string, number> = {};
  const deadline = performance.now() + seconds * 1_000;
  const kinds: ReadonlyArray<{ name: string; share: number; run: () => Promise<void> }> = [
    { name: 'kill', share: 0.6, run: async () => killWorker(up, random) },
    { name: 'cut', share: 0.2, run: async () => proxy.cut() },
    {
      name: 'silence',
      share: 0.08,
      run: async () => {
        proxy.silence();
        await pause(2_000 + 6_000 * random());
        proxy.heal();
      },
    },
    {
      name: 'restart',
      share: 0.12,
      run: async () => {
        await (random() < 0.5 ? rabbit.kill() : rabbit.stop());
        await pause(1_000 * random());
        await rabbit.start();
      },
    },
  ];
  while (performance.now() < deadline) {
    await pause(500 + 2_500 * random());
    // Each kind is met at least once, however short the run is.
    const unmet = kinds.find(({ name }) => !faults[name] && performance.now() > deadline - 0.6 * seconds * 1_000);
    const fault = unmet ?? drawn(kinds, random());
    faults[fault.name] = (faults[fault.name] ?? 0) + 1;
    log(`${version(rabbit)}: ${fault.name}`);
    await fault.run();
  }
  proxy.heal();
  return faults;
}

/** One of `kinds` by its share; the shares sum to 1. */
function drawn<T extends { readonly share: number }>(kinds: readonly T[], at: number): T {
  let sum = 0;
  return kinds.find(({ share }) => {
    sum += share;
    return at < sum;
  }) as T;
}

const version = (rabbit: Disturbing['rabbit']): string => `RabbitMQ ${rabbit.version}`;

function killWorker(up: number, random: () => number): void {
  const workers = processes().filter(({ parent, command }) => parent === up && command.includes('runtime/worker.ts'));
  const victim = workers[Math.floor(random() * workers.length)];
  if (!victim) return;
  try {
    process.kill(victim.pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // it has gone by itself
  }
}

/** Nothing waits, nothing is in hand, several times in a row: what waits in the ladder may be nobody's to count. */
async function settled(workspace: Workspace, timeoutMs: number): Promise<void> {
  let calm = 0;
  let seen = '';
  await until(
    'nothing is left in the queues',
    async () => {
      const { stdout } = await workspace.levada('status', 'chaos', '-o', 'json');
      const { live } = JSON.parse(stdout) as { live: LiveStep[] };
      seen = JSON.stringify(live);
      const busy = live.length < steps.length || live.some((step) => !step.running || step.waiting + step.inFlight > 0);
      calm = busy ? 0 : calm + 1;
      // Longer than the longest rung of these steps.
      if (!busy) await pause(1_500);
      return calm >= 5;
    },
    { timeoutMs, seen: () => seen },
  );
}

async function deadLetters(workspace: Workspace): Promise<DeadLetter[]> {
  const { stdout, stderr } = await workspace.levada('dlq', 'chaos', 'ls', '-o', 'json', '--limit', '1000000');
  if (stdout === '') throw new Error(stderr);
  return (JSON.parse(stdout) as { items: DeadLetter[] }).items;
}

interface Line {
  readonly step: string;
  readonly id: string;
  readonly attempt: string;
  readonly end: 'begun' | 'done' | 'late';
}

type Judged = Pick<ChaosReport, 'posted' | 'accepted' | 'deadLetters' | 'lost' | 'duplicates' | 'repeated'>;

/** Every accepted event has an end at the first step, and at the second one unless the first has given it up. */
function judge({
  answers,
  dead,
  file,
}: {
  answers: readonly Answer[];
  dead: readonly DeadLetter[];
  file: string;
}): Judged {
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
  const done = new Map<string, number>();
  const attempts = new Set<string>();
  const again = new Set<string>();
  for (const { step, id, attempt, end } of lines) {
    const key = `${step} ${id}`;
    if (end === 'done') done.set(key, (done.get(key) ?? 0) + 1);
    if (end !== 'begun') continue;
    if (attempts.has(`${key} ${attempt}`)) again.add(key);
    attempts.add(`${key} ${attempt}`);
  }
  // What the first step has handed on twice comes to the second one twice: that is no delivery of its own.
  const repeated = [...again].filter((key) => key.startsWith('one ') || !again.has(key.replace('two ', 'one '))).length;
  const died = new Set(dead.map(({ step, id }) => `${step} ${id}`));
  const has = (step: string, id: string) => done.has(`${step} ${id}`) || died.has(`${step} ${id}`);
  const accepted = answers.filter(({ status }) => status >= 200 && status < 300);
  const lost = accepted.flatMap(({ id }) => {
    if (!has('one', id)) return [`one ${id}`];
    return done.has(`one ${id}`) && !has('two', id) && !died.has(`one ${id}`) ? [`two ${id}`] : [];
  });
  const duplicates = [...done.values()].reduce((sum, count) => sum + count - 1, 0);
  return { posted: answers.length, accepted: accepted.length, deadLetters: dead.length, lost, duplicates, repeated };
}
