import { isDeepStrictEqual } from 'node:util';
import type { BrokerState, Topology } from '../../../api/contract/pipeline.ts';
import type { Placement } from '../../../api/contract/placement.ts';
import { errorCodeOf, errors, LevadaError } from '../../../api/errors.ts';
import type { InHand, QueueDepth } from '../../../brokers/rabbitmq/broker.ts';
import type { Message } from '../../../runtime/events/message.ts';
import type { BrokerSecrets, FoundSecret } from './broker-secret.ts';
import type { BrokerSession, Brokers } from './brokers.ts';
import type { Figures } from './observe-pipeline.ts';

export interface PipelineBrokerOptions {
  /** `namespace/name`. */
  readonly pipeline: string;
  readonly brokers: Brokers;
  readonly secrets: BrokerSecrets;
  /** Milliseconds between two looks whose figures are shown. */
  readonly lookMs: number;
  /** What pods have in hand of a queue. */
  readonly inHand: (queue: string) => InHand;
  /** Asks the pods what they have in hand. */
  readonly refresh: () => Promise<void>;
  /** It is reached elsewhere now, where there are other queues. */
  readonly moved: (from: string, to: string) => void;
}

/** One pipeline's side of its broker: how it is reached, what it was told, and what it has. */
export class PipelineBroker {
  readonly #options: PipelineBrokerOptions;
  #session: BrokerSession | undefined;
  #secret: FoundSecret | undefined;
  /** Why nobody knows how to reach it. */
  #failure: LevadaError | undefined;
  /** What was made last in this session. */
  #told: Topology | undefined;
  #figures: Readonly<Record<string, Figures>> | undefined;
  /** Monotonic milliseconds. */
  #shownAt = Number.NEGATIVE_INFINITY;

  constructor(options: PipelineBrokerOptions) {
    this.#options = options;
  }

  /** As it was read last. */
  get secret(): FoundSecret | undefined {
    return this.#secret;
  }

  get failure(): LevadaError | undefined {
    return this.#failure;
  }

  get told(): Topology | undefined {
    return this.#told;
  }

  /** What the queues held when it was shown last; `undefined`: nobody has looked. */
  get figures(): Readonly<Record<string, Figures>> | undefined {
    return this.#figures;
  }

  get lostAt(): Readonly<Record<string, string>> {
    return this.#session?.broker.state(this.#options.pipeline).lostAt ?? {};
  }

  get placement(): Placement | undefined {
    return this.#session?.broker.placement(this.#options.pipeline);
  }

  /** Whether queues are about to go that somebody takes from still. */
  get isMigrating(): boolean {
    const { pipeline } = this.#options;
    const from = Object.values(this.placement?.queues ?? {}).some(
      ({ from }) => from.filter(({ adopted }) => !adopted).length > 1,
    );
    return from || this.#session?.broker.isLeaving(pipeline) === true;
  }

