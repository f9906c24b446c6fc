import type { Binding, BrokerState, Topology } from '../../api/contract/pipeline.ts';
import type { Placement } from '../../api/contract/placement.ts';
import { errorCodeOf, type LevadaError } from '../../api/errors.ts';
import { declare, declareCommon } from './declare.ts';
import { has, type Known, nothing, placementOf, recordOf, together, type Wanted, wantedQueues } from './known.ts';
import { type Link, type Links, notTaken } from './link.ts';
import { exists, lookAt } from './look.ts';
import { bringBack } from './lost.ts';
import { Management } from './management.ts';
import { missingParts } from './missing.ts';
import {
  type DeclaredQueue,
  deadQueue,
  deadQueueName,
  exchangeName,
  lostQueue,
  recordName,
  retryExchange,
  retryKey,
} from './names.ts';
import { type PipelineRecord, type RecordedQueue, Records } from './record.ts';
import type { RabbitSettings } from './settings.ts';

export interface RabbitBrokerOptions {
  /** What consumers have in hand of a queue, by the broker's name of it. A queue is removed when nobody has anything. */
  readonly inHand: (pipeline: string, queue: string, name: string) => InHand;
  readonly log?: (text: string) => void;
}

export interface InHand {
  /** Delivered and not settled, of the queue of that name. */
  readonly unsettled: number;
  /** Waiting for another attempt, of the step. */
  readonly delayed: number;
}

/** As AMQP's passive declare tells. */
export interface QueueDepth {
  readonly ready: number;
  readonly dead: number;
}

/**
 * Milliseconds that a queue must have been empty before its consumers leave it, and again before it goes: what has just
 * been delivered is neither in it nor told yet by the process that has it in hand, and would be lost with that process.
 */
const emptyForMs = 1_000;

/**
 * Queues and bindings of pipelines in one vhost. What cannot change is in a queue's name: another value is another
 * queue, which is bound before the old one is unbound; the old one is removed when it has been emptied.
 */
export class RabbitBroker {
  readonly #link: Link;
  readonly #publishing: Link;
  readonly #records: Records;
  readonly #options: RabbitBrokerOptions;
  readonly #management: Management | undefined;
  readonly #known = new Map<string, Known>();
  /** Why a pipeline's queues are not as they should be, also where nothing could be made so far. */
  readonly #failures = new Map<string, LevadaError>();
  /** By name in the broker: when a queue that is to go was first seen empty, monotonic milliseconds. */
  readonly #emptySince = new Map<string, number>();
  /** One change at a time. */
  #last: Promise<unknown> = Promise.resolve();
  #commonFor: unknown;

  constructor(links: Links, settings: RabbitSettings, options: RabbitBrokerOptions) {
    this.#link = links.consuming;
    this.#publishing = links.publishing;
    this.#records = new Records(links);
    this.#options = options;
    this.#management = settings.managementUri === undefined ? undefined : new Management(settings);
  }

