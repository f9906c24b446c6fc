import type { Message as AmqpMessage, ConfirmChannel, Options } from 'amqplib';
import { LevadaError, messageOf } from '../../../api/errors.ts';
import { close } from '../../../brokers/rabbitmq/close.ts';
import { type Link, notTaken } from '../../../brokers/rabbitmq/link.ts';
import { UnderWay } from '../../under-way.ts';
import { ChannelKeeper } from './keeper.ts';

/** What is to go out. */
export interface Outgoing {
  readonly exchange: string;
  readonly routingKey: string;
  readonly content: Buffer;
  readonly options: Options.Publish;
  /** Rejects when nothing is bound to the key. */
  readonly mandatory: boolean;
}

interface Pending {
  readonly outgoing: Outgoing;
  readonly bytes: number;
  readonly resolve: () => void;
  readonly reject: (error: LevadaError) => void;
  returned: boolean;
  /** Since the broker has confirmed one that was sent after it. */
  overtakenMs: number;
}

/** Messages and bytes that wait for the broker's confirmation at most: more of them wait for their turn. */
const maxOutstanding = 2_000;
const maxOutstandingBytes = 64 * 1024 * 1024;
/** Calls that wait for their turn: beyond, whoever calls should slow down. */
const maxWaiting = 50_000;
/** A broker that says nothing so long is taken for gone, and what it has passed over for so long for unknown. */
const confirmTimeoutMs = 30_000;
/** The client keeps a place for each message behind one without a confirmation: beyond, there is another channel. */
const longestWindow = 50_000;
const stepMs = 1_000;
/** Bytes: the client puts the headers of a message into one of its own. */
const headerBuffer = 65_536;
/** Whoever has sent something to a broker that takes no messages any more waits so long for the end of that. */
const blockedMs = 5_000;
const connectMs = 5_000;

/** Publishes with confirmations: what has resolved is safe. */
export class Publisher {
  readonly #link: Link;
  readonly #keeper: ChannelKeeper;
  readonly #outstanding = new UnderWay<Pending>();
  readonly #waiting: Array<() => void> = [];
  /** Calls that have not sent theirs yet. */
  #early = 0;
  #bytes = 0;
  #watch: NodeJS.Timeout | undefined;
  #confirmed = 0;
  /** Number of the last sent of those that are confirmed. */
  #newest = -1;
  /** Numbers of those that are given up, and not confirmed by the channel; they ascend. */
  readonly #passedOver = new Set<number>();
  /** Nothing is sent: the channel is about to be made anew. */
  #draining = false;
  #ending = false;
  #open = Promise.withResolvers<void>();

