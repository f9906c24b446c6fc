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
 * in hand is over, since the broker sends nothing more before it is told. All up to the contiguous tag together, and
 * what is beyond a message that takes longer one by one, so that nobody waits for it.
 */
export class Acks {
  readonly #channel: AckChannel;
  readonly #half: number;
  readonly #schedule: (run: () => void) => void;
  /** Every delivery up to this tag has been settled. */
  #high = 0;
  /** The last of them that the broker does not know of; 0: none. */
  #untold = 0;
  /** Settled, above it. `true`: the broker knows. */
  readonly #ahead = new Map<number, boolean>();
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
    const [last, ahead] = [this.#untold, this.#untoldAhead];
    this.#since = 0;
    this.#untold = 0;
    this.#untoldAhead = [];
    if (this.#closed) return;
    try {
      // A tag that the broker knows already would be an error at the end of a group.
      if (last > 0) this.#channel.ack(tagged(last), true);
      for (const tag of ahead) {
        if (tag <= this.#high) continue;
        this.#channel.ack(tagged(tag), false);
        this.#ahead.set(tag, true);
      }
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
    if (tag !== this.#high + 1) {
      this.#ahead.set(tag, told);
      if (!told) this.#untoldAhead.push(tag);
      return;
    }
    this.#high = tag;
    if (!told) this.#untold = tag;
    if (this.#ahead.size === 0) return;
    for (let next = this.#ahead.get(tag + 1); next !== undefined; next = this.#ahead.get(this.#high + 1)) {
      this.#high++;
      this.#ahead.delete(this.#high);
      if (!next) this.#untold = this.#high;
    }
  }

  /** The channel has gone: what was not told is delivered again. */
  close(): void {
    this.#closed = true;
  }
}
