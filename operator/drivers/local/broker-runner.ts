import { isDeepStrictEqual } from 'node:util';
import { endingTopology, type PipelineParts, type QueueState } from '../../../api/contract/pipeline.ts';
import type { NameTable } from '../../../api/contract/pipeline-worker.ts';
import { errorCodeOf, messageOf } from '../../../api/errors.ts';
import type { InHand } from '../../../brokers/rabbitmq/broker.ts';
import { type RabbitSettings, shownBroker } from '../../../brokers/rabbitmq/settings.ts';
import type { End } from '../../../runtime/pipeline/ends.ts';
import type { HostOptions } from '../../../runtime/pipeline/host.ts';
import { PipelineHost } from '../../../runtime/pipeline/host.ts';
import type { StepCounts } from '../../../runtime/pipeline/rates.ts';
import { RabbitTransport } from '../../../runtime/transports/rabbitmq/transport.ts';
import { Ghosts, inHandOf } from '../hands.ts';
import type { StepReport } from '../routing/report.ts';
import type { PipelineRunner, RunnerView } from './runner.ts';
import { type ToRabbitWorker, Worker } from './worker.ts';

export interface BrokerRunnerOptions {
  readonly settings: RabbitSettings;
  /** For http sources, which run in this process. */
  readonly host: Omit<HostOptions, 'transport' | 'ended'>;
  readonly ended?: (end: End) => void;
  readonly names: () => NameTable;
  /** Of processes. */
  readonly env: NodeJS.ProcessEnv;
  readonly changed: (pipeline: string) => void;
  readonly log: (part: string, text: string, error?: unknown) => void;
  /** Milliseconds. */
  readonly now: () => number;
}

/** Between two looks whether everything is there still. */
const mendEveryMs = 20_000;
/** Between two tries to do what could not be done. */
const retryEveryMs = 1_000;

interface Running {
  parts: PipelineParts;
  readonly workers: Map<string, Worker>;
  /** What was asked for last could not be done yet. */
  pending: boolean;
  /** As it was seen last: what is said while the broker is away. */
  seen: Record<string, QueueState>;
}

/** Runs pipelines on a RabbitMQ: sources in this process, each step or group of steps in one of its own. */
export class BrokerRunner implements PipelineRunner {
  readonly transport: RabbitTransport;
  readonly #options: BrokerRunnerOptions;
  readonly #sources: PipelineHost;
  readonly #pipelines = new Map<string, Running>();
  readonly #ghosts = new Ghosts();
  /** Processes that nobody needs any more, and that finish what they have in hand. */
  readonly #ending = new Set<Worker>();
  #names: NameTable;
  #mending = false;
  #retrying = false;
  readonly #timers: NodeJS.Timeout[];

