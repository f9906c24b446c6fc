import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { partName } from '../../../api/contract/names.ts';
import type { BrokerRef, ConsumerConfig, QueueState } from '../../../api/contract/pipeline.ts';
import type { NameTable } from '../../../api/contract/pipeline-worker.ts';
import { errorCodeOf, LevadaError } from '../../../api/errors.ts';
import { type RabbitSettings, settingsFromSecret } from '../../../brokers/rabbitmq/settings.ts';
import { systemClock } from '../../../runtime/clock.ts';
import { MemoryDedupStore } from '../../../runtime/delivery/memory-store.ts';
import type { End } from '../../../runtime/pipeline/ends.ts';
import type { HostOptions, PipelineHost } from '../../../runtime/pipeline/host.ts';
import type { StepCounts } from '../../../runtime/pipeline/rates.ts';
import type { StepEnvironment } from '../../../runtime/steps/step.ts';
import type { Transport } from '../../../runtime/transports/transport.ts';
import { brokerFailure } from '../../plan/pipeline/broker-status.ts';
import type { Observed, ObservedPipeline, PipelinePlan, UnitPlan } from '../../plan/units.ts';
import type { Driver } from '../driver.ts';
import type { StepReport } from '../routing/report.ts';
import { BrokerRunner } from './broker-runner.ts';
import { MemoryRunner } from './memory-runner.ts';
import type { PipelineRunner } from './runner.ts';
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
  /** Where messages travel that no pipeline's own broker carries. Absent: the memory of this process. */
  readonly broker?: RabbitSettings;
  /** What a Secret holds, by `namespace/name`. */
  readonly secret: (name: string) => Readonly<Record<string, string>> | undefined;
  /** For errors. */
  readonly secretNames: () => readonly string[];
  /** Where names in URLs lead, for processes of steps. */
  readonly names: () => NameTable;
  /** Of processes of steps. */
  readonly env: NodeJS.ProcessEnv;
  readonly ended?: (end: End) => void;
  readonly log: (part: string, text: string, error?: unknown) => void;
  readonly note: (text: string) => void;
}

interface Owned {
  plan: PipelinePlan;
  /** Absent while it cannot be known, or not be used. */
  runner: PipelineRunner | undefined;
  /** Why there is none. */
  failure?: LevadaError;
  seen: ObservedPipeline | undefined;
}

/** Runs pipelines: on a broker in this process' memory, or on a real one, with a process for each step or group. */
export class LocalPipelines implements Driver {
  readonly #options: LocalPipelinesOptions;
  readonly #memory: MemoryRunner;
  /** By what they need to know to reach their broker; never shown. */
  readonly #brokers = new Map<string, BrokerRunner>();
  readonly #owners = new Map<string, Owned>();
  /** Pipelines that are gone, and being emptied. */
  readonly #leaving = new Map<string, { pipeline: string; runner: PipelineRunner }>();
  /** What is being changed, by owner. */
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #poll: NodeJS.Timeout;
  #changed: (owner: string) => void = () => {};
  #polling = false;

  constructor(options: LocalPipelinesOptions) {
    this.#options = options;
    this.#memory = new MemoryRunner({ ...this.#hostOptions(), ...(options.ended && { ended: options.ended }) });
    this.#poll = setInterval(() => void this.#look(), options.pollMs);
  }

  /** Of the sources, and of steps that run in this process. */
  get metrics(): PipelineHost['metrics'] {
    return this.#memory.host.metrics;
  }

  watch(changed: (owner: string) => void): void {
    this.#changed = changed;
  }

  async observe(owner: string): Promise<Observed> {
    const known = this.#owners.get(owner);
    if (!known) return { units: {}, fronts: {} };
    known.seen = await this.#view(known);
    return { units: {}, fronts: {}, pipeline: known.seen };
  }

