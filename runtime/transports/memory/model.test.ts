import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { QueueSpec } from '../../../api/contract/pipeline.ts';
import { certified, message } from '../conformance/messages.ts';
import type { Consumer, DeadLetterFate, Delivery } from '../transport.ts';
import { FakeClock } from './testing.ts';
import { MemoryTransport } from './transport.ts';

/** One copy, as the model knows it. */
interface Copy {
  readonly id: string;
  readonly attempt: number;
  readonly place: number;
  readonly redelivered: boolean;
}

interface Queue {
  ready: Copy[];
  delayed: { due: number; order: number; id: string; attempt: number }[];
  dead: { id: string; attempt: number }[];
  listed: boolean;
}

interface Hand {
  readonly queue: string;
  readonly consumer: Consumer;
  readonly of: Queue;
  limit: number;
  open: boolean;
  inHand: number;
}

const pipeline = 'test/model';
const topologies: readonly Readonly<Record<string, readonly string[]>>[] = [
  { a: ['x', 'y'], b: ['x'] },
  { a: ['x'] },
  { b: ['x', 'y'] },
  {},
  { a: [], b: ['y'] },
];

/** A broker that is obvious: lists, and everything looked at each time. */
class World {
  readonly clock = new FakeClock();
  readonly transport = new MemoryTransport({ clock: this.clock });
  readonly queues = new Map<string, Queue>();
  readonly hands: Hand[] = [];
  readonly inHand: { delivery: Delivery; hand: Hand; copy: Copy }[] = [];
  /** Copies that were made, and those that have come to their end: `queue id`. */
  readonly made: string[] = [];
  readonly ended: string[] = [];
  #bindings: Readonly<Record<string, readonly string[]>> = {};
  #ids = 0;
  #places = 0;
  #unexpected: string[] = [];

  async apply(bindings: Readonly<Record<string, readonly string[]>>): Promise<void> {
    const queues = Object.entries(bindings).map(
      ([name, types]): QueueSpec => ({ name, bindings: types.map((type) => ({ pipeline, type })) }),
    );
    await this.transport.apply({ pipeline, queues });
    this.#bindings = bindings;
    for (const queue of this.queues.values()) queue.listed = false;
    for (const name of Object.keys(bindings)) {
      const queue = this.queues.get(name) ?? { ready: [], delayed: [], dead: [], listed: true };
      queue.listed = true;
      this.queues.set(name, queue);
    }
    this.#removeEmpty();
  }

  async publish(types: readonly string[]): Promise<void> {
    const messages = types.map((type) => message(`${this.#ids++}`, { type }));
    await this.transport.publish(pipeline, messages);
    for (const { id, type } of messages) this.#copy(id, type);
  }

