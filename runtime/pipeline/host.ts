import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import {
  type ConsumerConfig,
  endingTopology,
  type Failure,
  type HttpSourceConfig,
  type PipelineParts,
  type QueueState,
  type SourceState,
} from '../../api/contract/pipeline.ts';
import type { StepTrials } from '../../api/contract/routing-table.ts';
import { failureOf } from '../../api/errors.ts';
import type { HttpSource } from '../sources/http-source.ts';
import type { StepEnvironment } from '../steps/step.ts';
import { Consumer, type ConsumerOptions } from './consumer.ts';
import type { End } from './ends.ts';
import { PipelineMetrics } from './metrics.ts';
import { type StepCounts, StepTally } from './rates.ts';

export interface HostOptions extends Omit<ConsumerOptions, 'ended' | 'changed' | 'log' | 'environment'> {
  /** Where hosts of URLs are, as a pipeline of this namespace sees them. */
  readonly environment: (namespace: string) => StepEnvironment;
  /** Where an http source listens. */
  readonly listen: (config: HttpSourceConfig) => { host: string; port: number };
  /** Told of each delivery that has ended. */
  readonly ended?: (end: End) => void;
  /** What {@link PipelineHost.observe} says of a pipeline may have changed. */
  readonly changed: (pipeline: string) => void;
  readonly log: (pipeline: string, part: string, text: string, error?: unknown) => void;
  /** How long what is in hand may take when a part is removed or the host ends. */
  readonly drainMs: number;
}

interface Running {
  parts: PipelineParts;
  readonly sources: Map<string, { source?: HttpSource; host: string; state: SourceState }>;
  readonly consumers: Map<string, Consumer>;
  readonly tallies: Map<string, StepTally>;
}

/** Runs parts of pipelines in this process: their http sources and the consumers of their steps. */
export class PipelineHost {
  readonly metrics: PipelineMetrics;
  readonly #options: HostOptions;
  readonly #pipelines = new Map<string, Running>();
  /** What `depths` said last, for metrics: a scrape must not wait for a broker. */
  readonly #seen = new Map<string, Readonly<Record<string, QueueState>>>();

