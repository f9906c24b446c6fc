/** What is told to the broker of deliveries. */
export interface AckChannel {
  ack(message: { fields: { deliveryTag: number } }, allUpTo?: boolean): void;
  nack(message: { fields: { deliveryTag: number } }, allUpTo?: boolean, requeue?: boolean): void;
}

const tagged = (deliveryTag: number) => ({ fields: { deliveryTag } });

/**
 * Acknowledgements of one channel, a frame for many: once a turn of the event loop, all up to the contiguous tag
 * together, and what is beyond a message that takes longer one by one, so that nobody waits for it.
 */
export class Acks {
  readonly #channel: AckChannel;
  readonly #schedule: (run: () => void) => void;
  /** Every delivery up to this tag has been settled, and the broker has been told. */
  #low = 0;
  /** Settled, above it. `true`: the broker knows. */
  readonly #settled = new Map<number, boolean>();
  #untold: number[] = [];
  #scheduled = false;
  #closed = false;

  constructor(channel: AckChannel, schedule: (run: () => void) => void = setImmediate) {
    this.#channel = channel;
    this.#schedule = schedule;
  }

  /** The delivery is over: the broker may forget the message. */
  ack(tag: number): void {
    this.#settled.set(tag, false);
    this.#untold.push(tag);
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#schedule(() => this.flush());
  }

  /** The message goes back at once. */
  requeue(tag: number): void {
    if (this.#closed) return;
    this.#channel.nack(tagged(tag), false, true);
    this.#settled.set(tag, true);
  }

  /** Tells the broker now. */
  flush(): void {
    this.#scheduled = false;
    const untold = this.#untold;
    this.#untold = [];
    if (this.#closed || untold.length === 0) return;
    let last = 0;
    for (let told = this.#settled.get(this.#low + 1); told !== undefined; told = this.#settled.get(this.#low + 1)) {
      this.#low++;
      this.#settled.delete(this.#low);
      // A tag that the broker knows already would be an error at the end of a group.
      if (!told) last = this.#low;
    }
    if (last > 0) this.#channel.ack(tagged(last), true);
    for (const tag of untold) {
      if (tag <= this.#low) continue;
      this.#channel.ack(tagged(tag), false);
      this.#settled.set(tag, true);
    }
  }

  /** The channel has gone: what was not told is delivered again. */
  close(): void {
    this.#closed = true;
  }
}
