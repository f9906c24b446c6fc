import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { partName } from '../../../api/contract/names.ts';
import type { ConsumerConfig, QueueState } from '../../../api/contract/pipeline.ts';
import { errorCodeOf } from '../../../api/errors.ts';
import { systemClock } from '../../../runtime/clock.ts';
import { MemoryDedupStore } from '../../../runtime/delivery/memory-store.ts';
import type { End } from '../../../runtime/pipeline/ends.ts';
import { PipelineHost } from '../../../runtime/pipeline/host.ts';
import type { StepEnvironment } from '../../../runtime/steps/step.ts';
import { MemoryTransport } from '../../../runtime/transports/memory/transport.ts';
import type { Transport } from '../../../runtime/transports/transport.ts';
import type { Observed, PipelinePlan, UnitPlan } from '../../plan/units.ts';
import type { Driver } from '../driver.ts';
import { bindSocket } from './sockets.ts';

/** How long what is in hand may take when a step is removed, or the run ends. */
const drainMs = 30_000;

export interface LocalPipelinesOptions {
  /** Where hosts of URLs are, as a pipeline of this namespace sees them. */
  readonly environment: (namespace: string) => StepEnvironment;
  /** Of a host that a service of this machine stands in for: why it is not ready. `undefined`: it is, or it is none. */
  readonly waitsFor: (host: string) => string | undefined;
  /** Port of a service of an owner: one that was asked for, one that it had before, or 0. */
  readonly port: (owner: string, service: string) => { port: number; fixed: boolean };
  /** Milliseconds between two looks at the queues. */
  readonly pollMs: number;
  readonly ended?: (end: End) => void;
  readonly log: (part: string, text: string, error?: unknown) => void;
  readonly note: (text: string) => void;
}

/** Runs pipelines inside this process, on a broker in its memory. */
export class LocalPipelines implements Driver {
  readonly transport: Transport = new MemoryTransport({ clock: systemClock });
  readonly host: PipelineHost;
  readonly #options: LocalPipelinesOptions;
  readonly #owners = new Map<string, { plan: PipelinePlan; seen: unknown }>();
  /** Pipelines that are gone, and being emptied. */
  readonly #leaving = new Map<string, string>();
  readonly #poll: NodeJS.Timeout;
  #changed: (owner: string) => void = () => {};
  #polling = false;

