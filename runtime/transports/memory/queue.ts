import { Heap } from '../../delivery/heap.ts';
import type { Message } from '../../events/message.ts';
import type { Depth, QueueName } from '../transport.ts';
import { Fifo } from './fifo.ts';

/** A copy of a message, in one queue. */
export interface Copy {
  readonly message: Message;
  readonly bytes: number;
  /** Place in the queue. */
  readonly place: number;
  readonly redelivered: boolean;
}

export interface DeadLetter {
  readonly message: Message;
  readonly bytes: number;
  readonly place: number;
  /** While somebody looks at it: until it is decided what becomes of it. */
  visit?: Promise<void>;
}

/** Whoever takes copies out of a queue. */
export interface Taker {
  /** Whether it may have one more. */
  readonly free: boolean;
  take(copy: Copy): void;
}

/** One queue: its copies by where they are, and who takes them. Counts; knows no time and no budget. */
export class MemoryQueue {
  readonly name: QueueName;
  /** Whether the topology has it. */
  listed = true;
  delayed = 0;
  unsettled = 0;
  /** By place, the oldest first. */
  readonly dead = new Map<number, DeadLetter>();
  /** Without dead letters. */
  liveBytes = 0;
  readonly #waiting = new Fifo<Copy>();
  /** Given back: they have their old places, before everything that waits. */
  readonly #returned = new Heap<Copy>((a, b) => a.place < b.place);
  #takers: Taker[] = [];
  #turn = 0;
  #places = 0;

  constructor(name: QueueName) {
    this.name = name;
  }

  get depth(): Depth {
    const ready = this.#waiting.size + this.#returned.size;
    return { ready, delayed: this.delayed, unsettled: this.unsettled, dead: this.dead.size };
  }

  get empty(): boolean {
    const { ready, delayed, unsettled, dead } = this.depth;
    return ready + delayed + unsettled + dead === 0;
  }

  /** The last place that was given to a message. */
  get lastPlace(): number {
    return this.#places;
  }

  /** To the end of the queue. */
  append(message: Message, bytes: number): void {
    this.#waiting.push({ message, bytes, place: ++this.#places, redelivered: false });
  }

  /** Back to its place. */
  giveBack(copy: Copy): void {
    this.#returned.push({ ...copy, redelivered: true });
  }

  bury(message: Message, bytes: number): void {
    const place = ++this.#places;
    this.dead.set(place, { message, bytes, place });
  }

  addTaker(taker: Taker): void {
    this.#takers.push(taker);
  }

  removeTaker(taker: Taker): void {
    this.#takers = this.#takers.filter((other) => other !== taker);
  }

  /** Whether {@link handOut} would do something. */
  get canHandOut(): boolean {
    return this.#waiting.size + this.#returned.size > 0 && this.#takers.some(({ free }) => free);
  }

  /** Gives the oldest copy to the taker whose turn it is. */
  handOut(): void {
    const takers = this.#takers;
    for (let i = 0; i < takers.length; i++) {
      const at = (this.#turn + i) % takers.length;
      const taker = takers[at] as Taker;
      if (!taker.free) continue;
      const copy = this.#returned.pop() ?? this.#waiting.shift();
      if (!copy) return;
      this.#turn = at + 1;
      this.unsettled++;
      taker.take(copy);
      return;
    }
  }
}