  constructor(link: Link) {
    this.#link = link;
    this.#keeper = new ChannelKeeper(link, {
      what: 'exchange of that name',
      opened: async (channel) => this.#opened(channel),
      lost: (error) => this.#lost(error),
    });
  }

  /**
   * Resolves when the broker has it.
   *
   * @throws LevadaError BrokerFull (a queue refuses it, or the broker is short of memory or disk), PublishUnroutable,
   *   MessageTooLarge, BrokerForbidden, QueueNotFound (there is no such exchange), BrokerUnavailable: nobody knows whether
   *   it has it
   */
  async publish(outgoing: Outgoing): Promise<void> {
    this.#assertNotBlocked();
    const { channel } = this.#keeper;
    await (channel && !this.#isFull ? this.#sent(channel, outgoing) : this.#inTurn(outgoing));
  }

  async close(): Promise<void> {
    clearInterval(this.#watch);
    await this.#keeper.close();
    this.#lost(new LevadaError('BrokerUnavailable', { detail: 'it is closed' }));
    for (const go of this.#waiting.splice(0)) go();
  }

  #sent(channel: ConfirmChannel, outgoing: Outgoing): Promise<void> {
    return new Promise((resolve, reject) => this.#send(channel, outgoing, resolve, reject));
  }

  /** Sends it as soon as there is a channel, and room. */
  async #inTurn(outgoing: Outgoing): Promise<void> {
    if (this.#early >= maxWaiting) {
      throw new LevadaError('BrokerFull', { detail: `${maxWaiting} messages wait for its confirmations` });
    }
    this.#early++;
    let sent: Promise<void> | undefined;
    try {
      while (!sent) {
        const channel = this.#keeper.channel ?? (await this.#channel());
        this.#assertNotBlocked();
        if (this.#isFull) await new Promise<void>((resolve) => void this.#waiting.push(resolve));
        else sent = this.#sent(channel, outgoing);
      }
    } finally {
      this.#early--;
      // Whoever could not use its turn, or has left room, hands it on.
      this.#wake();
    }
    await sent;
  }

  #wake(): void {
    if (!this.#isFull) this.#waiting.shift()?.();
  }

  #send(channel: ConfirmChannel, outgoing: Outgoing, resolve: () => void, reject: (error: LevadaError) => void): void {
    const { exchange, routingKey, content, options, mandatory } = outgoing;
    const pending: Pending = { outgoing, bytes: content.length, resolve, reject, returned: false, overtakenMs: 0 };
    const number = this.#outstanding.add(pending);
    this.#bytes += pending.bytes;
    try {
      // `false` only says that the socket's buffer is long: confirmations are what limits it.
      channel.publish(exchange, routingKey, content, { ...options, mandatory }, (error: unknown) => {
        this.#confirmed++;
        // When the channel has ended, `lost` follows, and knows why.
        if (isClosed(error)) return;
        if (number > this.#newest) this.#newest = number;
        if (this.#passedOver.size > 0) this.#passedOver.delete(number);
        if (error) this.#settle(number, refusal(error, outgoing));
        else this.#settle(number, pending.returned ? unroutable(outgoing) : undefined);
      });
    } catch (error) {
      this.#settle(number, unsent(error));
    }
  }

  /** Unless that is so already. */
  #settle(number: number, error?: LevadaError): void {
    const pending = this.#outstanding.take(number);
    if (!pending) return;
    this.#bytes -= pending.bytes;
    if (error) pending.reject(error);
    else pending.resolve();
    this.#wake();
  }

  get #isFull(): boolean {
    return this.#draining || this.#outstanding.size >= maxOutstanding || this.#bytes >= maxOutstandingBytes;
  }

  async #channel(): Promise<ConfirmChannel> {
    await this.#link.ready(connectMs);
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, connectMs);
    await Promise.race([this.#open.promise, late.promise]);
    clearTimeout(timer);
    const { channel } = this.#keeper;
    if (channel) return channel;
    throw this.#link.failure ?? new LevadaError('BrokerUnavailable', { detail: 'no channel can be opened' });
  }

  async #opened(channel: ConfirmChannel): Promise<void> {
    channel.on('return', (message: AmqpMessage) => this.#returned(message));
    this.#open.resolve();
    clearInterval(this.#watch);
    let seen = this.#confirmed;
    let silentMs = 0;
    this.#watch = setInterval(() => {
      const waits = this.#outstanding.size > 0 && this.#confirmed === seen;
      seen = this.#confirmed;
      silentMs = waits ? silentMs + stepMs : 0;
      const { blocked } = this.#link;
      if (blocked !== undefined && silentMs >= blockedMs) this.#giveUp(blocked);
      else if (silentMs >= confirmTimeoutMs) this.#link.reset(`no confirmation within ${confirmTimeoutMs / 1_000} s`);
      this.#passOver();
      this.#renew(channel);
    }, stepMs).unref();
  }

  /** A queue without a majority confirms nothing while all others do. What is slow on the way stays in its turn. */
  #passOver(): void {
    const detail = `it has not confirmed the message within ${confirmTimeoutMs / 1_000} s, and later ones it has`;
    for (const [number, pending] of this.#outstanding) {
      if (number > this.#newest) return;
      pending.overtakenMs += stepMs;
      if (pending.overtakenMs < confirmTimeoutMs) continue;
      this.#passedOver.add(number);
      this.#settle(number, new LevadaError('BrokerUnavailable', { detail }));
    }
  }

  /** Whatever else is under way has a step's time to be confirmed before the channel ends. */
  #renew(channel: ConfirmChannel): void {
    if (this.#ending) return;
    if (this.#draining) {
      this.#ending = true;
      return void close(channel);
    }
    const [oldest] = this.#passedOver;
    this.#draining = oldest !== undefined && this.#newest - oldest > longestWindow;
  }

  /** It comes before the confirmation of the same message. */
  #returned({ fields, properties }: AmqpMessage): void {
    for (const [, pending] of this.#outstanding) {
      const { exchange, routingKey, options, mandatory } = pending.outgoing;
      const same = exchange === fields.exchange && routingKey === fields.routingKey;
      if (mandatory && same && !pending.returned && options.messageId === properties.messageId) {
        pending.returned = true;
        return;
      }
    }
  }

  /** It has them in its socket, and takes them when it has room again: that may be hours. */
  #giveUp(blocked: string): void {
    const detail = `it accepts no messages (${blocked}), and may take this one later`;
    for (const [number] of [...this.#outstanding]) {
      this.#settle(number, new LevadaError('BrokerUnavailable', { detail }));
    }
  }

  #lost(error: LevadaError): void {
    this.#open.resolve();
    this.#open = Promise.withResolvers<void>();
    clearInterval(this.#watch);
    this.#passedOver.clear();
    this.#draining = false;
    this.#ending = false;
    const detail = `the channel has ended before it had confirmed: ${messageOf(error)}`;
    for (const [number, { outgoing }] of [...this.#outstanding]) {
      const unknown = () => new LevadaError('BrokerUnavailable', { detail }, { cause: error });
      this.#settle(number, refusedWith(error, outgoing) ?? unknown());
    }
    for (const go of this.#waiting.splice(0)) go();
  }

  #assertNotBlocked(): void {
    const { blocked } = this.#link;
    if (blocked !== undefined) throw notTaken(blocked);
  }
}

