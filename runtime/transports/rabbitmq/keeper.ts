import type { ChannelModel, ConfirmChannel } from 'amqplib';
import type { LevadaError } from '../../../api/errors.ts';
import { close } from '../../../brokers/rabbitmq/close.ts';
import { channelFailure } from '../../../brokers/rabbitmq/failure.ts';
import type { Link } from '../../../brokers/rabbitmq/link.ts';

export interface Keeping {
  /** What the channel is for, in errors. */
  readonly what: string;
  /** Called with each channel; it is given up when this rejects. */
  opened(channel: ConfirmChannel): Promise<void>;
  /** The channel has gone, and everything that was under way on it. */
  lost(error: LevadaError): void;
}

const firstRetryMs = 50;
const longestRetryMs = 5_000;

/** Keeps one channel open: after its end, or the connection's, there is another one. */
export class ChannelKeeper {
  readonly #link: Link;
  readonly #keeping: Keeping;
  readonly #random: () => number;
  #closed = false;
  #attempts = 0;
  #channel: ConfirmChannel | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #end: () => void;

  constructor(link: Link, keeping: Keeping, random: () => number = Math.random) {
    this.#link = link;
    this.#keeping = keeping;
    this.#random = random;
    this.#end = link.listen({ up: (connection) => void this.#open(connection), down: () => clearTimeout(this.#timer) });
  }

  /** The channel, while there is one. */
  get channel(): ConfirmChannel | undefined {
    return this.#channel;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#end();
    clearTimeout(this.#timer);
    if (this.#channel) await close(this.#channel);
  }

  /** Never rejects. */
  async #open(connection: ChannelModel): Promise<void> {
    let channel: ConfirmChannel | undefined;
    let reason: unknown;
    try {
      channel = await connection.createConfirmChannel();
      const opened = channel;
      // Without a listener an error of the channel would end the connection.
      channel.on('error', (error: unknown) => {
        reason = error;
      });
      channel.on('handler-error', (error: unknown) => {
        reason = error;
        // From here on it takes no acknowledgements, long before the broker has confirmed its end.
        if (this.#channel === opened) this.#lose(connection, reason);
        void close(opened);
      });
      channel.on('close', () => {
        if (this.#channel === opened) this.#lose(connection, reason);
      });
      this.#channel = channel;
      if (this.#closed) return await close(channel);
      await this.#keeping.opened(channel);
      this.#attempts = 0;
    } catch (error) {
      if (channel && this.#channel !== channel) return; // lost while it was being opened, and said
      this.#lose(connection, reason ?? error);
      if (channel) await close(channel);
    }
  }

  #lose(connection: ChannelModel, reason: unknown): void {
    this.#channel = undefined;
    this.#keeping.lost(channelFailure(reason ?? new Error('the channel was closed'), this.#keeping.what));
    if (this.#closed || this.#link.connection !== connection) return;
    const longest = Math.min(longestRetryMs, firstRetryMs * 2 ** this.#attempts++);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => {
        if (this.#link.connection === connection && !this.#closed) void this.#open(connection);
      },
      longest * (0.5 + this.#random() / 2),
    );
  }
}