  constructor(options: BrokerRunnerOptions) {
    this.#options = options;
    this.#names = options.names();
    this.transport = new RabbitTransport(options.settings, {
      name: 'levada up',
      log: (text) => options.log('broker', text),
      missing: (pipeline) => void this.#mend(pipeline),
      othersInHand: (pipeline, queue, name) => this.#inHandOf(pipeline, queue, name),
    });
    this.#sources = new PipelineHost({ ...options.host, transport: this.transport });
    this.#timers = [
      setInterval(() => void this.#mendAll(), mendEveryMs),
      setInterval(() => void this.#retry(), retryEveryMs),
    ];
  }

  get place(): string {
    return shownBroker(this.#options.settings);
  }

  async apply(parts: PipelineParts): Promise<void> {
    const { pipeline } = parts.topology;
    const running = this.#pipelines.get(pipeline) ?? { parts, workers: new Map(), pending: true, seen: {} };
    running.parts = parts;
    running.pending = true;
    this.#pipelines.set(pipeline, running);
    await this.#try(running);
  }

  async remove(pipeline: string): Promise<void> {
    const running = this.#pipelines.get(pipeline);
    if (!running) return;
    const { topology, consumers } = running.parts;
    await this.apply({ topology: endingTopology(topology), sources: [], consumers });
  }

  async release(pipeline: string): Promise<void> {
    const running = this.#pipelines.get(pipeline);
    if (!running) return;
    this.#pipelines.delete(pipeline);
    await this.#sources.release(pipeline);
    for (const worker of running.workers.values()) this.#end(worker);
  }

  /** Dead letters stay in the broker, and the queues that hold them. */
  async forget(pipeline: string): Promise<boolean> {
    const running = this.#pipelines.get(pipeline);
    if (!running) return true;
    if (running.pending) return false;
    await Promise.all([...running.workers.values()].map((worker) => worker.drain()));
    running.workers.clear();
    try {
      await this.transport.apply({ pipeline, queues: [] });
      const left = Object.entries(await this.transport.depths(pipeline));
      const delayed = (queue: string) => this.#inHandOf(pipeline, queue).delayed;
      if (left.some(([queue, { ready, unsettled }]) => ready + unsettled + delayed(queue) > 0)) {
        // Something has come back meanwhile, and needs its step again.
        await this.remove(pipeline);
        return false;
      }
    } catch (error) {
      if (!errorCodeOf(error)) throw error;
      return false; // the broker is away
    }
    if (this.transport.broker.isLeaving(pipeline)) return false;
    this.#pipelines.delete(pipeline);
    return true;
  }

  get isIdle(): boolean {
    return this.#pipelines.size === 0 && this.#ending.size === 0;
  }

  async observe(pipeline: string): Promise<RunnerView> {
    const running = this.#pipelines.get(pipeline);
    const { sources } = this.#sources.view(pipeline);
    try {
      const depths = await this.transport.depths(pipeline);
      const { lostAt } = this.transport.broker.state(pipeline);
      if (running) {
        this.#placeAll(pipeline, running);
        running.seen = Object.fromEntries(
          Object.entries(depths).map(([name, { ready, dead }]) => {
            const state = this.#stateOf(running, name);
            const lost = lostAt[name];
            const { delayed, unsettled } = this.#inHandOf(pipeline, name);
            const at = lost === undefined ? {} : { lostAt: lost };
            return [name, { ...state, waiting: ready + delayed, inFlight: unsettled, dead, ...at }];
          }),
        );
      }
    } catch (error) {
      if (!errorCodeOf(error)) throw error;
      // Said by the state of the broker; the figures are those from before.
      const { failure } = { failure: messageOf(error) };
      const away = ([name, queue]: [string, QueueState]) =>
        [name, { ...queue, running: false, message: failure }] as const;
      if (running) running.seen = Object.fromEntries(Object.entries(running.seen).map(away));
    }
    return { sources, queues: running?.seen ?? {}, broker: this.transport.broker.state(pipeline).broker };
  }

  counts(pipeline: string): Record<string, StepCounts> {
    const running = this.#pipelines.get(pipeline);
    return Object.fromEntries(
      (running?.parts.consumers ?? []).flatMap(({ name, group }) => {
        const worker = running?.workers.get(group ?? name);
        return worker ? [[name, worker.counts(name)] as const] : [];
      }),
    );
  }

  trials(pipeline: string, step: string): StepReport[] {
    return this.#all().flatMap((worker) => {
      const trials = worker.pipeline === pipeline && worker.states[step]?.trials;
      return trials ? [{ process: String(worker.pid), trials, beganAt: worker.startedAt }] : [];
    });
  }