  constructor(options: LocalPipelinesOptions) {
    this.#options = options;
    this.host = new PipelineHost({
      transport: this.transport,
      environment: options.environment,
      dedup: new MemoryDedupStore(),
      clock: systemClock,
      date: () => new Date(),
      random: randomBytes,
      listen: ({ pipeline, name }) => ({ host: '127.0.0.1', port: this.#portOf(pipeline, name) }),
      ...(options.ended && { ended: options.ended }),
      // Told of each message: the poll is often enough.
      changed: () => {},
      log: (pipeline, part, text, error) => options.log(partName(nameOf(pipeline), part), text, error),
      drainMs,
    });
    this.#poll = setInterval(() => void this.#look(), options.pollMs);
  }

  watch(changed: (owner: string) => void): void {
    this.#changed = changed;
  }

  async observe(owner: string): Promise<Observed> {
    const known = this.#owners.get(owner);
    if (!known) return { units: {}, fronts: {} };
    const { pipeline } = known.plan.topology;
    const { sources, queues } = await this.host.observe(pipeline);
    const observed = { applied: known.plan, sources, queues: this.#withServices(known.plan, queues) };
    known.seen = observed;
    return { units: {}, fronts: {}, pipeline: observed };
  }

  /** URLs of http sources, by the name of their Service. */
  addresses(owner: string): Record<string, string> {
    const seen = this.#owners.get(owner)?.seen as Observed['pipeline'] | undefined;
    const name = owner.split('/')[2] ?? '';
    return Object.fromEntries(
      Object.entries(seen?.sources ?? {}).flatMap(([part, { url }]) =>
        url === undefined ? [] : [[partName(name, part), new URL(url).origin]],
      ),
    );
  }

  /** @throws LevadaError BrokerUnavailable */
  async apply(owner: string, { pipeline: plan }: UnitPlan): Promise<boolean> {
    const before = this.#owners.get(owner);
    if (isDeepStrictEqual(before?.plan, plan)) return false;
    if (plan) {
      this.#leaving.delete(owner);
      this.#owners.set(owner, { plan, seen: before?.seen });
      await this.host.apply(plan);
    } else if (before) {
      this.#owners.delete(owner);
      this.#leaving.set(owner, before.plan.topology.pipeline);
      await this.host.remove(before.plan.topology.pipeline);
    }
    this.#changed(owner);
    return true;
  }

  async close(): Promise<void> {
    clearInterval(this.#poll);
    await this.host.close();
    for (const { plan } of this.#owners.values()) await this.#sayWhatEnds(plan.topology.pipeline);
    await this.transport.close();
    this.#owners.clear();
  }

  async #sayWhatEnds(pipeline: string): Promise<void> {
    const depths = Object.values(await this.transport.depths(pipeline));
    const waiting = depths.reduce((sum, { ready, delayed, unsettled }) => sum + ready + delayed + unsettled, 0);
    const dead = depths.reduce((sum, depth) => sum + depth.dead, 0);
    if (waiting + dead === 0) return;
    this.#options.note(`${nameOf(pipeline)}: ${waiting} waiting messages and ${dead} dead letters end with this run`);
  }

  /** A step whose handler is being started does not run yet. */
  #withServices(plan: PipelinePlan, queues: Record<string, QueueState>): Record<string, QueueState> {
    return Object.fromEntries(
      Object.entries(queues).map(([name, state]) => {
        const config = plan.consumers.find((consumer) => consumer.name === name);
        const why = config && this.#waitsFor(config);
        return [name, why === undefined ? state : { ...state, running: false, message: why }];
      }),
    );
  }

  #waitsFor({ action }: ConsumerConfig): string | undefined {
    return action.kind === 'http' ? this.#options.waitsFor(new URL(action.url).hostname) : undefined;
  }

  #portOf(pipeline: string, part: string): number {
    const service = partName(nameOf(pipeline), part);
    const { port, fixed } = this.#options.port(`EventPipeline/${pipeline}`, service);
    if (port === 0 || fixed) return port;
    try {
      bindSocket(service, port).close();
      return port;
    } catch (error) {
      if (errorCodeOf(error) !== 'PortBusy') throw error;
      this.#options.note(`port ${port}, which ${service} had before, is in use: it has another one now`);
      return 0;
    }
  }

  /** Tells of queues and breakers that have moved, and forgets pipelines that are empty. Never rejects. */
  async #look(): Promise<void> {
    if (this.#polling) return;
    this.#polling = true;
    try {
      for (const [owner, known] of this.#owners) {
        const before = known.seen;
        const { pipeline } = await this.observe(owner);
        if (!isDeepStrictEqual(before, pipeline)) this.#changed(owner);
      }
      for (const [owner, pipeline] of this.#leaving) await this.#forgetEmpty(owner, pipeline);
    } catch (error) {
      this.#options.log('pipelines', 'queues could not be looked at', error);
    } finally {
      this.#polling = false;
    }
  }

  async #forgetEmpty(owner: string, pipeline: string): Promise<void> {
    const { queues } = await this.host.observe(pipeline);
    const states = Object.values(queues);
    if (states.some(({ waiting, inFlight }) => waiting + inFlight > 0)) return;
    const dead = states.reduce((sum, state) => sum + state.dead, 0);
    if (dead > 0) this.#options.note(`${nameOf(pipeline)} is gone, and ${dead} dead letters with it`);
    this.#leaving.delete(owner);
    await this.host.forget(pipeline);
  }
}

/** The name in `namespace/name`. */
const nameOf = (pipeline: string): string => pipeline.split('/')[1] ?? '';
