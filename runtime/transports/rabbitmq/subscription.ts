import type { ConfirmChannel, ConsumeMessage } from 'amqplib';
import type { Failure } from '../../../api/contract/pipeline.ts';
import type { PlacedSource } from '../../../api/contract/placement.ts';
import { errorCodeOf, failureOf, LevadaError } from '../../../api/errors.ts';
import type { Link } from '../../../brokers/rabbitmq/link.ts';
import { Acks } from './acks.ts';
import { ChannelKeeper } from './keeper.ts';

/** A delivery, and the channel that it came by: when that has gone, the broker has the message again. */
export interface Received {
  readonly message: ConsumeMessage;
  readonly source: PlacedSource;
  /** Whether it is still this consumer's to settle. */
  readonly held: boolean;
  ack(): void;
  requeue(): void;
}

export interface SubscriptionOptions {
  readonly what: string;
  readonly limit: number;
  readonly deliver: (received: Received) => void;
  /** A queue is not there (any more). */
  readonly missing: (queue: string) => void;
  readonly log: (text: string) => void;
}

/** What the broker delivers to: fixed in its prefetch. */
interface Tagged {
  readonly source: PlacedSource;
  readonly prefetch: number;
  tag: string | undefined;
  inHand: number;
  cancelled: boolean;
}

const retryMs = 1_000;
/** RabbitMQ 4.3 cancels consumers before their queue is gone: at once it would be seen still. */
const cancelledMs = 200;

/**
 * One consumer of a logical queue: a channel, and on it consumers of each queue that it comes to. `limit` holds for all
 * of them together. A prefetch cannot be changed, so another limit is another consumer beside or instead of it.
 */
export class Subscription {
  readonly #link: Link;
  readonly #options: SubscriptionOptions;
  readonly #keeper: ChannelKeeper;
  #sources: readonly PlacedSource[] = [];
  #limit: number;
  #acks: Acks | undefined;
  #consumers: Tagged[] = [];
  /** Delivered beyond the limit, because there are several queues. */
  #waiting: Array<{ run: () => void; giveBack: () => void }> = [];
  #handedOut = 0;
  #closed = false;
  #missing: string | undefined;
  #failure: Failure | undefined;
  /** One change of the consumers at a time. */
  #last: Promise<void> = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;