  admins(pipeline: string): string[] {
    return [...(this.#pipelines.get(pipeline)?.workers.values() ?? [])].flatMap(({ admin }) => admin ?? []);
  }

  /** Names lead elsewhere now. */
  tellNames(): void {
    const names = this.#options.names();
    if (isDeepStrictEqual(names, this.#names)) return;
    this.#names = names;
    for (const { workers } of this.#pipelines.values()) {
      for (const worker of workers.values()) worker.tell({ type: 'names', names });
    }
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#sources.close();
    await Promise.all(this.#all().map((worker) => worker.drain()));
    await this.transport.close();
  }

  kill(): void {
    for (const worker of this.#all()) worker.kill();
  }

  #all(): Worker[] {
    return [...[...this.#pipelines.values()].flatMap(({ workers }) => [...workers.values()]), ...this.#ending];
  }

  /** Lets it finish. Whoever takes its place begins meanwhile. */
  #end(worker: Worker): void {
    this.#ending.add(worker);
    worker
      .drain()
      .catch((error: unknown) => this.#options.log(worker.name, 'its process could not be ended', error))
      .finally(() => this.#ending.delete(worker));
  }

  /** Does what was asked for, or notes that it could not be done. */
  async #try(running: Running): Promise<void> {
    const { parts } = running;
    const { pipeline } = parts.topology;
    try {
      await this.#sources.apply({ topology: parts.topology, sources: parts.sources, consumers: [] });
      if (running.parts === parts) this.#applyWorkers(running);
      running.pending = running.parts !== parts;
    } catch (error) {
      // What is not the broker's is a mistake in here, and is told to whoever asked.
      if (!errorCodeOf(error)) throw error;
    }
    this.#options.changed(pipeline);
  }

  #applyWorkers(running: Running): void {
    const { topology, consumers } = running.parts;
    const { pipeline } = topology;
    const placement = this.transport.broker.placement(pipeline);
    if (!placement) return;
    const groups = Map.groupBy(consumers, ({ name, group }) => group ?? name);
    for (const [name, members] of groups) {
      const run = {
        type: 'run' as const,
        settings: this.#options.settings,
        topology,
        placement,
        consumers: members,
        names: this.#names,
        tellEnds: this.#options.ended !== undefined,
      };
      const worker = running.workers.get(name);
      if (worker) worker.update(run);
      else running.workers.set(name, this.#start(pipeline, name, run));
    }
    for (const [name, worker] of running.workers) {
      if (groups.has(name)) continue;
      running.workers.delete(name);
      this.#end(worker);
    }
  }

  #start(pipeline: string, name: string, run: Extract<ToRabbitWorker, { type: 'run' }>): Worker {
    const { env, changed, log, ended = () => {} } = this.#options;
    return new Worker(`${pipeline.split('/')[1]}-${name}`, run, env, {
      ended,
      missing: () => void this.#mend(pipeline),
      changed: () => changed(pipeline),
      log: (part, text) => log(part, text),
      died: (delayed) => this.#ghosts.remember(pipeline, run.consumers, delayed, this.#options.now()),
    });
  }

  /** What processes have in hand of a queue; of one that the broker calls `name`, where that is given. */
  #inHandOf(pipeline: string, queue: string, name?: string): InHand {
    const workers = this.#all().filter((worker) => worker.pipeline === pipeline);
    const { unsettled, delayed } = inHandOf(
      workers.map(({ states }) => states),
      queue,
      name,
    );
    return { unsettled, delayed: delayed + this.#ghosts.delayed(pipeline, queue, this.#options.now()) };
  }

  #stateOf({ parts, workers }: Running, step: string): Pick<QueueState, 'running' | 'breaker' | 'message'> {
    const config = parts.consumers.find(({ name }) => name === step);
    const state = config && workers.get(config.group ?? step)?.states[step];
    if (!state) return { running: false, breaker: 'Closed' };
    const { running, breaker, message } = state;
    return { running, breaker, ...(message !== undefined && { message }) };
  }

  /** Queues have come or gone: processes take from those that there are. */
  #placeAll(pipeline: string, running: Running): void {
    const placement = this.transport.broker.placement(pipeline);
    if (!placement) return;
    for (const worker of running.workers.values()) {
      if (!isDeepStrictEqual(worker.placement, placement)) worker.tell({ type: 'placement', placement });
    }
  }

  /** Never rejects. */
  async #retry(): Promise<void> {
    this.tellNames();
    if (this.#retrying) return;
    this.#retrying = true;
    try {
      for (const running of this.#pipelines.values()) if (running.pending) await this.#try(running);
    } catch (error) {
      this.#options.log('broker', 'what was asked for could not be done', error);
    } finally {
      this.#retrying = false;
    }
  }

  async #mendAll(): Promise<void> {
    for (const pipeline of this.#pipelines.keys()) await this.#mend(pipeline);
  }

  /** Never rejects. */
  async #mend(pipeline: string): Promise<void> {
    if (this.#mending) return;
    this.#mending = true;
    try {
      await this.transport.broker.mend(pipeline);
      const running = this.#pipelines.get(pipeline);
      if (running) this.#placeAll(pipeline, running);
    } catch (error) {
      // The next look may find the broker again; what keeps it away is said in the status.
      if (!errorCodeOf(error)) this.#options.log('broker', 'queues could not be looked at', error);
    } finally {
      this.#mending = false;
      this.#options.changed(pipeline);
    }
  }
}
