import { maxMessageBytes, type Topology } from '../../../api/contract/pipeline.ts';
import { LevadaError } from '../../../api/errors.ts';
import { type Clock, systemClock } from '../../clock.ts';
import type { Message } from '../../events/message.ts';
import type { Consumer, DeadLetterFate, Delivery, Depth, QueueName, Settlement, Transport } from '../transport.ts';
import { Budget, bytesOf } from './budget.ts';
import { Delays } from './delays.ts';
import { Exchange } from './exchange.ts';
import type { Copy, DeadLetter, MemoryQueue, Taker } from './queue.ts';

export interface MemoryTransportOptions {
  readonly clock?: Clock;
  /** Bytes that queues hold at most, a copy in each queue counted. Default 256 MiB. */
  readonly maxBytes?: number;
}

/** Deliveries in one turn of the event loop, and those of one queue before the next queue has its turn. */
const perTurn = 256;
const perQueue = 32;

/** Copies of messages by queue, with what is needed to put them there. */
interface Routed {
  readonly copies: readonly { readonly queue: MemoryQueue; readonly message: Message; readonly bytes: number }[];
  readonly byQueue: ReadonlyMap<MemoryQueue, number>;
  readonly bytes: number;
}

/** One consumer, and what it has in hand. */
interface Hand extends Taker {
  inHand: number;
}

interface Settler {
  isClosed(): boolean;
  /** @throws LevadaError BrokerFull, BrokerUnavailable, MessageTooLarge: nothing has changed */
  settle(delivery: MemoryDelivery, settlement: Settlement): void;
}

/** A class, since there is one for each message. */
class MemoryDelivery implements Delivery {
  readonly queue: MemoryQueue;
  readonly hand: Hand;
  readonly copy: Copy;
  readonly #settler: Settler;
  #settled = false;

  constructor(queue: MemoryQueue, hand: Hand, copy: Copy, settler: Settler) {
    this.queue = queue;
    this.hand = hand;
    this.copy = copy;
    this.#settler = settler;
  }

  get message(): Message {
    return this.copy.message;
  }

  get redelivered(): boolean {
    return this.copy.redelivered;
  }

  get held(): boolean {
    return !this.#settled && !this.#settler.isClosed();
  }

  readonly settle = async (settlement: Settlement): Promise<void> => {
    if (this.#settled)
      throw new Error(`a delivery of ${this.message.id} to ${this.queue.name.queue} was settled twice`);
    this.#settler.settle(this, settlement);
    this.#settled = true;
  };
}

/**
 * A broker in this process' memory: everything ends with it. Messages are values that nobody changes, their data
 * included, so that queues share them instead of copying.
 */
export class MemoryTransport implements Transport {
  readonly #exchange = new Exchange();
  readonly #budget: Budget;
  readonly #delays: Delays<{ queue: MemoryQueue; message: Message; bytes: number }>;
  /** Queues with something to deliver, and someone to deliver it to. */
  readonly #active = new Set<MemoryQueue>();
  #pumping = false;
  #closed = false;
  readonly #settler: Settler = {
    isClosed: () => this.#closed,
    settle: (delivery, settlement) => {
      this.#assertOpen();
      this.#end(delivery, settlement);
    },
  };