  constructor(link: Link, options: SubscriptionOptions) {
    this.#link = link;
    this.#options = options;
    this.#limit = options.limit;
    this.#keeper = new ChannelKeeper(link, {
      what: options.what,
      opened: async (channel) => this.#opened(channel),
      lost: (error) => this.#lost(error),
    });
  }

  /** What is in hand, by the broker's name of the queue. */
  get held(): ReadonlyMap<string, number> {
    const held = new Map<string, number>();
    for (const { source, inHand } of this.#consumers) {
      if (inHand > 0) held.set(source.name, (held.get(source.name) ?? 0) + inHand);
    }
    return held;
  }

  /** Why nothing can come; `undefined`: it can. */
  get failure(): Failure | undefined {
    if (this.#missing === undefined) return this.#failure;
    return failureOf(new LevadaError('QueueNotFound', { found: `queue ${this.#missing}` }));
  }

  /** Takes from these from now on. */
  use(sources: readonly PlacedSource[]): void {
    if (JSON.stringify(sources) === JSON.stringify(this.#sources)) return;
    this.#sources = sources;
    // One that it replaces may have been removed before this was told.
    if (!sources.some(({ name }) => name === this.#missing)) this.#missing = undefined;
    this.#balance();
  }

  limit(count: number): void {
    this.#limit = count;
    if (this.#handedOut + this.#waiting.length > count) {
      for (const { giveBack } of this.#waiting.splice(0)) giveBack();
    }
    // What came between two limits: nothing in hand would ever make room for it.
    while (this.#waiting.length > 0 && this.#handedOut < count) this.#waiting.shift()?.run();
    this.#balance();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.limit(0);
    this.#closed = true;
    await this.#last;
    clearTimeout(this.#retry);
    if (this.#handedOut === 0) await this.end();
  }

  /** Closes the channel: what is in hand goes back. */
  async end(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#acks?.flush();
    await this.#keeper.close();
  }

  #opened(channel: ConfirmChannel): void {
    this.#acks = new Acks(channel, this.#options.limit);
    this.#failure = undefined;
    this.#balance();
  }

  #lost(error: Error): void {
    this.#acks?.close();
    this.#acks = undefined;
    this.#consumers = [];
    this.#waiting = [];
    this.#handedOut = 0;
    this.#failure = failureOf(error);
  }

  #balance(): void {
    this.#last = this.#last.then(() => this.#adjust()).catch((error: unknown) => this.#failed(error));
  }

  /** While the channel is there nobody else begins again: a right that was missing may be given. */
  #failed(error: unknown): void {
    const failure = failureOf(error);
    if (failure.message !== this.#failure?.message) this.#options.log(`${this.#options.what}: ${failure.message}`);
    if (this.#closed || !this.#keeper.channel) return;
    this.#failure = failure;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#balance(), retryMs);
  }

  /** Makes the consumers of each queue allow what may be in hand. */
  async #adjust(): Promise<void> {
    const { channel } = this.#keeper;
    if (!channel || !this.#acks) return;
    const limit = this.#closed ? 0 : this.#limit;
    const wanted = new Set(this.#sources.map(({ name }) => name));
    if (this.#missing !== undefined && !wanted.has(this.#missing)) this.#missing = undefined;
    await this.#cancel(
      channel,
      this.#consumers.filter(({ source }) => !wanted.has(source.name)),
    );
    for (const source of this.#sources) await this.#adjustSource(channel, source, limit);
    this.#consumers = this.#consumers.filter(({ cancelled, inHand }) => !cancelled || inHand > 0);
    this.#failure = undefined;
  }

  async #adjustSource(channel: ConfirmChannel, source: PlacedSource, limit: number): Promise<void> {
    const mine = () => this.#consumers.filter((consumer) => consumer.source.name === source.name);
    const active = () => mine().filter(({ cancelled }) => !cancelled);
    const debt = () =>
      sum(
        mine()
          .filter(({ cancelled }) => cancelled)
          .map(({ inHand }) => inHand),
      );
    const allowed = () => sum(active().map(({ prefetch }) => prefetch));
    if (allowed() + debt() > limit || active().length > 3) {
      await this.#cancel(channel, active());
    }
    // Beside consumers that run, the rest waits until nothing is owed: else there would be one for each message.
    const missing = limit - allowed() - debt();
    const room = missing > 0 && (active().length === 0 || debt() === 0);
    // Also without room: what the broker has cancelled may be gone for good, and somebody has to make it anew.
    if (!room && this.#missing !== source.name) return;
    // Asked on another channel: the answer that there is none would end this one, and what is in hand with it.
    const exists = await this.#link.use(`queue ${source.name}`, (one) => one.checkQueue(source.name)).catch(notFound);
    if (!exists) return this.#gone(source);
    if (this.#missing === source.name) this.#missing = undefined;
    if (room) await this.#consume(channel, source, missing);
  }

  async #consume(channel: ConfirmChannel, source: PlacedSource, prefetch: number): Promise<void> {
    const consumer: Tagged = { source, prefetch, tag: undefined, inHand: 0, cancelled: false };
    // An unlimited consumer is one that the broker limits by itself.
    await channel.prefetch(Number.isFinite(prefetch) ? Math.min(prefetch, 65_535) : 0);
    this.#consumers.push(consumer);
    try {
      const { consumerTag } = await channel.consume(source.name, (message) => this.#take(channel, consumer, message));
      consumer.tag = consumerTag;
    } catch (error) {
      // The channel may have gone just before, and with it all others: this one must not count on the next channel.
      this.#consumers = this.#consumers.filter((one) => one !== consumer);
      throw error;
    }
  }

  /** What still comes to one of them is given back, from now on. */
  async #cancel(channel: ConfirmChannel, consumers: readonly Tagged[]): Promise<void> {
    const running = consumers.filter(({ cancelled }) => !cancelled);
    for (const consumer of running) consumer.cancelled = true;
    for (const { tag } of running) if (tag !== undefined) await channel.cancel(tag);
  }

  #take(channel: ConfirmChannel, consumer: Tagged, message: ConsumeMessage | null): void {
    const acks = this.#acks;
    if (!message) {
      // The broker has cancelled it: its queue is gone, or it has taken too long with a message.
      consumer.cancelled = true;
      this.#suspect(consumer.source, cancelledMs);
      return;
    }
    if (!acks || channel !== this.#keeper.channel) return;
    consumer.inHand++;
    const { deliveryTag } = message.fields;
    if (consumer.cancelled || this.#closed) {
      acks.requeue(deliveryTag);
      this.#settled(consumer);
      return;
    }
    if (this.#handedOut < this.#limit) {
      this.#handedOut++;
      this.#options.deliver(this.#received(acks, consumer, message));
      return;
    }
    const run = () => {
      this.#handedOut++;
      this.#options.deliver(this.#received(acks, consumer, message));
    };
    const giveBack = () => {
      acks.requeue(deliveryTag);
      this.#settled(consumer);
    };
    this.#waiting.push({ run, giveBack });
  }

  #received(acks: Acks, consumer: Tagged, message: ConsumeMessage): Received {
    return new Held(acks, consumer, message, this.#hold);
  }

  readonly #hold: Hold = {
    isCurrent: (acks) => this.#acks === acks,
    over: (consumer) => {
      this.#handedOut--;
      this.#settled(consumer);
      if (this.#waiting.length > 0 && this.#handedOut < this.#limit) this.#waiting.shift()?.run();
    },
  };

  #settled(consumer: Tagged): void {
    consumer.inHand--;
    if (consumer.cancelled && consumer.inHand === 0) this.#balance();
    if (this.#closed && this.#handedOut === 0 && this.held.size === 0) {
      this.end().catch((error: unknown) => this.#failed(error));
    }
  }

  /** Is looked for again: whoever owns it may make it anew. */
  #gone(source: PlacedSource): void {
    if (this.#suspect(source, retryMs)) this.#options.missing(source.name);
  }

  /** It counts as missing until it is seen. @returns whether anybody wants it */
  #suspect({ name }: PlacedSource, lookMs: number): boolean {
    if (!this.#sources.some((source) => source.name === name) || this.#closed) return false;
    this.#missing = name;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#balance(), lookMs);
    return true;
  }
}

/** What a delivery needs of its subscription. */
interface Hold {
  isCurrent(acks: Acks): boolean;
  over(consumer: Tagged): void;
}

/** One delivery in hand: a class, since there is one for each message. */
class Held implements Received {
  readonly message: ConsumeMessage;
  readonly #acks: Acks;
  readonly #consumer: Tagged;
  readonly #hold: Hold;

  constructor(acks: Acks, consumer: Tagged, message: ConsumeMessage, hold: Hold) {
    this.#acks = acks;
    this.#consumer = consumer;
    this.#hold = hold;
    this.message = message;
  }

  get source(): PlacedSource {
    return this.#consumer.source;
  }

  get held(): boolean {
    return this.#hold.isCurrent(this.#acks);
  }

  ack(): void {
    if (!this.held) return;
    this.#acks.ack(this.message.fields.deliveryTag);
    this.#hold.over(this.#consumer);
  }

  requeue(): void {
    if (!this.held) return;
    this.#acks.requeue(this.message.fields.deliveryTag);
    this.#hold.over(this.#consumer);
  }
}

function notFound(error: unknown): undefined {
  if (errorCodeOf(error) !== 'QueueNotFound') throw error;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
