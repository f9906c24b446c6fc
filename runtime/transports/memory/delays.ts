import type { Clock } from '../../clock.ts';
import { Heap } from '../../delivery/heap.ts';

interface Delayed<T> {
  readonly due: number;
  readonly order: number;
  readonly value: T;
}

/** The longest time that a timer of Node can have. */
const longestTimer = 2 ** 31 - 1;
/** Values that come due in one turn of the event loop, at most. */
const perTurn = 1000;

/** Holds values until their time, with one timer for all of them. */
export class Delays<T> {
  readonly #clock: Clock;
  readonly #due: (value: T) => void;
  readonly #heap = new Heap<Delayed<T>>((a, b) => a.due < b.due || (a.due === b.due && a.order < b.order));
  #order = 0;
  #timer: { readonly at: number; readonly cancel: () => void } | undefined;

  /** @param due gets each value when its time has come, the earliest first */
  constructor(clock: Clock, due: (value: T) => void) {
    this.#clock = clock;
    this.#due = due;
  }

  add(delayMs: number, value: T): void {
    this.#heap.push({ due: this.#clock.now() + delayMs, order: this.#order++, value });
    this.#arm();
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(): void {
    const first = this.#heap.peek();
    if (!first || (this.#timer && this.#timer.at <= first.due)) return;
    this.#timer?.cancel();
    const wait = Math.min(longestTimer, Math.max(0, first.due - this.#clock.now()));
    this.#timer = { at: first.due, cancel: this.#clock.after(wait, () => this.#fire()) };
  }

  /** May be early: timers are, by up to a millisecond. */
  #fire(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    for (let i = 0; i < perTurn; i++) {
      const first = this.#heap.peek();
      if (!first || first.due > now) break;
      this.#heap.pop();
      this.#due(first.value);
    }
    this.#arm();
  }
}
