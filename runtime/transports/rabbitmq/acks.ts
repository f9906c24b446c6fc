import { IllegalOperationError } from 'amqplib';

/** What is told to the broker of deliveries. */
export interface AckChannel {
  ack(message: { fields: { deliveryTag: number } }, allUpTo?: boolean): void;
  nack(message: { fields: { deliveryTag: number } }, allUpTo?: boolean, requeue?: boolean): void;
}

const tagged = (deliveryTag: number) => ({ fields: { deliveryTag } });

/** Milliseconds that an acknowledgement may wait for others: a frame for each costs the broker as much as the message. */
const waitMs = 1;

/**
 * Acknowledgements of one channel, a frame for many: once a millisecond, and as soon as half of what may be
 * in hand is over, since the broker sends nothing more before it is told. All below the lowest that is in hand together, and
 * what is beyond a message that takes longer one by one, so that nobody waits for it.
 */
export class Acks {
  readonly #channel: AckChannel;
  readonly #half: number;
  readonly #schedule: (run: () => void) => void;
  /** Highest tag that has been settled. */
  #top = 0;
  /**
   * Tags below it that have not, ascending: what is in hand, and no more, however many have gone past one that takes longer.
   * What the broker knows of needs not be remembered.
   */
  readonly #inHand = new Set<number>();
  /** Settled when nothing below it was in hand, and the broker does not know of it; 0: none. */
  #untold = 0;
  /** Others that it does not know of. */
  #untoldAhead: number[] = [];
  /** Settled since the broker was told. */
  #since = 0;
  #scheduled = false;
  #closed = false;

  /** @param limit deliveries that may be in hand */
  constructor(
    channel: AckChannel,
    limit: number,
    schedule: (run: () => void) => void = (run) => void setTimeout(run, waitMs),
  ) {
    this.#channel = channel;
    this.#half = Math.max(1, Math.floor(limit / 2));
    this.#schedule = schedule;
  }

  /** The delivery is over: the broker may forget the message. */
  ack(tag: number): void {
    this.#settle(tag, false);
    if (++this.#since >= this.#half) {
      this.flush();
      return;
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#schedule(this.#flush);
  }

  /** The message goes back at once. */
  requeue(tag: number): void {
    if (this.#closed) return;
    try {
      this.#channel.nack(tagged(tag), false, true);
    } catch (error) {
      this.#refused(error);
      return;
    }
    this.#settle(tag, true);
  }

  /** Tells the broker now. */
  flush(): void {
    const ahead = this.#untoldAhead;
    let last = this.#untold;
    this.#since = 0;
    this.#untold = 0;
    if (ahead.length > 0) this.#untoldAhead = [];
    if (this.#closed) return;
    try {
      const [lowest = Number.POSITIVE_INFINITY] = this.#inHand;
      for (const tag of ahead) if (tag < lowest && tag > last) last = tag;
      // A tag that the broker knows already would be an error at the end of a group.
      if (last > 0) this.#channel.ack(tagged(last), true);
      for (const tag of ahead) if (tag > lowest) this.#channel.ack(tagged(tag), false);
    } catch (error) {
      this.#refused(error);
    }
  }

  /** A channel that is on its way out takes nothing more: as if it had gone already. */
  #refused(error: unknown): void {
    if (!(error instanceof IllegalOperationError)) throw error;
    this.close();
  }

  readonly #flush = () => {
    this.#scheduled = false;
    this.flush();
  };

  #settle(tag: number, told: boolean): void {
    if (tag < this.#top) this.#inHand.delete(tag);
    else {
      for (let between = this.#top + 1; between < tag; between++) this.#inHand.add(between);
      this.#top = tag;
    }
    if (told) return;
    if (tag === this.#top && this.#inHand.size === 0) this.#untold = tag;
    else this.#untoldAhead.push(tag);
  }

  /** The channel has gone: what was not told is delivered again. */
  close(): void {
    this.#closed = true;
  }
}