  constructor({ clock = systemClock, maxBytes = 256 * 1024 * 1024 }: MemoryTransportOptions = {}) {
    this.#budget = new Budget(maxBytes);
    this.#delays = new Delays(clock, ({ queue, message, bytes }) => {
      queue.delayed--;
      queue.append(message, bytes);
      this.#wake(queue);
    });
  }

  async apply(topology: Topology): Promise<void> {
    this.#assertOpen();
    this.#exchange.apply(topology);
  }

  async publish(pipeline: string, messages: readonly Message[], key?: string): Promise<void> {
    this.#assertOpen();
    if (key !== undefined && this.#exchange.route(pipeline, key).size === 0) {
      throw new LevadaError('BrokerUnavailable', { detail: `nothing of ${pipeline} is bound to ${key} yet` });
    }
    const routed = this.#route(pipeline, messages, key);
    this.#budget.checkPublish(routed.bytes);
    this.#enqueue(routed);
  }

  /** A queue that goes, because it is not in the topology any more and holds nothing, takes its consumers with it. */
  async consume(name: QueueName, limit: number, deliver: (delivery: Delivery) => void): Promise<Consumer> {
    this.#assertOpen();
    assertLimit(limit);
    const queue = this.#exchange.find(name);
    if (!queue) {
      throw new LevadaError('BrokerUnavailable', { detail: `there is no queue ${name.queue} of ${name.pipeline}` });
    }
    let allowed = limit;
    const hand: Hand = {
      inHand: 0,
      get free() {
        return hand.inHand < allowed;
      },
      take: (copy) => {
        hand.inHand++;
        deliver(new MemoryDelivery(queue, hand, copy, this.#settler));
      },
    };
    queue.addTaker(hand);
    this.#wake(queue);
    return {
      limit: (count) => {
        assertLimit(count);
        allowed = count;
        this.#wake(queue);
      },
      close: async () => queue.removeTaker(hand),
    };
  }

  async depths(pipeline: string): Promise<Readonly<Record<string, Depth>>> {
    this.#assertOpen();
    return Object.fromEntries(this.#exchange.ofPipeline(pipeline).map((queue) => [queue.name.queue, queue.depth]));
  }

  /** A visit that comes to a letter which another one is looking at waits for what becomes of it. */
  async visitDead(
    name: QueueName,
    visit: (message: Message) => DeadLetterFate | Promise<DeadLetterFate>,
  ): Promise<void> {
    this.#assertOpen();
    const queue = this.#exchange.find(name);
    if (!queue) return;
    const last = queue.lastPlace;
    let visited = 0;
    for (const letter of queue.dead.values()) {
      if (letter.place > last) break; // it has died since
      if (++visited % perTurn === 0) await new Promise(setImmediate);
      while (letter.visit !== undefined) await letter.visit;
      if (queue.dead.has(letter.place) && (await this.#visit(queue, letter, visit)) === 'stop') break;
    }
    this.#exchange.removeIfOver(queue);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#delays.close();
  }

  async #visit(
    queue: MemoryQueue,
    letter: DeadLetter,
    visit: (message: Message) => DeadLetterFate | Promise<DeadLetterFate>,
  ): Promise<DeadLetterFate> {
    this.#assertOpen();
    const { promise, resolve } = Promise.withResolvers<void>();
    letter.visit = promise;
    try {
      const fate = await visit(letter.message);
      this.#assertOpen();
      if (fate === 'keep' || fate === 'stop') return fate;
      const target = fate === 'drop' ? undefined : this.#replayTarget(queue, fate.to);
      queue.dead.delete(letter.place);
      this.#budget.held -= letter.bytes;
      if (fate !== 'drop' && target) this.#put(target, fate.replay, bytesOf(fate.replay));
      return fate;
    } finally {
      delete letter.visit;
      resolve();
    }
  }

  /** @throws LevadaError BrokerUnavailable */
  #replayTarget(queue: MemoryQueue, to: string | undefined): MemoryQueue {
    const { pipeline } = queue.name;
    const target = to === undefined ? queue : this.#exchange.find({ pipeline, queue: to });
    if (target) return target;
    throw new LevadaError('BrokerUnavailable', { detail: `there is no queue ${to ?? ''} of ${pipeline}` });
  }

  #end({ queue, hand, copy }: MemoryDelivery, settlement: Settlement): void {
    this.#settle(queue, copy, settlement);
    hand.inHand--;
    queue.unsettled--;
    this.#wake(queue);
    this.#exchange.removeIfOver(queue);
  }

  /** @throws LevadaError BrokerFull, MessageTooLarge: nothing has changed */
  #settle(queue: MemoryQueue, copy: Copy, settlement: Settlement): void {
    switch (settlement.kind) {
      case 'done': {
        const routed = this.#route(queue.name.pipeline, settlement.emits);
        this.#budget.checkEmits(routed.byQueue, copy.bytes, () => this.#exchange.count);
        this.#letGo(queue, copy);
        this.#enqueue(routed);
        return;
      }
      case 'retry': {
        const { message, delayMs } = settlement;
        if (!(delayMs >= 0)) throw new RangeError(`delayMs: found ${delayMs}; allowed: 0 or more`);
        this.#letGo(queue, copy);
        const bytes = bytesOf(message);
        if (delayMs === 0) this.#put(queue, message, bytes);
        else this.#delay(queue, message, bytes, delayMs);
        return;
      }
      case 'dead': {
        this.#letGo(queue, copy);
        const bytes = bytesOf(settlement.message);
        this.#budget.held += bytes;
        queue.bury(settlement.message, bytes);
        return;
      }
      case 'release':
        queue.giveBack(copy);
    }
  }

  /** @throws LevadaError MessageTooLarge */
  #route(pipeline: string, messages: readonly Message[], key?: string): Routed {
    const copies: { queue: MemoryQueue; message: Message; bytes: number }[] = [];
    const byQueue = new Map<MemoryQueue, number>();
    let sum = 0;
    for (const message of messages) {
      const found = message.data.byteLength;
      if (found > maxMessageBytes) throw new LevadaError('MessageTooLarge', { found, limit: maxMessageBytes });
      const bytes = bytesOf(message);
      for (const queue of this.#exchange.route(pipeline, key ?? message.type)) {
        copies.push({ queue, message, bytes });
        byQueue.set(queue, (byQueue.get(queue) ?? 0) + bytes);
        sum += bytes;
      }
    }
    return { copies, byQueue, bytes: sum };
  }

  #enqueue({ copies }: Routed): void {
    for (const { queue, message, bytes } of copies) this.#put(queue, message, bytes);
  }

  #put(queue: MemoryQueue, message: Message, bytes: number): void {
    this.#count(queue, bytes);
    queue.append(message, bytes);
    this.#wake(queue);
  }

  #delay(queue: MemoryQueue, message: Message, bytes: number, delayMs: number): void {
    this.#count(queue, bytes);
    queue.delayed++;
    this.#delays.add(delayMs, { queue, message, bytes });
  }

  #letGo(queue: MemoryQueue, { bytes }: Copy): void {
    this.#count(queue, -bytes);
  }

  #count(queue: MemoryQueue, bytes: number): void {
    this.#budget.held += bytes;
    queue.liveBytes += bytes;
  }

  /** Deliveries are made in a later turn, never inside the call that makes them possible. */
  #wake(queue: MemoryQueue): void {
    if (this.#closed || !queue.canHandOut) return;
    this.#active.add(queue);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#pumping || this.#active.size === 0) return;
    this.#pumping = true;
    setImmediate(() => this.#pump());
  }

  /** Queues take turns, and the event loop has its turn between two rounds. */
  #pump(): void {
    let left = perTurn;
    try {
      // Walking a Set goes on to what is added meanwhile: a queue that has more comes again, after the others.
      for (const queue of this.#active) {
        this.#active.delete(queue);
        left -= this.#deliver(queue, Math.min(left, perQueue));
        if (left === 0) break;
      }
    } finally {
      this.#pumping = false;
      this.#schedule();
    }
  }

  /** @returns how many */
  #deliver(queue: MemoryQueue, most: number): number {
    let count = 0;
    try {
      for (; count < most && !this.#closed && queue.canHandOut; count++) queue.handOut();
    } finally {
      if (!this.#closed && queue.canHandOut) this.#active.add(queue);
    }
    return count;
  }

  #assertOpen(): void {
    if (this.#closed) throw new LevadaError('BrokerUnavailable', { detail: 'it is closed' });
  }
}

function assertLimit(limit: number): void {
  if (limit === Number.POSITIVE_INFINITY || (Number.isInteger(limit) && limit >= 0)) return;
  throw new RangeError(`limit: found ${limit}; allowed: a whole number, 0 or more`);
}
