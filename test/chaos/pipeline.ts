/** What chaos runs, and how it is judged: a pipeline of two steps, whose handlers keep a ledger outside of Levada. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import type { LiveStep } from '../../cli/up/admin.ts';
import type { DeadLetter } from '../../runtime/pipeline/dead-letters.ts';
import { type Running, Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';

export interface Judged {
  readonly posted: number;
  /** Answered with 2xx. */
  readonly accepted: number;
  readonly deadLetters: number;
  /** Event and step of what has no end: must be empty. */
  readonly lost: readonly string[];
  /** Handled to the end more than once, by event and step. */
  readonly duplicates: number;
  /** Deliveries of which an attempt was repeated. */
  readonly repeated: number;
}

/** Events that a consumer has in hand at most. */
export const prefetch = 16;
export const steps = ['one', 'two'] as const;

/** @param spec of the whole pipeline, beside its sources and steps */
export const resource = (spec: object = {}) => ({
  apiVersion: 'levada.dev/v1alpha1',
  kind: 'EventPipeline',
  metadata: { name: 'chaos' },
  spec: {
    ...spec,
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
});

/** `levada up` of the pipeline, with its handlers. Ends with the stack. */
export async function startPipeline(
  stack: AsyncDisposableStack,
  { brokerUrl, seed, spec = {} }: { brokerUrl: string; seed: number; spec?: object },
): Promise<{ workspace: Workspace; up: Running; url: string; file: string }> {
  const workspace = stack.use(await Workspace.create());
  const file = workspace.path('ledger.jsonl');
  const ledger = spawn(process.execPath, [join(import.meta.dirname, 'ledger.ts'), file, String(seed)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  stack.defer(() => void ledger.kill('SIGKILL'));
  const [port] = (await once(ledger.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
  await workspace.write('chaos/chaos.json', resource(spec));
  await workspace.write('chaos/levada.local.yaml', { hosts: { ledger: `http://127.0.0.1:${String(port).trim()}` } });
  workspace.env['LEVADA_BROKER_URL'] = brokerUrl;
  const up = workspace.spawn(['up', 'chaos']);
  await up.says('chaos: Running', { timeoutMs: 60_000 });
  const url = `${(await workspace.get('chaos')).services['chaos-api']}/`;
  return { workspace, up, url, file };
}

export interface Answer {
  readonly id: string;
  readonly status: number;
}

export interface Posting {
  /** Answers with 2xx so far. */
  accepted(): number;
  /** @returns all answers */
  end(): Promise<Answer[]>;
}

export function startClient(url: string, perSecond: number): Posting {
  const client = spawn(process.execPath, [join(import.meta.dirname, 'client.ts'), url, String(perSecond)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const answers: Answer[] = [];
  let accepted = 0;
  createInterface({ input: client.stdout }).on('line', (line) => {
    const answer = JSON.parse(line) as Answer;
    answers.push(answer);
    if (isAccepted(answer)) accepted++;
  });
  return {
    accepted: () => accepted,
    async end() {
      const ended = once(client, 'close');
      client.kill('SIGTERM');
      await ended;
      return answers;
    },
  };
}

const isAccepted = ({ status }: Answer): boolean => status >= 200 && status < 300;

/** Nothing waits, nothing is in hand, several times in a row: what waits in the ladder may be nobody's to count. */
export async function settled(workspace: Workspace, timeoutMs: number): Promise<void> {
  let calm = 0;
  let seen = '';
  await until(
    'nothing is left in the queues',
    async () => {
      const live = await workspace.ask<LiveStep[]>('/steps', { pipeline: 'default/chaos' });
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

export const deadLetters = (workspace: Workspace): Promise<DeadLetter[]> =>
  workspace.ask<DeadLetter[]>('/deadletters', { pipeline: 'default/chaos', filter: {}, limit: 1_000_000 });

interface Line {
  readonly step: string;
  readonly id: string;
  readonly attempt: string;
  readonly end: 'begun' | 'done' | 'late';
}

/** Every accepted event has an end at the first step, and at the second one unless the first has given it up. */
export function judge({
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
  const accepted = answers.filter(isAccepted);
  const lost = accepted.flatMap(({ id }) => {
    if (!has('one', id)) return [`one ${id}`];
    return done.has(`one ${id}`) && !has('two', id) && !died.has(`one ${id}`) ? [`two ${id}`] : [];
  });
  const duplicates = [...done.values()].reduce((sum, count) => sum + count - 1, 0);
  return { posted: answers.length, accepted: accepted.length, deadLetters: dead.length, lost, duplicates, repeated };
}