  /** @param lives whether a connection that there is counts, though nobody could make it anew */
  state(lives: boolean): BrokerState {
    const state: BrokerState = this.#session?.broker.state(this.#options.pipeline).broker ?? { kind: 'rabbitmq' };
    if (!this.#failure || (lives && this.#session)) return state;
    const { code, message } = this.#failure;
    return { ...state, connection: { code, message } };
  }

  /**
   * Finds out how it is reached. What keeps that from being known is kept for {@link state}; the connection that there is
   * goes on.
   *
   * @param secret `namespace/name`; absent: the operator's own
   * @throws LevadaError of outcome `retry`: the API server is to be asked again
   */
  async reach(secret: string | undefined): Promise<void> {
    const { pipeline, secrets, brokers, moved } = this.#options;
    try {
      this.#secret = await secrets.read(secret, `EventPipeline ${pipeline}`);
      this.#failure = undefined;
    } catch (error) {
      const code = errorCodeOf(error);
      if (code === undefined || errors[code].outcome === 'retry') throw error;
      this.#failure = error as LevadaError;
      return;
    }
    const before = this.#session;
    const session = brokers.take(pipeline, this.#secret.settings);
    if (session === before) return;
    this.#session = session;
    this.#told = undefined;
    if (!before) return;
    if (before.place !== session.place) {
      this.#figures = undefined;
      moved(before.place, session.place);
    }
    await brokers.leave(pipeline, before);
  }

  /** Whether its Secret is another one than {@link reach} has found, or came, or went. */
  async hasOtherSecret(secret: string | undefined): Promise<boolean> {
    const { pipeline, secrets } = this.#options;
    try {
      const { version } = await secrets.read(secret, `EventPipeline ${pipeline}`);
      return this.#failure !== undefined || version !== this.#secret?.version;
    } catch (error) {
      const code = errorCodeOf(error);
      if (code === undefined) throw error;
      return errors[code].outcome !== 'retry' && this.#failure?.message !== (error as LevadaError).message;
    }
  }

  /**
   * Makes the queues. What keeps it from that is said by {@link state}.
   *
   * @returns what the broker calls them; `undefined`: they could not be made
   */
  async tell(topology: Topology): Promise<Placement | undefined> {
    const session = this.#session;
    if (!session) return undefined;
    if (isDeepStrictEqual(this.#told, topology)) return this.placement ?? nowhere(topology.pipeline);
    if (session.isAway) return undefined;
    try {
      const placement = await session.broker.apply(topology);
      if (this.#session !== session) return undefined;
      this.#told = topology;
      return placement;
    } catch (error) {
      if (errorCodeOf(error) === undefined) throw error;
      return undefined;
    }
  }

  /**
   * Looks what is in the queues.
   *
   * @param mend whether it also looks if everything is there
   * @returns `changed`: there is something to show; `failed`: it could not be found out, and is to be looked at again soon
   */
  async look(mend: boolean): Promise<{ readonly changed: boolean; readonly failed: boolean }> {
    const { pipeline, refresh } = this.#options;
    const session = this.#session;
    if (!session || !this.#told || session.isAway) return { changed: false, failed: false };
    const before = this.#shown;
    let failed = false;
    try {
      // What was delivered while the broker was asked is in hand before or after.
      await refresh();
      const known = Object.keys(session.broker.placement(pipeline)?.queues ?? {});
      const first = this.#hands(known);
      if (mend) await session.broker.mend(pipeline);
      const depths = await session.broker.depths(pipeline);
      await refresh();
      this.#show(depths, first);
    } catch (error) {
      if (errorCodeOf(error) === undefined) throw error;
      failed = true;
    }
    return { changed: !isDeepStrictEqual(before, this.#shown), failed };
  }

  /**
   * Puts a message into the queues that are bound to `key`. Resolves when the broker has it.
   *
   * @throws LevadaError BrokerUnavailable: nobody knows yet where it is; and as {@link BrokerSession.publish}
   */
  async publish(message: Message, key: string): Promise<void> {
    const { pipeline } = this.#options;
    const session = this.#session;
    if (session) return await session.publish(pipeline, message, key);
    throw this.#failure ?? unknownBroker(pipeline);
  }

  /** It carries this pipeline no more. Never rejects. */
  async leave(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    if (session) await this.#options.brokers.leave(this.#options.pipeline, session);
  }

  get #shown(): unknown {
    return [this.#figures, this.placement, this.state(true), this.lostAt];
  }

  #hands(names: readonly string[]): ReadonlyMap<string, InHand> {
    return new Map(names.map((name) => [name, this.#options.inHand(name)]));
  }

  /** Figures change all the time: they are shown now and then, and when a queue has become empty, or is not any more. */
  #show(depths: Readonly<Record<string, QueueDepth>>, first: ReadonlyMap<string, InHand>): void {
    const figures = Object.fromEntries(
      Object.entries(depths).map(([name, { ready, dead }]) => {
        const [a, b] = [first.get(name), this.#options.inHand(name)];
        const delayed = Math.max(a?.delayed ?? 0, b.delayed);
        return [name, { waiting: ready + delayed, inFlight: Math.max(a?.unsettled ?? 0, b.unsettled), dead }];
      }),
    );
    const now = performance.now();
    const isDue = now - this.#shownAt >= this.#options.lookMs;
    if (!isDue && this.#figures && isDeepStrictEqual(outlineOf(figures), outlineOf(this.#figures))) return;
    this.#figures = figures;
    this.#shownAt = now;
  }
}

/** Nobody has looked yet how the broker of a pipeline is reached. */
export const unknownBroker = (pipeline: string): LevadaError =>
  new LevadaError('BrokerUnavailable', { detail: `that of ${pipeline} is not known yet` });

const nowhere = (pipeline: string): Placement => ({ pipeline, queues: {}, types: [] });

/** Which queues hold something: what a plan depends on. */
const outlineOf = (figures: Readonly<Record<string, Figures>>): object =>
  Object.fromEntries(
    Object.entries(figures).map(([name, { waiting, inFlight, dead }]) => [name, [waiting + inFlight > 0, dead > 0]]),
  );