/** What the client could not put into a frame, or could not send because the channel has just ended. */
function unsent(error: unknown): LevadaError {
  const detail = messageOf(error);
  if (error instanceof RangeError) {
    return new LevadaError('MessageTooLarge', { found: 'headers of more', limit: headerBuffer }, { cause: error });
  }
  return new LevadaError('BrokerUnavailable', { detail }, { cause: error });
}

/** Why the broker has ended the channel, for the message that it has done so for. */
function refusedWith(error: LevadaError, { exchange, content }: Outgoing): LevadaError | undefined {
  const words = messageOf(error.cause);
  if (error.code === 'QueueConflict') {
    const [, found, limit] = /message size (\d+) is larger than configured max size (\d+)/.exec(words) ?? [];
    if (Number(found) !== content.length) return undefined;
    return new LevadaError('MessageTooLarge', { found: content.length, limit: Number(limit) }, { cause: error });
  }
  if (!words.includes(`'${exchange || 'amq.default'}'`)) return undefined;
  if (error.code === 'QueueNotFound')
    return new LevadaError('QueueNotFound', { found: `exchange ${exchange}` }, { cause: error });
  return error.code === 'BrokerForbidden' ? error : undefined;
}

/** amqplib's word for what was not confirmed when its channel ended. */
const isClosed = (error: unknown): boolean => error instanceof Error && error.message === 'channel closed';

/** The broker's negative confirmation: a queue has reached its length, or could not write. */
function refusal(error: unknown, { exchange, routingKey }: Outgoing): LevadaError {
  const detail = `a queue of ${exchange || 'the default exchange'} refuses ${routingKey}: it has reached its length`;
  return new LevadaError('BrokerFull', { detail }, { cause: error });
}

const unroutable = ({ exchange, routingKey }: Outgoing): LevadaError =>
  new LevadaError('PublishUnroutable', {
    found: exchange === '' ? `the queue ${routingKey}` : `${exchange} with the key ${routingKey}`,
  });
