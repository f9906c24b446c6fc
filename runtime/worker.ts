/**
 * A process of consumers: the steps of one `group`, or one step. Started by `levada up`, which makes the queues and says
 * over the IPC channel what to run; credentials never stand in argv or environment.
 */
import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { FromWorker, NameTable, ToWorker, WorkerState } from '../api/contract/pipeline-worker.ts';
import type { Placement } from '../api/contract/placement.ts';
import { messageOf } from '../api/errors.ts';
import type { RabbitSettings } from '../brokers/rabbitmq/settings.ts';
import { startAdmin } from './admin.ts';
import { systemClock } from './clock.ts';
import { MemoryDedupStore } from './delivery/memory-store.ts';
import { resolveHost } from './net/hosts.ts';
import type { End } from './pipeline/ends.ts';
import { PipelineHost } from './pipeline/host.ts';
import { PlacedTransport } from './transports/rabbitmq/placed.ts';
import { RabbitTransport } from './transports/rabbitmq/transport.ts';

type Run = Extract<ToWorker<RabbitSettings, Placement>, { type: 'run' }>;

const drainMs = 30_000;
/** Between two looks at what has changed. */
const tellEveryMs = 100;

const tell = (message: FromWorker<End>) => {
  if (process.connected) process.send?.(message);
};
const log = (part: string, text: string, error?: unknown) =>
  tell({ type: 'log', part, text: error === undefined ? text : `${text}: ${messageOf(error)}` });

/** Everything that runs, once it has been said what. */
class Worker {
  readonly #rabbit: RabbitTransport;
  readonly #host: PipelineHost;
  #run: Run;
  #names: NameTable;
  #draining = false;
  #told: unknown;

  constructor(run: Run) {
    this.#run = run;
    this.#names = run.names;
    const { pipeline } = run.topology;
    this.#rabbit = new RabbitTransport(run.settings, {
      name: `levada ${pipeline} ${process.pid}`,
      log: (text) => log('broker', text),
      missing: () => tell({ type: 'missing' }),
    });
    this.#host = new PipelineHost({
      transport: new PlacedTransport(this.#rabbit),
      environment: (namespace) => ({
        resolve: (url) =>
          resolveHost(url, namespace, {
            local: (host) => own(this.#names.local, host),
            service: (other, service) => own(own(this.#names.services, other) ?? {}, service),
          }),
        publish: (target, message) => this.#rabbit.publishTo(target, message),
      }),
      dedup: new MemoryDedupStore(),
      clock: systemClock,
      date: () => new Date(),
      random: randomBytes,
      listen: () => ({ host: '127.0.0.1', port: 0 }),
      changed: () => {},
      ended: (end) => {
        if (this.#run.tellEnds) tell({ type: 'end', end });
      },
      log: (_, part, text, error) => log(part, text, error),
      drainMs,
    });
    setInterval(() => this.#tellState(), tellEveryMs).unref();
  }

  get isReady(): boolean {
    return Object.values(this.#states()).every(({ running }) => running);
  }

  get metrics(): PipelineHost['metrics'] {
    return this.#host.metrics;
  }

  /** @throws LevadaError BrokerUnavailable */
  async apply(run: Run): Promise<void> {
    this.#run = run;
    this.#names = run.names;
    this.#rabbit.place(run.placement);
    await this.#host.apply({ topology: run.topology, sources: [], consumers: run.consumers });
    this.#tellState();
  }

  place(placement: Placement): void {
    this.#rabbit.place(placement);
  }

  know(names: NameTable): void {
    this.#names = names;
  }

  /** Finishes what is in hand, and gives back the rest. */
  async drain(): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    await this.#host.close();
    this.#tellState();
    await this.#rabbit.close();
  }

  #states(): Record<string, WorkerState> {
    const { pipeline } = this.#run.topology;
    const counts = this.#host.counts(pipeline);
    return Object.fromEntries(
      this.#run.consumers.map(({ name }) => {
        const { breaker = 'Closed', running = false, message } = this.#host.stateOf(pipeline, name) ?? {};
        const { delayed } = this.#rabbit.handOf(pipeline, name);
        const counted = counts[name] ?? { done: 0, skipped: 0, duplicate: 0, retried: 0, dead: 0, rate: 0 };
        return [
          name,
          {
            breaker,
            running: running && !this.#draining,
            ...(message !== undefined && { message }),
            held: this.#rabbit.heldBy(pipeline, name),
            delayed,
            counts: counted,
          },
        ];
      }),
    );
  }

  #tellState(): void {
    const consumers = this.#states();
    if (isDeepStrictEqual(consumers, this.#told)) return;
    this.#told = consumers;
    tell({ type: 'state', consumers });
  }
}

const own = <T>(all: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(all, name) ? all[name] : undefined;

let worker: Worker | undefined;
let draining = false;
/** What has been said since the last `run`, which may still be under way. */
let newest: Partial<Pick<Run, 'names' | 'placement'>> = {};
/** One after the other. */
let last = Promise.resolve();

async function run(asked: Run): Promise<void> {
  const message = { ...asked, ...newest };
  if (!worker) {
    worker = new Worker(message);
    const started = worker;
    const status = () => ({ state: started.isReady ? ('Loaded' as const) : ('Loading' as const), draining });
    tell({ type: 'admin', port: await startAdmin({ host: '127.0.0.1', port: 0, metrics: started.metrics, status }) });
  }
  // The broker may be away: it is tried until it is there.
  for (let attempt = 0; !draining; attempt++) {
    try {
      return await worker.apply(message);
    } catch (error) {
      if (attempt === 0) log('worker', 'waits for the broker', error);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

async function drain(): Promise<void> {
  if (draining) return;
  draining = true;
  await last;
  await worker?.drain().catch((error: unknown) => log('worker', 'the drain has failed', error));
  process.exit(0);
}

process.on('message', (message: ToWorker<RabbitSettings, Placement>) => {
  if (message.type === 'drain') void drain();
  else if (message.type === 'names') {
    newest = { ...newest, names: message.names };
    worker?.know(message.names);
  } else if (message.type === 'placement') {
    newest = { ...newest, placement: message.placement };
    worker?.place(message.placement);
  } else {
    newest = {};
    last = last
      .then(() => run(message))
      .catch((error: unknown) => log('worker', 'what was asked for cannot be run', error));
  }
});
process.on('disconnect', () => void drain());
process.on('SIGTERM', () => void drain());
// Ctrl-C reaches the whole process group; `levada up` says what is to happen.
process.on('SIGINT', () => {});