  async open(name: string, limit: number): Promise<void> {
    const of = this.queues.get(name);
    const opened = this.transport.consume({ pipeline, queue: name }, limit, (delivery) => this.#take(hand, delivery));
    if (!of) return expect(opened).rejects.toMatchObject({ code: 'BrokerUnavailable' });
    const hand: Hand = { queue: name, consumer: await opened, of, limit, open: true, inHand: 0 };
    this.hands.push(hand);
  }

  setLimit(which: number, limit: number): void {
    const hand = this.hands[which % this.hands.length];
    if (!hand) return;
    hand.consumer.limit(limit);
    hand.limit = limit;
  }

  async closeConsumer(which: number): Promise<void> {
    const hand = this.hands[which % this.hands.length];
    if (!hand) return;
    await hand.consumer.close();
    hand.open = false;
  }

  async settle(which: number, kind: 'done' | 'retry' | 'dead' | 'release', delayMs: number): Promise<void> {
    const [one] = this.inHand.splice(which % this.inHand.length, 1);
    if (!one) return;
    const { delivery, hand, copy } = one;
    const { id, attempt } = copy;
    const again = message(id, { delivery: { attempt: attempt + 1 } });
    hand.inHand--;
    if (kind === 'done') {
      const emitted = message(`${this.#ids++}`, { type: 'y' });
      await delivery.settle({ kind, emits: [emitted] });
      this.ended.push(`${hand.queue} ${id}`);
      this.#copy(emitted.id, 'y');
    } else if (kind === 'retry') {
      await delivery.settle({ kind, message: again, delayMs });
      if (delayMs === 0) this.#append(hand.of, id, attempt + 1);
      else hand.of.delayed.push({ due: this.clock.now() + delayMs, order: this.#places++, id, attempt: attempt + 1 });
    } else if (kind === 'dead') {
      await delivery.settle({ kind, message: certified(again) });
      hand.of.dead.push({ id, attempt: attempt + 1 });
    } else {
      await delivery.settle({ kind });
      hand.of.ready.push({ ...copy, redelivered: true });
    }
    await expect(delivery.settle({ kind: 'release' })).rejects.toThrow('settled twice');
    this.#removeEmpty();
  }

  async visit(name: string, fates: readonly ('keep' | 'drop' | 'stop' | 'replay')[]): Promise<void> {
    const queue = this.queues.get(name);
    const wanted: string[] = [];
    const kept: Queue['dead'] = [];
    for (const [i, letter] of (queue?.dead ?? []).entries()) {
      const fate = wanted.length < i ? 'stop' : (fates[i % fates.length] as string);
      if (wanted.length === i) wanted.push(letter.id);
      if (fate === 'drop') this.ended.push(`${name} ${letter.id}`);
      else if (fate === 'replay') this.#append(queue as Queue, letter.id, 1);
      else kept.push(letter);
      if (fate === 'stop') {
        kept.push(...(queue as Queue).dead.slice(i + 1));
        break;
      }
    }
    const seen: string[] = [];
    await this.transport.visitDead({ pipeline, queue: name }, ({ id, delivery }): DeadLetterFate => {
      expect(delivery.dead?.attempt).toBe(delivery.attempt);
      const fate = fates[seen.length % fates.length] as string;
      seen.push(id);
      return fate === 'replay' ? { replay: message(id) } : (fate as 'keep' | 'drop' | 'stop');
    });
    expect(seen).toEqual(wanted);
    if (queue) queue.dead = kept;
    this.#removeEmpty();
  }

  advance(ms: number): void {
    this.clock.advance(ms);
    const due = [...this.queues.values()].flatMap((queue) => queue.delayed.map((one) => ({ queue, one })));
    due.sort((a, b) => a.one.due - b.one.due || a.one.order - b.one.order);
    for (const { queue, one } of due) {
      if (one.due > this.clock.now()) continue;
      queue.delayed.splice(queue.delayed.indexOf(one), 1);
      this.#append(queue, one.id, one.attempt);
    }
  }

  /** After the transport has had its turn: what it shows is what the model has. */
  async check(): Promise<void> {
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(this.#unexpected).toEqual([]);
    for (const { ready } of this.queues.values()) ready.sort((a, b) => a.place - b.place);
    for (const { of, open, inHand, limit } of this.hands) {
      if (open && inHand < limit) expect(of.ready).toEqual([]);
    }
    const depths = [...this.queues].map(([name, { ready, delayed, dead }]) => {
      const unsettled = this.inHand.filter(({ hand }) => hand.queue === name).length;
      return [name, { ready: ready.length, delayed: delayed.length, unsettled, dead: dead.length }];
    });
    expect(await this.transport.depths(pipeline)).toEqual(Object.fromEntries(depths));
  }

  #take(hand: Hand, delivery: Delivery): void {
    const { of } = hand;
    of.ready.sort((a, b) => a.place - b.place);
    const copy = of.ready.shift();
    const { id, delivery: info } = delivery.message;
    const found = JSON.stringify([id, info.attempt, delivery.redelivered]);
    const wanted = copy && JSON.stringify([copy.id, copy.attempt, copy.redelivered]);
    if (found !== wanted) this.#unexpected.push(`${found} instead of ${wanted}`);
    if (!hand.open || hand.inHand >= hand.limit) this.#unexpected.push(`${found} to a consumer that has enough`);
    hand.inHand++;
    if (copy) this.inHand.push({ delivery, hand, copy });
  }

  #copy(id: string, type: string): void {
    for (const [name, types] of Object.entries(this.#bindings)) {
      if (!types.includes(type)) continue;
      this.made.push(`${name} ${id}`);
      this.#append(this.queues.get(name) as Queue, id, 1);
    }
  }

  #append(queue: Queue, id: string, attempt: number): void {
    queue.ready.push({ id, attempt, place: this.#places++, redelivered: false });
  }

  #removeEmpty(): void {
    for (const [name, { listed, ready, delayed, dead }] of this.queues) {
      if (listed || ready.length + delayed.length + dead.length > 0) continue;
      if (this.inHand.some(({ hand }) => hand.queue === name)) continue;
      this.queues.delete(name);
      for (const hand of this.hands) if (hand.queue === name) hand.open = false;
    }
  }
}

const step = fc.oneof(
  { weight: 4, arbitrary: fc.array(fc.constantFrom('x', 'y', 'z'), { maxLength: 5 }).map((types) => ({ types })) },
  {
    weight: 8,
    arbitrary: fc.record({
      settle: fc.constantFrom('done' as const, 'retry' as const, 'dead' as const, 'release' as const),
      which: fc.nat(50),
      delayMs: fc.constantFrom(0, 1_000, 2_000, 5_000),
    }),
  },
  { weight: 2, arbitrary: fc.record({ open: fc.constantFrom('a', 'b', 'c'), limit: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ close: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ consumer: fc.nat(9), limit: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.constantFrom(...topologies).map((apply) => ({ apply })) },
  {
    weight: 1,
    arbitrary: fc.record({
      visit: fc.constantFrom('a', 'b'),
      fates: fc.array(fc.constantFrom('keep' as const, 'drop' as const, 'stop' as const, 'replay' as const), {
        minLength: 1,
        maxLength: 4,
      }),
    }),
  },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 3_000 }).map((passed) => ({ passed })) },
);

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

async function take(world: World, one: Step): Promise<void> {
  if ('types' in one) await world.publish(one.types);
  else if ('settle' in one) await world.settle(one.which, one.settle, one.delayMs);
  else if ('open' in one) await world.open(one.open, one.limit);
  else if ('close' in one) await world.closeConsumer(one.close);
  else if ('consumer' in one) world.setLimit(one.consumer, one.limit);
  else if ('apply' in one) await world.apply(one.apply);
  else if ('visit' in one) await world.visit(one.visit, one.fates);
  else world.advance(one.passed);
}

it('does what an obvious broker does, and every copy comes to one end', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 80, size: 'max' }), async (steps) => {
      const world = new World();
      await world.apply(topologies[0] ?? {});
      for (const one of steps) {
        await take(world, one);
        await world.check();
      }
      // All that is left is handled, and nothing emits any more.
      await world.apply({});
      for (const name of ['a', 'b']) {
        await world.visit(name, ['replay']);
        await world.open(name, 1_000);
      }
      world.advance(10_000);
      await world.check();
      while (world.inHand.length > 0) {
        await world.settle(0, 'done', 0);
        await world.check();
      }
      expect(await world.transport.depths(pipeline)).toEqual({});
      expect(world.ended.sort()).toEqual(world.made.sort());
      await world.transport.close();
      expect(world.clock.timers).toBe(0);
    }),
    { numRuns: 300 },
  );
});
