/**
 * The chaos run: a pipeline of two steps over a real broker, while its consumers are killed, the broker is killed and
 * started again, and the network between them is cut and falls silent. A ledger outside of Levada, by event and step,
 * says what became of each event that the source has accepted.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { messageOf } from '../../api/errors.ts';
import { type RabbitVersion, startRabbit } from '../../hack/rabbitmq.ts';
import { processes } from '../support/processes.ts';
import { startProxy } from '../support/proxy.ts';
import {
  deadLetters,
  type Judged,
  judge,
  type Posting,
  prefetch,
  settled,
  startClient,
  startPipeline,
  steps,
} from './pipeline.ts';
import { generator } from './random.ts';

export interface ChaosOptions {
  readonly version: RabbitVersion;
  readonly seconds: number;
  readonly seed: number;
  readonly perSecond: number;
  readonly log?: (text: string) => void;
}

export interface ChaosReport extends Judged {
  readonly version: RabbitVersion;
  readonly seed: number;
  readonly seconds: number;
  /** What was done to the run, by name. */
  readonly faults: Readonly<Record<string, number>>;
  /** How many repeated deliveries there may be: the prefetch of a consumer each time it is disturbed. */
  readonly repeatedAtMost: number;
  /** Until nothing was left after the last fault. */
  readonly settledMs: number;
}

/** Of the events that are posted while the broker goes and comes back; fewer prove little. */
export const acceptedPerSecond = 20;

/** One run of `seconds` with faults, and then as long as it takes to settle. @throws when it does not settle */
export async function chaos(options: ChaosOptions): Promise<ChaosReport> {
  const { version, seconds, seed, perSecond, log = () => {} } = options;
  await using resources = new AsyncDisposableStack();
  const rabbit = await startRabbit(version);
  resources.defer(() => rabbit.remove());
  const proxy = await startProxy(() => ({ host: rabbit.address, port: rabbit.ports.amqp }));
  resources.defer(() => proxy.close());
  const brokerUrl = `amqp://guest:guest@127.0.0.1:${proxy.port}`;
  const { workspace, up, url, file } = await startPipeline(resources, { brokerUrl, seed });
  const posting = startClient(url, perSecond);
  const faults = await disturb({ seconds, posting, random: generator(seed), rabbit, proxy, up: up.pid, log });
  const answers = await posting.end();
  const healed = performance.now();
  await settled(workspace, Math.max(120, seconds) * 1_000).catch(async (error: unknown) => {
    log(up.output.slice(-10_000));
    log(await rabbit.ctl('list_connections', 'pid', 'state', 'client_properties').catch(messageOf));
    throw error;
  });
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

interface Disturbing {
  readonly seconds: number;
  readonly posting: Posting;
  readonly random: () => number;
  readonly rabbit: Awaited<ReturnType<typeof startRabbit>>;
  readonly proxy: Awaited<ReturnType<typeof startProxy>>;
  readonly up: number;
  readonly log: (text: string) => void;
}

/**
 * Faults at random, one after the other. A slow machine, whose broker takes long to be back, is disturbed for longer: until
 * as much was accepted as proves something. @returns how many of each
 */
async function disturb({
  seconds,
  posting,
  random,
  rabbit,
  proxy,
  up,
  log,
}: Disturbing): Promise<Record<string, number>> {
  const faults: Record<string, number> = {};
  const start = performance.now();
  const deadline = start + seconds * 1_000;
  const goesOn = () => {
    const isEnough = posting.accepted() > seconds * acceptedPerSecond;
    return performance.now() < (isEnough ? deadline : start + 3 * seconds * 1_000);
  };
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
  while (goesOn()) {
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