  /** For whoever asks now: what {@link watch} tells of is not touched. */
  async queuesOf(pipeline: string): Promise<Readonly<Record<string, QueueState>>> {
    const known = this.#ownedOf(pipeline);
    return known ? (await this.#view(known)).queues : {};
  }

  async #view({ plan, runner, failure }: Owned): Promise<ObservedPipeline> {
    if (runner) {
      const { sources, queues, broker } = await runner.observe(plan.topology.pipeline);
      return { applied: plan, sources, queues: this.#withServices(plan, queues), broker };
    }
    const { code = 'BrokerUnavailable', message = '' } = failure ?? {};
    const kind = code === 'BrokerRequired' ? ('memory' as const) : ('rabbitmq' as const);
    return { applied: plan, sources: {}, queues: {}, broker: { kind, connection: { code, message } } };
  }

  /** What carries the messages of a pipeline. @throws LevadaError BrokerUnavailable: nobody knows yet */
  transportOf(pipeline: string): Transport {
    const { runner } = this.#ownedOf(pipeline) ?? {};
    if (runner) return runner.transport;
    throw new LevadaError('BrokerUnavailable', { detail: `${nameOf(pipeline)} has none that can be used` });
  }

  counts(pipeline: string): Readonly<Record<string, StepCounts>> {
    return this.#ownedOf(pipeline)?.runner?.counts(pipeline) ?? {};
  }

  /** What became of the trials of models' versions. */
  trials(pipeline: string, step: string): readonly StepReport[] {
    return this.#ownedOf(pipeline)?.runner?.trials(pipeline, step) ?? [];
  }

  /** URLs of /metrics of the processes of steps. */
  admins(pipeline: string): readonly string[] {
    return this.#ownedOf(pipeline)?.runner?.admins(pipeline) ?? [];
  }

  /** URLs of http sources, by the name of their Service. */
  addresses(owner: string): Record<string, string> {
    const seen = this.#owners.get(owner)?.seen;
    const name = owner.split('/')[2] ?? '';
    return Object.fromEntries(
      Object.entries(seen?.sources ?? {}).flatMap(([part, { url }]) =>
        url === undefined ? [] : [[partName(name, part), new URL(url).origin]],
      ),
    );
  }

  apply(owner: string, plan: UnitPlan): Promise<boolean> {
    return this.#inTurn(owner, () => this.#apply(owner, plan));
  }

  /** One change of a pipeline at a time: it may come back while it is being forgotten. */
  async #inTurn<T>(owner: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(owner) ?? Promise.resolve();
    const turn = before.then(work, work);
    this.#turns.set(owner, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(owner) === turn) this.#turns.delete(owner);
    }
  }

  async #apply(owner: string, { pipeline: plan }: UnitPlan): Promise<boolean> {
    const before = this.#owners.get(owner);
    if (isDeepStrictEqual(before?.plan, plan)) return false;
    if (plan) {
      const old = before?.runner ?? this.#leaving.get(owner)?.runner;
      this.#leaving.delete(owner);
      const owned: Owned = { plan, runner: undefined, seen: before?.seen };
      this.#owners.set(owner, owned);
      await this.#run(owned, old);
    } else if (before) {
      this.#owners.delete(owner);
      await this.#leave(owner, before);
    }
    this.#changed(owner);
    return true;
  }

  async close(): Promise<void> {
    clearInterval(this.#poll);
    const runners = [this.#memory, ...this.#brokers.values()];
    await this.#memory.close();
    for (const { plan, runner } of this.#owners.values()) {
      if (runner === this.#memory) await this.#sayWhatEnds(plan.topology.pipeline);
    }
    await Promise.all(runners.map((runner) => runner !== this.#memory && runner.close()));
    await this.#memory.transport.close();
    this.#owners.clear();
  }

  /** Ends processes of steps at once: the broker has what they have in hand. */
  kill(): void {
    for (const runner of this.#brokers.values()) runner.kill();
  }

  /** Secrets may be other ones: pipelines whose broker is reached in another way now are moved to it. Never rejects. */
  async reread(): Promise<void> {
    for (const [owner, owned] of this.#owners) {
      if (!owned.plan.broker) continue;
      try {
        await this.#inTurn(owner, async () => {
          if (this.#owners.get(owner) === owned) await this.#run(owned, owned.runner);
        });
      } catch (error) {
        this.#options.log(owner, 'its broker could not be changed', error);
      }
    }
  }

  /** @param old what ran it before */
  async #run(owned: Owned, old: PipelineRunner | undefined): Promise<void> {
    const { pipeline } = owned.plan.topology;
    delete owned.failure;
    try {
      owned.runner = this.#runnerFor(owned.plan);
    } catch (error) {
      if (!errorCodeOf(error)) throw error;
      owned.failure = error as LevadaError;
    }
    if (old && owned.runner && old !== owned.runner) {
      // With other credentials for the same place the queues are the same.
      if (old.place !== owned.runner.place) {
        this.#options.note(`${nameOf(pipeline)} has another broker now; what the one before holds stays there`);
      }
      await old.release(pipeline);
    }
    // With a Secret that cannot be read any more, what runs goes on.
    if (!owned.runner && old) owned.runner = old;
    await owned.runner?.apply(owned.plan);
  }

  async #leave(owner: string, { plan, runner }: Owned): Promise<void> {
    if (!runner) return;
    const { pipeline } = plan.topology;
    if (plan.retain) return await runner.release(pipeline);
    this.#leaving.set(owner, { pipeline, runner });
    await runner.remove(pipeline);
  }

  /** @throws LevadaError SecretNotFound, SecretInvalid, BrokerRequired */
  #runnerFor(plan: PipelinePlan): PipelineRunner {
    const settings = plan.broker ? this.#settingsOf(plan.broker) : this.#options.broker;
    if (!settings) {
      const found = needsBroker(plan);
      if (found !== undefined) throw new LevadaError('BrokerRequired', { found });
      return this.#memory;
    }
    const key = JSON.stringify(settings);
    const runner =
      this.#brokers.get(key) ??
      new BrokerRunner({
        settings,
        host: this.#hostOptions(),
        ...(this.#options.ended && { ended: this.#options.ended }),
        names: this.#options.names,
        env: this.#options.env,
        changed: () => {}, // as with memory: the poll is often enough
        log: this.#options.log,
        now: () => systemClock.now(),
      });
    this.#brokers.set(key, runner);
    return runner;
  }

  #settingsOf({ secret }: BrokerRef): RabbitSettings {
    const data = this.#options.secret(secret);
    if (data) return settingsFromSecret(data, secret);
    const allowed = this.#options.secretNames().join(', ') || 'none is there';
    throw new LevadaError('SecretNotFound', { found: secret, allowed });
  }

  #hostOptions(): Omit<HostOptions, 'transport' | 'ended'> {
    const { environment, log } = this.#options;
    return {
      environment,
      dedup: new MemoryDedupStore(),
      clock: systemClock,
      date: () => new Date(),
      random: randomBytes,
      listen: ({ pipeline, name }) => ({ host: '127.0.0.1', port: this.#portOf(pipeline, name) }),
      // Told of each message: the poll is often enough.
      changed: () => {},
      log: (pipeline, part, text, error) => log(partName(nameOf(pipeline), part), text, error),
      drainMs,
    };
  }

  #ownedOf(pipeline: string): Owned | undefined {
    return this.#owners.get(`EventPipeline/${pipeline}`);
  }

  async #sayWhatEnds(pipeline: string): Promise<void> {
    const depths = Object.values(await this.#memory.transport.depths(pipeline));
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
        // A Secret may have come, or been corrected.
        if (!known.runner && known.failure?.code !== 'BrokerRequired') {
          await this.#inTurn(owner, async () => {
            if (this.#owners.get(owner) === known && !known.runner) await this.#run(known, undefined);
          });
        }
        const before = known.seen;
        const { pipeline } = await this.observe(owner);
        if (!isDeepStrictEqual(before, pipeline)) this.#changed(owner);
      }
      for (const owner of [...this.#leaving.keys()]) await this.#inTurn(owner, () => this.#forgetEmpty(owner));
      await this.#closeIdle();
    } catch (error) {
      this.#options.log('pipelines', 'queues could not be looked at', error);
    } finally {
      this.#polling = false;
    }
  }

  /** Of brokers that nothing is on any more: their connections, and who has other credentials now. */
  async #closeIdle(): Promise<void> {
    for (const [key, runner] of this.#brokers) {
      const isUsed = [...this.#owners.values(), ...this.#leaving.values()].some((one) => one.runner === runner);
      if (isUsed || !runner.isIdle) continue;
      this.#brokers.delete(key);
      await runner.close();
    }
  }

  async #forgetEmpty(owner: string): Promise<void> {
    const leaving = this.#leaving.get(owner);
    if (!leaving) return; // it has come back
    const { pipeline, runner } = leaving;
    const { queues, broker } = await runner.observe(pipeline);
    // What there is in the queues is not known now.
    if (brokerFailure(broker)) return;
    const states = Object.values(queues);
    if (states.some(({ waiting, inFlight }) => waiting + inFlight > 0)) return;
    const dead = states.reduce((sum, state) => sum + state.dead, 0);
    if (!(await runner.forget(pipeline))) return;
    this.#leaving.delete(owner);
    const where = runner === this.#memory ? 'and they with it' : 'and they stay in the broker';
    if (dead > 0) this.#options.note(`${nameOf(pipeline)} is gone; it had ${dead} dead letters, ${where}`);
  }
}

/** What of a pipeline cannot be done in memory. */
function needsBroker({ topology, consumers }: PipelinePlan): string | undefined {
  const adopting = topology.queues.find(({ adopts }) => adopts !== undefined);
  if (adopting) return `the queue source ${adopting.name}`;
  const publishing = consumers.find(({ action }) => action.kind === 'publish');
  return publishing && `the publish step ${publishing.name}`;
}

/** The name in `namespace/name`. */
const nameOf = (pipeline: string): string => pipeline.split('/')[1] ?? '';
