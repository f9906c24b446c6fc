import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Failure, HttpSourceConfig, SourceState } from '../../api/contract/pipeline.ts';
import type { PipelineUnitConfig, PipelineUnitStatus } from '../../api/contract/pipeline-unit.ts';
import type { WorkerState } from '../../api/contract/pipeline-worker.ts';
import { failureOf } from '../../api/errors.ts';
import type { RabbitSettings } from '../../brokers/rabbitmq/settings.ts';
import { systemClock } from '../clock.ts';
import { MemoryDedupStore } from '../delivery/memory-store.ts';
import { PlacedTransport } from '../transports/rabbitmq/placed.ts';
import { RabbitTransport } from '../transports/rabbitmq/transport.ts';
import type { End } from './ends.ts';
import { PipelineHost } from './host.ts';

/** What is run: parts of one pipeline, and where its queues are. */
export type UnitParts = Pick<PipelineUnitConfig, 'topology' | 'placement' | 'consumers' | 'sources'>;

export interface UnitOptions {
  readonly settings: RabbitSettings;
  /** Shown in the broker's list of connections. */
  readonly name: string;
  /** Where the host of a URL is, as a pipeline of the namespace sees it. @throws LevadaError HostUnknown */
  readonly resolve: (url: URL, namespace: string) => URL;
  readonly listen: (config: HttpSourceConfig) => { host: string; port: number };
  /** A queue is not there: who makes the queues is to look. */
  readonly missing: () => void;
  /** Told of each delivery that has ended. */
  readonly ended: (end: End) => void;
  /** Something a person should know. */
  readonly log: (part: string, text: string, error?: unknown) => void;
  /** How long what is in hand may take at the end. */
  readonly drainMs: number;
}

/** Between two tries to run what cannot be run yet. */
const againMs = 500;

/** Failures that pass by themselves. All others want somebody to act. */
const passing = new Set(['BrokerUnavailable', 'BrokerFull', 'QueueNotFound']);

const noCounts: WorkerState['counts'] = { done: 0, skipped: 0, duplicate: 0, retried: 0, dead: 0, rate: 0 };

/**
 * Consumers and http sources of a pipeline whose queues somebody else makes: what runs in a process that `levada up` starts,
 * and in a pod. The broker may be away, at the beginning or later: it is tried until it is there.
 */
export class PipelineUnit {
  readonly #options: UnitOptions;
  readonly #rabbit: RabbitTransport;
  readonly #host: PipelineHost;
  #parts: UnitParts;
  /** What runs; `undefined`: something could not be run yet. */
  #applied: UnitParts | undefined;
  #failure: Failure | undefined;
  #applying = false;
  #work = Promise.resolve();
  readonly #end = new AbortController();

  /** Runs the parts as soon as it can. */
  constructor(parts: UnitParts, options: UnitOptions) {
    const { settings, name, resolve, listen, missing, ended, log, drainMs } = options;
    this.#options = options;
    this.#parts = parts;
    this.#rabbit = new RabbitTransport(settings, { name, log: (text) => log('broker', text), missing });
    this.#host = new PipelineHost({
      transport: new PlacedTransport(this.#rabbit),
      environment: (namespace) => ({
        resolve: (url) => resolve(url, namespace),
        publish: (target, message) => this.#rabbit.publishTo(target, message),
      }),
      dedup: new MemoryDedupStore(),
      clock: systemClock,
      date: () => new Date(),
      random: randomBytes,
      listen,
      changed: () => {},
      ended,
      log: (_, part, text, error) => log(part, text, error),
      drainMs,
    });
    this.apply(parts);
  }

  get metrics(): PipelineHost['metrics'] {
    return this.#host.metrics;
  }

  get draining(): boolean {
    return this.#end.signal.aborted;
  }

  /** From now on these parts are run. */
  apply(parts: UnitParts): void {
    this.#parts = parts;
    this.#rabbit.place(parts.placement);
    if (!this.#applying) this.#work = this.#converge();
  }

  /** Consumers take from there from now on. */
  place(placement: UnitParts['placement']): void {
    this.apply({ ...this.#parts, placement });
  }

  get status(): Pick<PipelineUnitStatus, 'state' | 'failure' | 'consumers' | 'sources'> {
    const failure = this.#whyNot();
    const isLoaded = this.#applied === this.#parts && !failure;
    const state = isLoaded ? 'Loaded' : failure && !passing.has(failure.code) ? 'Failed' : 'Loading';
    return { state, ...(failure && { failure }), consumers: this.consumers, sources: this.sources };
  }

  get consumers(): Record<string, WorkerState> {
    const { pipeline } = this.#parts.topology;
    const counts = this.#host.counts(pipeline);
    return Object.fromEntries(
      this.#parts.consumers.map(({ name }) => {
        const { breaker = 'Closed', running = false, message } = this.#host.stateOf(pipeline, name) ?? {};
        return [
          name,
          {
            breaker,
            running: running && !this.draining,
            ...(message !== undefined && { message }),
            held: this.#rabbit.heldBy(pipeline, name),
            delayed: this.#rabbit.handOf(pipeline, name).delayed,
            counts: counts[name] ?? noCounts,
            trials: this.#host.trials(pipeline, name),
          },
        ];
      }),
    );
  }

  get sources(): Record<string, SourceState> {
    return this.#host.view(this.#parts.topology.pipeline).sources;
  }

  /**
   * Consumers take no more, finish what is in hand, and give back the rest; sources go on for `lingerMs`, if they were
   * ready, and then do the same. Nobody is connected to the broker any more when it resolves.
   */
  async drain(lingerMs = 0): Promise<void> {
    if (this.draining) return;
    const lingers = lingerMs > 0 && this.#parts.sources.length > 0 && this.status.state === 'Loaded';
    this.#end.abort();
    if (lingers) {
      this.#host.retireSources();
      await pause(lingerMs);
    }
    // What waits for a connection that is not there would hold this up, and nothing of it is in hand.
    if (this.#applying && this.#rabbit.failure) await this.#rabbit.close();
    await this.#work;
    await this.#host.close();
    await this.#rabbit.close();
  }

  /** Makes what runs match what was asked for last. Never rejects. */
  async #converge(): Promise<void> {
    this.#applying = true;
    while (!this.draining && this.#applied !== this.#parts) {
      const parts = this.#parts;
      const failure = await this.#host.apply(parts).then(
        () => Object.values(this.sources).find((source) => source.failure)?.failure,
        (error: unknown) => failureOf(error),
      );
      if (!failure) this.#applied = parts;
      else if (failure.message !== this.#failure?.message) this.#options.log('unit', `waits: ${failure.message}`);
      this.#failure = failure;
      if (failure) await pause(againMs, undefined, { signal: this.#end.signal }).catch(() => {}); // it is ended
    }
    this.#applying = false;
  }

  /** What keeps it from running; the broker first, because it is behind most of the rest. */
  #whyNot(): Failure | undefined {
    const { failure: away } = this.#rabbit;
    if (away) return failureOf(away);
    const { consumers, topology } = this.#parts;
    return this.#failure ?? consumers.map(({ name }) => this.#host.failureOf(topology.pipeline, name)).find(Boolean);
  }
}