  /**
   * Makes queues and bindings as `topology` says. Idempotent.
   *
   * @throws LevadaError BrokerUnavailable, BrokerRefused, BrokerForbidden, BrokerFull, QueueConflict
   */
  apply(topology: Topology): Promise<Placement> {
    return this.#inTurn(async () => {
      const known = await this.#trying(topology.pipeline, async () => {
        const one = await this.#knownOf(topology);
        one.topology = topology;
        await this.#make(one);
        return one;
      });
      await this.#sweep(known);
      return placementOf(known);
    });
  }

  /** Of each queue of a pipeline, by logical name. Empty ones that nobody wants are removed first. @throws as {@link apply} */
  depths(pipeline: string): Promise<Record<string, QueueDepth>> {
    return this.#inTurn(async () => {
      const known = this.#known.get(pipeline);
      if (!known) return {};
      await this.#sweep(known).catch((error: unknown) => {
        // What is to go can wait until the record can be written.
        if (errorCodeOf(error) !== 'BrokerFull') throw error;
      });
      const depths: Record<string, QueueDepth> = {};
      for (const [name, { queue }] of Object.entries(known.record)) {
        const { ready = 0, dead } = depths[queue] ?? {};
        depths[queue] = {
          ready: ready + (await this.#ready(name)),
          dead: dead ?? (await this.#ready(deadQueueName(pipeline, queue))),
        };
      }
      for (const { name, adopts } of known.topology.queues) {
        const depth = depths[name];
        // It may not be there yet: the consumer says so.
        if (adopts !== undefined && depth)
          depths[name] = { ...depth, ready: depth.ready + (await this.#ready(adopts)) };
      }
      return depths;
    });
  }

  /** Whether a queue is about to go, and somebody takes from it still. */
  isLeaving(pipeline: string): boolean {
    return (this.#known.get(pipeline)?.leaving.size ?? 0) > 0;
  }

  /** Where a pipeline is now: queues come and go. */
  placement(pipeline: string): Placement | undefined {
    const known = this.#known.get(pipeline);
    return known && placementOf(known);
  }

  /**
   * Looks whether everything is there, and makes what is not. What a queue that is gone had held is lost.
   *
   * @returns whether something was missing
   * @throws as {@link apply}
   */
  mend(pipeline: string): Promise<boolean> {
    return this.#inTurn(async () => {
      const known = this.#known.get(pipeline);
      if (!known) return false;
      const gone = await missingParts(this.#link, this.#management, known);
      let missing = gone.includes(`queue ${recordName(pipeline)}`);
      for (const [name, { queue }] of Object.entries(known.record)) {
        if (await this.#noteLost(known, name, queue)) missing = true;
      }
      if (gone.length > 0) {
        known.mended = { at: new Date().toISOString(), what: gone };
        this.#options.log?.(`${pipeline}: there was no ${gone.join(', no ')}; it is made anew`);
      }
      // Bindings that nobody can ask for are made again all the same.
      this.#commonFor = undefined;
      await this.#trying(pipeline, () => this.#make(known, true));
      await this.#write(known, known.record, missing);
      await this.#bringBack();
      return missing || gone.length > 0;
    });
  }

  /** What is so, for a status. */
  state(pipeline: string): { broker: BrokerState; lostAt: Readonly<Record<string, string>> } {
    const known = this.#known.get(pipeline);
    const { failure: connection, version } = this.#link;
    const { blocked } = this.#publishing;
    const topology = this.#failures.get(pipeline);
    const failure = (error: LevadaError) => ({ code: error.code, message: error.message });
    return {
      broker: {
        kind: 'rabbitmq',
        ...(version !== undefined && { version }),
        ...(connection && { connection: failure(connection) }),
        ...(blocked !== undefined && { blocked: failure(notTaken(blocked)) }),
        ...(topology && { topology: failure(topology) }),
        ...(known?.mended && { mended: known.mended }),
        ...(known && { settings: known.byPolicy ? ('Policies' as const) : ('Arguments' as const) }),
      },
      lostAt: Object.fromEntries(known?.lostAt ?? []),
    };
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => {}); // whoever asked is told
    return turn;
  }

  /** Keeps why it did not work, for the status. */
  async #trying<T>(pipeline: string, work: () => Promise<T>): Promise<T> {
    try {
      const done = await work();
      const rest = this.#known.get(pipeline)?.unverified;
      if (rest) this.#failures.set(pipeline, rest);
      else this.#failures.delete(pipeline);
      return done;
    } catch (error) {
      this.#failures.set(pipeline, error as LevadaError);
      throw error;
    }
  }

  async #knownOf(topology: Topology): Promise<Known> {
    const { pipeline } = topology;
    const known = this.#known.get(pipeline);
    if (known) return known;
    const record = await this.#records.read(pipeline);
    const made: Known = { topology, record, made: new Set(), lostAt: new Map(), leaving: new Set(), byPolicy: false };
    this.#known.set(pipeline, made);
    return made;
  }

  async #make(known: Known, again = false): Promise<void> {
    const { topology } = known;
    const { pipeline } = topology;
    const connection = await this.#link.ready(5_000);
    if (this.#commonFor !== connection) {
      await this.#link.use('what all pipelines share', declareCommon);
      this.#commonFor = connection;
    }
    const queues = await this.#wanted(known, again);
    const wanted = recordOf(queues, known.byPolicy);
    // First it is written down, then made: whoever comes next knows of everything that there may be.
    const before = known.record;
    await this.#write(known, together(before, wanted));
    const sources = new Set([
      pipeline,
      ...topology.queues.flatMap(({ bindings }) => bindings.map((one) => one.pipeline)),
    ]);
    for (const source of sources) {
      const exchange = exchangeName(source);
      await this.#link.use(exchange, (channel) => channel.assertExchange(exchange, 'topic', { durable: true }));
    }
    for (const { step, queue } of queues) await this.#declare(known, step.name, queue);
    // All are there before any is bound: making one takes long, and what comes meanwhile would be in both.
    for (const [name, entry] of Object.entries(wanted)) await this.#bind(pipeline, name, entry, before);
    const settled: Record<string, RecordedQueue> = { ...wanted };
    for (const [name, old] of Object.entries(before)) {
      const now = wanted[name] ?? nothing;
      const gone = old.bindings.filter((binding) => !has(now.bindings, binding));
      const replaced = !wanted[name] && topology.queues.some((spec) => spec.name === old.queue);
      if (await this.#unbind(pipeline, name, old.queue, gone, replaced)) {
        const { queue, byPolicy, retries } = old;
        settled[name] = wanted[name] ?? { queue, bindings: [], byPolicy, ...(retries && !replaced && { retries }) };
      }
    }
    await this.#write(known, settled);
  }

  /**
   * Makes a queue with its dead letters. One that was there and is not any more is said to be lost also when it went after
   * the look, while the rest was being made.
   */
  async #declare(known: Known, queue: string, declared: DeclaredQueue): Promise<void> {
    const { pipeline } = known.topology;
    const dead = deadQueue(pipeline, queue);
    const make = (made: ReadonlySet<string>) =>
      this.#link.use(declared.name, async (channel) => {
        if (made.has(dead.name)) await channel.checkQueue(dead.name);
        await declare(channel, dead, { key: retryKey(pipeline, queue) });
        if (made.has(declared.name)) await channel.checkQueue(declared.name);
        await declare(channel, declared);
      });
    try {
      await make(known.made);
    } catch (error) {
      if (errorCodeOf(error) !== 'QueueNotFound') throw error;
      await this.#noteLost(known, declared.name, queue);
      await make(new Set());
    }
    known.made.add(declared.name).add(dead.name);
  }

  /** Says that a queue or its dead letters are not there. @returns whether it is so */
  async #noteLost(known: Known, name: string, queue: string): Promise<boolean> {
    let isLost = false;
    for (const one of [name, deadQueueName(known.topology.pipeline, queue)]) {
      if (await exists(this.#link, one)) continue;
      isLost = true;
      known.made.delete(one);
      known.lostAt.set(queue, new Date().toISOString());
      this.#options.log?.(`the queue ${one} was gone, and is made anew; what it held is lost`);
    }
    return isLost;
  }

  /**
   * Binds a queue, and unbinds those that it takes the place of right after, binding by binding. What comes in the moment
   * between is in both, under one id: the other order would lose it.
   */
  async #bind(
    pipeline: string,
    name: string,
    { queue, bindings, retries }: RecordedQueue,
    before: PipelineRecord,
  ): Promise<void> {
    const replaced = Object.keys(before).filter((other) => other !== name && before[other]?.queue === queue);
    const there = await Promise.all(replaced.map(async (other) => ((await exists(this.#link, other)) ? [other] : [])));
    const old = there.flat();
    await this.#link.use(name, async (channel) => {
      const move = (exchange: string, key: string, from: readonly string[]) =>
        Promise.all([
          channel.bindQueue(name, exchange, key),
          ...from.map((other) => channel.unbindQueue(other, exchange, key)),
        ]);
      for (const binding of bindings) {
        const bound = old.filter((other) => has(before[other]?.bindings ?? [], binding));
        await move(exchangeName(binding.pipeline), binding.type, bound);
      }
      if (retries) await move(retryExchange, retryKey(pipeline, queue), old);
    });
  }

  /**
   * The queues that the topology asks for.
   *
   * @param again whether it was asked before: a user who could not use policies then is not asked for all the time
   */
  async #wanted(known: Known, again: boolean): Promise<Wanted[]> {
    if (!again || known.byPolicy) await this.#lookAtPolicies(known);
    return wantedQueues(known.topology, known.byPolicy);
  }

  /** While the management API is away, what was made with policies goes on, and is mended. */
  async #lookAtPolicies(known: Known): Promise<void> {
    try {
      known.byPolicy = await this.#canUsePolicies(known);
      delete known.unverified;
    } catch (error) {
      const made = wantedQueues(known.topology, true).every(
        ({ queue: { name, events } }) => !events || known.record[name]?.byPolicy,
      );
      if (errorCodeOf(error) !== 'BrokerUnavailable' || !made) throw error;
      known.byPolicy = true;
      known.unverified = error as LevadaError;
    }
  }

  /** Sets the policies of all queues, and sees whether they rule. */
  async #canUsePolicies(known: Known): Promise<boolean> {
    const all = wantedQueues(known.topology, true);
    if (!this.#management || all.length === 0) return false;
    const policies = this.#management;
    const made: string[] = [];
    for (const { step, queue } of all) {
      if (!(await policies.put(queue.name, queue.policy))) return this.#takeBack(known, made, policies);
      // What is asked of a policy can be seen only in a queue: it is made, without a binding so far.
      await this.#declare(known, step.name, queue);
      made.push(queue.name);
    }
    const rule = await Promise.all(all.map(({ queue: { name, policy } }) => policies.rules(name, policy)));
    const other = all[rule.indexOf(false)]?.queue;
    if (other) {
      this.#options.log?.(`another policy rules ${other.name}: settings are arguments of the queues instead`);
      return this.#takeBack(known, made, policies);
    }
    return true;
  }

  /** Removes queues that were made to look at their policies, with these. One of the record goes when it is empty. */
  async #takeBack(known: Known, names: readonly string[], policies: Management): Promise<false> {
    for (const name of names) {
      if (known.record[name] || (await this.#ready(name)) > 0) continue;
      await this.#link.use(name, (channel) => channel.deleteQueue(name));
      known.made.delete(name);
      await policies.remove(name);
    }
    return false;
  }

  async #write(known: Known, record: PipelineRecord, always = false): Promise<void> {
    const { pipeline } = known.topology;
    if (always || JSON.stringify(record) !== JSON.stringify(known.record)) {
      await this.#records.write(pipeline, record);
    }
    known.record = record;
  }

  /** @returns whether the queue is there still */
  async #unbind(
    pipeline: string,
    name: string,
    queue: string,
    gone: readonly Binding[],
    replaced: boolean,
  ): Promise<boolean> {
    try {
      await this.#link.use(name, async (channel) => {
        for (const { pipeline: from, type } of gone) await channel.unbindQueue(name, exchangeName(from), type);
        if (replaced) await channel.unbindQueue(name, retryExchange, retryKey(pipeline, queue));
      });
      return true;
    } catch (error) {
      if (errorCodeOf(error) !== 'QueueNotFound') throw error;
      return false;
    }
  }

  /** Removes what nobody wants and what holds nothing. */
  async #sweep(known: Known): Promise<void> {
    const { pipeline, queues } = known.topology;
    const record = { ...known.record };
    const wanted = new Set(wantedQueues(known.topology, known.byPolicy).map((one) => one.queue.name));
    for (const [name, { queue, bindings, byPolicy, retries }] of Object.entries(known.record)) {
      const listed = queues.some((spec) => spec.name === queue);
      if (wanted.has(name) || bindings.length > 0) {
        known.leaving.delete(name); // it is wanted again
        continue;
      }
      // What the others hold may have to come back.
      const goesLast = retries && !listed;
      if (goesLast && Object.values(record).some((other) => other.queue === queue && !other.retries)) continue;
      if (!(await this.#isEmpty(pipeline, queue, name, !listed))) {
        this.#emptySince.delete(name);
        known.leaving.delete(name);
        continue;
      }
      if (!(await this.#isLeft(known, name))) continue;
      this.#emptySince.delete(name);
      known.leaving.delete(name);
      await this.#link.use(name, (channel) => channel.deleteQueue(name));
      known.made.delete(name);
      if (byPolicy) await this.#management?.remove(name);
      delete record[name];
      const last = !Object.values(record).some((other) => other.queue === queue);
      if (!last) continue;
      const dead = deadQueueName(pipeline, queue);
      await this.#link.use(dead, (channel) => channel.deleteQueue(dead));
      known.made.delete(dead);
    }
    await this.#write(known, record);
    if (queues.length > 0 || Object.keys(record).length > 0) return;
    await this.#link.use(recordName(pipeline), (channel) => channel.deleteQueue(recordName(pipeline)));
    this.#known.delete(pipeline);
    const exchange = exchangeName(pipeline);
    await this.#link
      .use(exchange, (channel) => channel.deleteExchange(exchange, { ifUnused: true }))
      .catch((error: unknown) => {
        // Another pipeline is bound to it still.
        if (errorCodeOf(error) !== 'QueueConflict') throw error;
      });
  }

  /** Of an empty queue: whether nobody can have anything of it any more. First its consumers are to leave, then it goes. */
  async #isLeft({ topology: { queues }, leaving }: Known, name: string): Promise<boolean> {
    const now = performance.now();
    const since = this.#emptySince.get(name) ?? now;
    this.#emptySince.set(name, since);
    // Of a pipeline that is forgotten nobody takes any more, except who has fallen silent.
    const long = queues.length === 0 || now - since >= emptyForMs;
    if (!leaving.has(name)) {
      if (!long) return false;
      leaving.add(name);
      this.#emptySince.set(name, now);
      if (queues.length > 0) return false;
    }
    const { consumerCount } = await lookAt(this.#link, name);
    if (consumerCount > 0) this.#emptySince.set(name, now);
    return consumerCount === 0 && long;
  }

  /** What is in hand is asked between two looks: a message that was given back meanwhile is seen by the second. */
  async #isEmpty(pipeline: string, queue: string, name: string, whole: boolean): Promise<boolean> {
    if ((await this.#ready(name)) > 0) return false;
    const { unsettled, delayed } = this.#options.inHand(pipeline, queue, name);
    if (unsettled > 0 || (whole && delayed > 0)) return false;
    if (whole && !(await this.#isUntouched(deadQueueName(pipeline, queue)))) return false;
    return (await this.#ready(name)) === 0;
  }

  /** Nothing waits, and nobody has anything of it in hand: a quorum queue counts whoever does as a consumer. */
  async #isUntouched(name: string): Promise<boolean> {
    const { messageCount, consumerCount } = await lookAt(this.#link, name);
    return messageCount + consumerCount === 0;
  }

  async #bringBack(): Promise<void> {
    if ((await this.#ready(lostQueue)) === 0) return;
    const isThere = (key: string) =>
      [...this.#known.values()].some(({ topology: { pipeline, queues } }) =>
        queues.some(({ name }) => retryKey(pipeline, name) === key),
      );
    const count = await this.#publishing.use(lostQueue, (channel) => bringBack(channel, isThere));
    if (count > 0) this.#options.log?.(`${count} messages of ${lostQueue} are back in their queues`);
  }

  /** Messages that wait; 0 of a queue that is gone. */
  async #ready(name: string): Promise<number> {
    return (await lookAt(this.#link, name)).messageCount;
  }
}
