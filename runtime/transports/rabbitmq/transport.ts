import { maxMessageBytes, type Topology } from '../../../api/contract/pipeline.ts';
import type { Placement } from '../../../api/contract/placement.ts';
import { errorCodeOf, LevadaError, messageOf } from '../../../api/errors.ts';
import type { InHand } from '../../../brokers/rabbitmq/broker.ts';
import { RabbitBroker } from '../../../brokers/rabbitmq/broker.ts';
import { Link } from '../../../brokers/rabbitmq/link.ts';
import {
  deadExchange,
  exchangeName,
  retryExchange,
  retryKey,
  rungFor,
  rungName,
  topRung,
} from '../../../brokers/rabbitmq/names.ts';
import { lookAtOthers } from '../../../brokers/rabbitmq/others.ts';
import type { RabbitSettings } from '../../../brokers/rabbitmq/settings.ts';
import { type Clock, systemClock } from '../../clock.ts';
import type { Message } from '../../events/message.ts';
import type { ForeignMessage, ForeignTarget } from '../../steps/step.ts';
import type { Consumer, DeadLetterFate, Delivery, Depth, QueueName, Settlement, Transport } from '../transport.ts';
import { attributeBytes, decode, decodeForeign, encode, encodeForeign, maxAttributeBytes } from './codec.ts';
import { visitDeadQueue } from './dead.ts';
import { Delayed } from './delayed.ts';
import { closedError, RabbitDelivery, type Settler } from './delivery.ts';
import { Publisher } from './publisher.ts';
import { type Received, Subscription } from './subscription.ts';

export interface RabbitTransportOptions {
  /** Shown in the broker's list of connections. */
  readonly name?: string;
  readonly clock?: Clock;
  readonly log?: (text: string) => void;
  /** A queue that should be there is not. */
  readonly missing?: (pipeline: string) => void;
  /** What other processes have in hand, where they consume the queues that this one makes. */
  readonly othersInHand?: (pipeline: string, queue: string, name: string) => InHand;
}

interface Taking {
  readonly name: QueueName;
  readonly subscription: Subscription;
}

/** Between two tries to send a message to wait. */
const sendAgainMs = 1_000;
const none: InHand = { unsettled: 0, delayed: 0 };

/**
 * RabbitMQ. One connection consumes and makes queues, another one publishes: a broker that is short of memory blocks
 * those that publish, and consumers must go on.
 */
export class RabbitTransport implements Transport {
  readonly broker: RabbitBroker;
  readonly #options: RabbitTransportOptions;
  readonly #link: Link;
  readonly #publishing: Link;
  readonly #publisher: Publisher;
  /** By exchange: one that refuses ends its channel, and what others have on the way there is not known to have arrived. */
  readonly #foreign = new Map<string, Publisher>();
  readonly #placements = new Map<string, Placement>();
  readonly #taking = new Set<Taking>();
  readonly #delayed: Delayed;
  readonly #clock: Clock;
  #closed = false;

  /** Connects in the background: each call waits for the connection, and says why there is none. */
  constructor(settings: RabbitSettings, options: RabbitTransportOptions = {}) {
    const { name = 'levada', log, clock = systemClock } = options;
    this.#options = options;
    this.#clock = clock;
    this.#link = new Link(settings, { name: `${name} consumes`, ...(log && { log }) });
    this.#publishing = new Link(settings, { name: `${name} publishes` });
    this.#publisher = new Publisher(this.#publishing);
    this.#delayed = new Delayed(clock);
    this.broker = new RabbitBroker({ consuming: this.#link, publishing: this.#publishing }, settings, {
      inHand: (pipeline, queue, queueName) => this.#inHand(pipeline, queue, queueName),
      ...(log && { log }),
    });
  }