  constructor(options: HostOptions) {
    this.#options = options;
    this.metrics = new PipelineMetrics(() =>
      [...this.#pipelines].map(([pipeline, { consumers }]) => ({
        pipeline,
        queues: this.#queuesOf(pipeline, consumers),
      })),
    );
  }

  /**
   * Makes what runs match `parts`. Queues come first, so that no event is published past them; sources come last. Where
   * there are none yet because the broker is away, new sources listen all the same, to say so.
   *
   * @throws LevadaError BrokerUnavailable; a source that cannot listen is a state of {@link observe}
   */
  async apply(parts: PipelineParts): Promise<void> {
    const { pipeline } = parts.topology;
    const running: Running = this.#pipelines.get(pipeline) ?? {
      parts,
      sources: new Map(),
      consumers: new Map(),
      tallies: new Map(),
    };
    this.#pipelines.set(pipeline, running);
    running.parts = parts;
    try {
      await this.#options.transport.apply(parts.topology);
    } catch (error) {
      const fresh = parts.sources.filter(({ name }) => !running.sources.has(name));
      for (const config of fresh) await this.#applySource(running, config);
      throw error;
    }
    for (const config of parts.consumers) await this.#applyConsumer(running, config);
    await this.#closeConsumers(running, (name) => !parts.consumers.some((config) => config.name === name));
    for (const config of parts.sources) await this.#applySource(running, config);
    await this.#closeSources(running, (name) => !parts.sources.some((config) => config.name === name));
    this.#options.changed(pipeline);
  }

  /** Ends a pipeline: no new events; what is in its queues is handled first, dead letters are dropped. */
  async remove(pipeline: string): Promise<void> {
    const running = this.#pipelines.get(pipeline);
    if (!running) return;
    await this.#closeSources(running, () => true);
    await this.#options.transport.apply(endingTopology(running.parts.topology));
  }

  /** Ends what runs of a pipeline here; its queues stay as they are. */
  async release(pipeline: string): Promise<void> {
    const running = this.#pipelines.get(pipeline);
    if (!running) return;
    await this.#closeSources(running, () => true);
    await this.#closeConsumers(running, () => true);
    this.#pipelines.delete(pipeline);
    this.#seen.delete(pipeline);
  }

  /** Closes what {@link remove} has emptied. */
  async forget(pipeline: string): Promise<void> {
    const running = this.#pipelines.get(pipeline);
    if (!running) return;
    await this.#closeConsumers(running, () => true);
    for (const { name } of running.parts.topology.queues) {
      await this.#options.transport.visitDead({ pipeline, queue: name }, () => 'drop');
    }
    await this.#options.transport.apply({ pipeline, queues: [] });
    this.#pipelines.delete(pipeline);
    this.#seen.delete(pipeline);
  }

  /** @throws LevadaError BrokerUnavailable */
  async observe(
    pipeline: string,
  ): Promise<{ sources: Record<string, SourceState>; queues: Record<string, QueueState> }> {
    const running = this.#pipelines.get(pipeline);
    const depths = await this.#options.transport.depths(pipeline);
    const queues = Object.entries(depths).map(([name, { ready, delayed, unsettled, dead }]) => {
      const state = running?.consumers.get(name)?.state ?? { running: false, breaker: 'Closed' as const };
      return [name, { ...state, waiting: ready + delayed, inFlight: unsettled, dead }] as const;
    });
    const states = Object.fromEntries(queues);
    if (running) this.#seen.set(pipeline, states);
    return { ...this.view(pipeline), queues: states };
  }

  /** Without asking the broker. */
  view(pipeline: string): { sources: Record<string, SourceState> } {
    const running = this.#pipelines.get(pipeline);
    return { sources: Object.fromEntries([...(running?.sources ?? [])].map(([name, { state }]) => [name, state])) };
  }

  /** Of one consumer of this process. */
  stateOf(pipeline: string, step: string): Consumer['state'] | undefined {
    return this.#pipelines.get(pipeline)?.consumers.get(step)?.state;
  }

  /** Why a consumer of this process gets no messages now. */
  failureOf(pipeline: string, step: string): Failure | undefined {
    return this.#pipelines.get(pipeline)?.consumers.get(step)?.failure;
  }

  /** Of each step, by name. */
  counts(pipeline: string): Record<string, StepCounts> {
    const now = this.#options.clock.now();
    const tallies = this.#pipelines.get(pipeline)?.tallies ?? [];
    return Object.fromEntries([...tallies].map(([step, tally]) => [step, tally.counts(now)]));
  }

  /** What became of the trials of models' versions at one step. */
  trials(pipeline: string, step: string): readonly StepTrials[] {
    return this.#pipelines.get(pipeline)?.tallies.get(step)?.trials ?? [];
  }

  /** Sources go on, and let each connection end with its next answer: another process takes their place. */
  retireSources(): void {
    for (const { sources } of this.#pipelines.values()) for (const { source } of sources.values()) source?.retire();
  }

  /** Sources take no more, then steps finish what is in hand. */
  async close(): Promise<void> {
    const all = [...this.#pipelines.values()];
    await Promise.all(all.map((running) => this.#closeSources(running, () => true)));
    await Promise.all(all.map((running) => this.#closeConsumers(running, () => true)));
    this.#pipelines.clear();
  }

  /** What is known without asking the broker: of consumers of this process what is so now. */
  #queuesOf(pipeline: string, consumers: Running['consumers']): Record<string, Partial<QueueState>> {
    const seen: Readonly<Record<string, QueueState>> = this.#seen.get(pipeline) ?? {};
    const live = [...consumers].map(([name, { state }]) => [name, { ...seen[name], ...state }] as const);
    return { ...seen, ...Object.fromEntries(live) };
  }

  async #applyConsumer(running: Running, config: ConsumerConfig): Promise<void> {
    const existing = running.consumers.get(config.name);
    if (existing && isDeepStrictEqual(existing.config, config)) return;
    if (existing) return existing.update(config);
    const { pipeline, name } = config;
    const tally = running.tallies.get(name) ?? new StepTally();
    running.tallies.set(name, tally);
    const consumer = await Consumer.start(config, {
      ...this.#options,
      environment: this.#options.environment(pipeline.split('/')[0] ?? ''),
      ended: (end) => {
        tally.add(end.end, this.#options.clock.now());
        if (end.trial) tally.try(end.end, end.trial);
        this.metrics.ended(end);
        this.#options.ended?.(end);
      },
      changed: () => this.#options.changed(pipeline),
      log: (step, text, error) => this.#options.log(pipeline, step, text, error),
    });
    running.consumers.set(name, consumer);
  }

  async #closeConsumers({ consumers }: Running, isGone: (name: string) => boolean): Promise<void> {
    const gone = [...consumers].filter(([name]) => isGone(name));
    await Promise.all(
      gone.map(async ([name, consumer]) => {
        await consumer.close(this.#options.drainMs);
        consumers.delete(name);
      }),
    );
  }

  async #applySource(running: Running, config: HttpSourceConfig): Promise<void> {
    const { pipeline, name } = config;
    const existing = running.sources.get(name);
    const { host, port } = existing?.source
      ? { host: existing.host, port: existing.source.port }
      : this.#options.listen(config);
    const ready = (source: HttpSource) => {
      const state = { ready: true, url: `http://${host}:${source.port}${config.path}` };
      running.sources.set(name, { source, host, state });
    };
    if (existing?.source) {
      await existing.source.update(config);
      return ready(existing.source);
    }
    try {
      // Most processes have none.
      const { HttpSource } = await import('../sources/http-source.ts');
      const source = await HttpSource.start(config, {
        host,
        port,
        publish: (to, messages) => this.#options.transport.publish(to, messages),
        now: () => this.#options.date().getTime(),
        random: this.#options.random,
        log: this.#logger(pipeline, name),
        observe: ({ status, code, ms }) => this.metrics.request(pipeline, name, status, ms, code),
      });
      ready(source);
    } catch (error) {
      const failure = failureOf(error);
      running.sources.set(name, { host, state: { ready: false, failure } });
    }
  }

  /** What a source says goes where everything else of the pipeline is said. */
  #logger(pipeline: string, part: string): Pick<Logger, 'error' | 'warn'> {
    const say = ({ err }: { err?: unknown }, text: string) => this.#options.log(pipeline, part, text, err);
    return { error: say, warn: say } as Pick<Logger, 'error' | 'warn'>;
  }

  async #closeSources({ sources }: Running, isGone: (name: string) => boolean): Promise<void> {
    const gone = [...sources].filter(([name]) => isGone(name));
    await Promise.all(
      gone.map(async ([name, { source }]) => {
        await source?.close();
        sources.delete(name);
      }),
    );
  }
}
