import type { Message as AmqpMessage, ConfirmChannel, Options } from 'amqplib';
import { LevadaError, messageOf } from '../../../api/errors.ts';
import type { Link } from '../../../brokers/rabbitmq/link.ts';
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
}

/** Messages and bytes that wait for the broker's confirmation at most: more of them wait for their turn. */
const maxOutstanding = 2_000;
const maxOutstandingBytes = 64 * 1024 * 1024;
/** Calls that wait for their turn: beyond, whoever calls should slow down. */
const maxWaiting = 50_000;
/** A broker that says nothing so long is taken for gone. */
const confirmTimeoutMs = 30_000;
const connectMs = 5_000;

/** Publishes with confirmations: what has resolved is safe. */
export class Publisher {
  readonly #link: Link;
  readonly #keeper: ChannelKeeper;
  readonly #outstanding = new Set<Pending>();
  readonly #waiting: Array<() => void> = [];
  #bytes = 0;
  #watch: NodeJS.Timeout | undefined;
  #confirmed = 0;
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
   *   BrokerUnavailable: nobody knows whether it has it
   */
  async publish(outgoing: Outgoing): Promise<void> {
    this.#assertNotBlocked();
    if (this.#isFull) await this.#turn();
    const channel = this.#keeper.channel ?? (await this.#channel());
    this.#assertNotBlocked();
    return await new Promise((resolve, reject) => this.#send(channel, outgoing, resolve, reject));
  }

  async close(): Promise<void> {
    clearInterval(this.#watch);
    await this.#keeper.close();
    this.#lost(new LevadaError('BrokerUnavailable', { detail: 'it is closed' }));
    for (const go of this.#waiting.splice(0)) go();
  }

  #send(channel: ConfirmChannel, outgoing: Outgoing, resolve: () => void, reject: (error: LevadaError) => void): void {
    const { exchange, routingKey, content, options, mandatory } = outgoing;
    const pending: Pending = { outgoing, bytes: content.length, resolve, reject, returned: false };
    this.#outstanding.add(pending);
    this.#bytes += pending.bytes;
    try {
      // `false` only says that the socket's buffer is long: confirmations are what limits it.
      channel.publish(exchange, routingKey, content, { ...options, mandatory }, (error: unknown) => {
        this.#confirmed++;
        // When the channel has ended, `lost` follows, and knows why.
        if (!this.#outstanding.has(pending) || isClosed(error)) return;
        if (error) this.#settle(pending, refusal(error, outgoing));
        else this.#settle(pending, pending.returned ? unroutable(outgoing) : undefined);
      });
    } catch (error) {
      const detail = messageOf(error);
      this.#settle(pending, new LevadaError('BrokerUnavailable', { detail }, { cause: error }));
    }
  }

  #settle(pending: Pending, error?: LevadaError): void {
    this.#outstanding.delete(pending);
    this.#bytes -= pending.bytes;
    if (error) pending.reject(error);
    else pending.resolve();
    if (this.#waiting.length > 0 && !this.#isFull) this.#waiting.shift()?.();
  }

  get #isFull(): boolean {
    return this.#outstanding.size >= maxOutstanding || this.#bytes >= maxOutstandingBytes;
  }

  async #turn(): Promise<void> {
    if (this.#waiting.length >= maxWaiting) {
      throw new LevadaError('BrokerFull', { detail: `${maxWaiting} messages wait for its confirmations` });
    }
    while (this.#isFull) await new Promise<void>((resolve) => void this.#waiting.push(resolve));
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
    const stepMs = 1_000;
    this.#watch = setInterval(() => {
      const waits = this.#outstanding.size > 0 && this.#confirmed === seen && this.#link.blocked === undefined;
      seen = this.#confirmed;
      silentMs = waits ? silentMs + stepMs : 0;
      if (silentMs >= confirmTimeoutMs) this.#link.reset(`no confirmation within ${confirmTimeoutMs / 1_000} s`);
    }, stepMs).unref();
  }

  /** It comes before the confirmation of the same message. */
  #returned({ fields, properties }: AmqpMessage): void {
    for (const pending of this.#outstanding) {
      const { exchange, routingKey, options, mandatory } = pending.outgoing;
      const same = exchange === fields.exchange && routingKey === fields.routingKey;
      if (mandatory && same && !pending.returned && options.messageId === properties.messageId) {
        pending.returned = true;
        return;
      }
    }
  }

  #lost(error: Error): void {
    this.#open.resolve();
    this.#open = Promise.withResolvers<void>();
    clearInterval(this.#watch);
    const detail = `the channel has ended before it had confirmed: ${messageOf(error)}`;
    for (const pending of [...this.#outstanding]) {
      this.#settle(pending, new LevadaError('BrokerUnavailable', { detail }, { cause: error }));
    }
  }

  #assertNotBlocked(): void {
    const { blocked } = this.#link;
    if (blocked !== undefined) throw new LevadaError('BrokerFull', { detail: `it accepts no messages: ${blocked}` });
  }
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
