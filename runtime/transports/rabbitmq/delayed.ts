import type { Clock } from '../../clock.ts';

/** Counts what this process has sent to wait: the queues of delays are shared, and the broker cannot say whose is what. */
export class Delayed {
  readonly #clock: Clock;
  readonly #counts = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  count(key: string): number {
    return this.#counts.get(key) ?? 0;
  }

  /** @returns a function that says that it does not wait */
  begin(key: string, ms: number): () => void {
    this.#counts.set(key, this.count(key) + 1);
    let over = false;
    const end = () => {
      if (over) return;
      over = true;
      cancel();
      const left = this.count(key) - 1;
      if (left > 0) this.#counts.set(key, left);
      else this.#counts.delete(key);
    };
    const cancel = this.#clock.after(ms, end);
    return end;
  }
}