  /** Why there is no connection that consumes, or none that publishes; `undefined`: there are both. */
  get failure(): LevadaError | undefined {
    const away = [this.#link, this.#publishing].find(({ connection }) => !connection);
    return away && (away.failure ?? new LevadaError('BrokerUnavailable', { detail: 'it has not answered yet' }));
  }

  async apply(topology: Topology): Promise<void> {
    this.#assertOpen();
    this.place(await this.broker.apply(topology));
  }

  /** What somebody else has made: consumers take from there from now on. */
  place(placement: Placement): void {
    this.#placements.set(placement.pipeline, placement);
    for (const { name, subscription } of this.#taking) {
      if (name.pipeline === placement.pipeline) subscription.use(placement.queues[name.queue]?.from ?? []);
    }
  }

  async publish(pipeline: string, messages: readonly Message[], key?: string): Promise<void> {
    this.#assertOpen();
    assertSize(messages);
    const exchange = exchangeName(pipeline);
    const bound = this.#placements.get(pipeline)?.types;
    // The exchange may be there from before, with other bindings: nobody knows yet who is to get them.
    if (!bound) {
      const unmade = () => new LevadaError('BrokerUnavailable', { detail: `${pipeline} has no queues yet` });
      throw this.#publishing.failure ?? this.#link.failure ?? unmade();
    }
    try {
      await allOf(
        messages.map((message) =>
          this.#publisher.publish({
            ...encode(message),
            exchange,
            routingKey: key ?? message.type,
            // A type that somebody wants must not be lost when the queue has gone.
            mandatory: key !== undefined || bound.includes(message.type),
          }),
        ),
      );
    } catch (error) {
      this.#lookFor(pipeline, error);
      if (!isMissing(error)) throw error;
      const detail = `the queues of ${pipeline} are gone, and are being made anew`;
      throw new LevadaError('BrokerUnavailable', { detail }, { cause: error });
    }
  }

  /** Where a publish failed because a queue or an exchange is not there, whoever makes them is told. */
  #lookFor(pipeline: string, error: unknown): void {
    const { cause } = error as { cause?: unknown };
    if (isMissing(error) || errorCodeOf(cause) === 'QueueNotFound') this.#options.missing?.(pipeline);
  }

  /**
   * Puts a message where somebody else reads.
   *
   * @throws LevadaError PublishUnroutable, QueueNotFound, BrokerForbidden, BrokerFull, BrokerUnavailable, MessageTooLarge
   */
  async publishTo(target: ForeignTarget, { message, format }: ForeignMessage): Promise<void> {
    this.#assertOpen();
    assertSize([message]);
    const { exchange } = target;
    let publisher = this.#foreign.get(exchange);
    if (!publisher) {
      publisher = new Publisher(this.#publishing);
      this.#foreign.set(exchange, publisher);
    }
    await publisher.publish({ ...encodeForeign(message, format), ...target, mandatory: true });
  }

  async consume(name: QueueName, limit: number, deliver: (delivery: Delivery) => void): Promise<Consumer> {
    this.#assertOpen();
    assertLimit(limit);
    const placed = this.#placements.get(name.pipeline)?.queues[name.queue];
    if (!placed) {
      throw new LevadaError('BrokerUnavailable', { detail: `there is no queue ${name.queue} of ${name.pipeline}` });
    }
    await this.#link.ready(5_000);
    const settler = this.#settler(name);
    const subscription = new Subscription(this.#link, {
      what: `queue ${name.queue} of ${name.pipeline}`,
      limit,
      deliver: (received) => this.#take(settler, received, deliver),
      missing: () => this.#options.missing?.(name.pipeline),
      log: (text) => this.#options.log?.(text),
    });
    const taking: Taking = { name, subscription };
    this.#taking.add(taking);
    subscription.use(placed.from);
    return {
      limit: (count) => {
        assertLimit(count);
        subscription.limit(count);
      },
      close: async () => {
        await subscription.close();
        if (subscription.held.size === 0) this.#taking.delete(taking);
      },
      get failure() {
        return subscription.failure;
      },
    };
  }

  async depths(pipeline: string): Promise<Readonly<Record<string, Depth>>> {
    this.#assertOpen();
    const depths = await this.broker.depths(pipeline);
    const placement = this.broker.placement(pipeline);
    if (placement) this.place(placement);
    else this.#placements.delete(pipeline);
    return Object.fromEntries(
      Object.entries(depths).map(([queue, { ready, dead }]) => {
        const { unsettled, delayed } = this.handOf(pipeline, queue);
        return [queue, { ready, delayed, unsettled, dead }];
      }),
    );
  }

  /** What this process has in hand of a queue, and what it has sent to wait. */
  handOf(pipeline: string, queue: string): InHand {
    const counts = [...this.#takingOf(pipeline, queue)].flatMap(({ held }) => [...held.values()]);
    const unsettled = counts.reduce((sum, count) => sum + count, 0);
    return { unsettled, delayed: this.#delayed.count(retryKey(pipeline, queue)) };
  }

  /** By the broker's names of the queues. */
  heldBy(pipeline: string, queue: string): Readonly<Record<string, number>> {
    const held: Record<string, number> = {};
    for (const subscription of this.#takingOf(pipeline, queue)) {
      for (const [name, count] of subscription.held) held[name] = (held[name] ?? 0) + count;
    }
    return held;
  }

  /** Dead letters of a pipeline whose queues another process makes. Nothing else of it is touched. */
  lookAt(pipeline: string): Pick<Transport, 'depths' | 'visitDead'> {
    return {
      depths: async () => {
        this.#assertOpen();
        const links = { consuming: this.#link, publishing: this.#publishing };
        const { placement, depths } = await lookAtOthers(links, pipeline);
        this.place(placement);
        return Object.fromEntries(
          Object.entries(depths).map(([queue, depth]) => [queue, { ...depth, delayed: 0, unsettled: 0 }]),
        );
      },
      visitDead: (name, visit) => this.visitDead(name, visit),
    };
  }

  async visitDead(
    name: QueueName,
    visit: (message: Message) => DeadLetterFate | Promise<DeadLetterFate>,
  ): Promise<void> {
    this.#assertOpen();
    const placed = this.#placements.get(name.pipeline)?.queues[name.queue];
    if (!placed) return;
    // A visitor's own errors come out as they are.
    let thrown: { readonly error: unknown } | undefined;
    try {
      await this.#link.use(`queue ${placed.dead}`, (channel) =>
        visitDeadQueue(channel, {
          queue: placed.dead,
          step: name.queue,
          visit: async (message) => {
            try {
              const fate = await visit(message);
              this.#assertOpen();
              return fate;
            } catch (error) {
              thrown = { error };
              throw error;
            }
          },
          replay: (message, to) => this.#replay(name, message, to),
        }),
      );
    } catch (error) {
      throw thrown ? thrown.error : error;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#taking].map(({ subscription }) => subscription.end()));
    await Promise.all([this.#publisher, ...this.#foreign.values()].map((publisher) => publisher.close()));
    await Promise.all([this.#link.close(), this.#publishing.close()]);
  }

  *#takingOf(pipeline: string, queue: string): Iterable<Subscription> {
    for (const { name, subscription } of this.#taking) {
      if (name.pipeline === pipeline && name.queue === queue) yield subscription;
    }
  }

  #inHand(pipeline: string, queue: string, name: string): InHand {
    const others = this.#options.othersInHand?.(pipeline, queue, name) ?? none;
    const { delayed } = this.handOf(pipeline, queue);
    return {
      unsettled: (this.heldBy(pipeline, queue)[name] ?? 0) + others.unsettled,
      delayed: delayed + others.delayed,
    };
  }

  #settler(name: QueueName): Settler {
    const isClosed = () => this.#closed;
    return {
      name,
      get closed() {
        return isClosed();
      },
      settle: (settlement) => this.#settle(name, settlement),
    };
  }

  #take(settler: Settler, received: Received, deliver: (delivery: Delivery) => void): void {
    const { adopted, name: queue } = received.source;
    const { name } = settler;
    if (adopted) {
      deliver(new RabbitDelivery(decodeForeign(received.message, queue), received, settler));
      return;
    }
    const { message, delayLeftMs } = decode(received.message, name.queue);
    if (delayLeftMs === 0) {
      deliver(new RabbitDelivery(message, received, settler));
      return;
    }
    this.#waitOn(name, received, message, delayLeftMs);
  }

  /** It has climbed the whole ladder, and has to wait longer: it is sent up again until the broker takes it. */
  #waitOn(name: QueueName, received: Received, message: Message, delayMs: number): void {
    this.#delay(name, message, delayMs).then(
      () => received.ack(),
      (error: unknown) => {
        this.#options.log?.(`a message could not be sent to wait: ${messageOf(error)}`);
        if (this.#closed || !received.held) return; // it is delivered again
        this.#clock.after(sendAgainMs, () => this.#waitOn(name, received, message, delayMs));
      },
    );
  }

  /** What must be safe before the broker may forget the message. */
  async #settle(name: QueueName, settlement: Settlement): Promise<void> {
    switch (settlement.kind) {
      case 'done':
        if (settlement.emits.length > 0) await this.publish(name.pipeline, settlement.emits);
        return;
      case 'retry': {
        const { message, delayMs } = settlement;
        if (!(delayMs >= 0)) throw new RangeError(`delayMs: found ${delayMs}; allowed: 0 or more`);
        if (delayMs === 0) await this.#sendTo(retryExchange, name, message);
        else await this.#delay(name, message, delayMs);
        return;
      }
      case 'dead':
        await this.#sendTo(deadExchange, name, settlement.message);
        return;
      case 'release':
    }
  }

  async #delay(name: QueueName, message: Message, delayMs: number): Promise<void> {
    const rung = rungFor(delayMs);
    const end = this.#delayed.begin(retryKey(name.pipeline, name.queue), rung);
    try {
      await this.#sendTo(rungName(rung), name, message, Math.max(0, delayMs - topRung));
    } catch (error) {
      end();
      throw error;
    }
  }

  /** The exchange would keep what it cannot deliver: a queue that is not there must be noticed here. */
  async #replay(name: QueueName, message: Message, to = name.queue): Promise<void> {
    const { pipeline } = name;
    if (!this.#placements.get(pipeline)?.queues[to]) {
      throw new LevadaError('BrokerUnavailable', { detail: `there is no queue ${to} of ${pipeline}` });
    }
    await this.#sendTo(retryExchange, { pipeline, queue: to }, message);
  }

  async #sendTo(exchange: string, name: QueueName, message: Message, delayLeftMs = 0): Promise<void> {
    const routingKey = retryKey(name.pipeline, name.queue);
    try {
      await this.#publisher.publish({ ...encode(message, delayLeftMs), exchange, routingKey, mandatory: true });
    } catch (error) {
      this.#lookFor(name.pipeline, error);
      throw error;
    }
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError();
  }
}

/** Nobody gets it: a queue or an exchange is not there. */
function isMissing(error: unknown): boolean {
  const code = errorCodeOf(error);
  return code === 'PublishUnroutable' || code === 'QueueNotFound';
}

function assertSize(messages: readonly Message[]): void {
  for (const message of messages) {
    const found = message.data.byteLength;
    if (found > maxMessageBytes) throw new LevadaError('MessageTooLarge', { found, limit: maxMessageBytes });
    const attributes = attributeBytes(message);
    if (attributes <= maxAttributeBytes) continue;
    throw new LevadaError('MessageTooLarge', { found: `attributes of ${attributes}`, limit: maxAttributeBytes });
  }
}

/** Waits for all, so that nothing is under way when it rejects. */
async function allOf(promises: readonly Promise<void>[]): Promise<void> {
  if (promises.length === 1) return await promises[0];
  const failed = (await Promise.allSettled(promises)).find(({ status }) => status === 'rejected');
  if (failed) throw (failed as PromiseRejectedResult).reason;
}

function assertLimit(limit: number): void {
  if (limit === Number.POSITIVE_INFINITY || (Number.isInteger(limit) && limit >= 0)) return;
  throw new RangeError(`limit: found ${limit}; allowed: a whole number, 0 or more`);
}
