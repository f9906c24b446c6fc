import { describe, expect, it } from 'vitest';
import { maxMessageBytes } from '../../../api/contract/pipeline.ts';
import { systemClock } from '../../clock.ts';
import { certified, message } from '../conformance/messages.ts';
import { transportConformance } from '../conformance.ts';
import type { Delivery } from '../transport.ts';
import { FakeClock } from './testing.ts';
import { MemoryTransport } from './transport.ts';

const maxBytes = 32 * 1024 * 1024;

transportConformance(
  'memory',
  async () => {
    const transport = new MemoryTransport({ maxBytes });
    return { transport, maxBytes, close: () => transport.close() };
  },
  { durability: 'messages end with the process' },
);

const pipeline = 'test/orders';
const bind = (...types: string[]) => types.map((type) => ({ pipeline, type }));
const turn = () => new Promise((resolve) => setImmediate(resolve));
const many = (count: number, change: Parameters<typeof message>[1] = {}) =>
  Array.from({ length: count }, (_, i) => message(`${i}`, change));

/** With these queues, each bound to the type of its name. */
async function started(names: string[], options: ConstructorParameters<typeof MemoryTransport>[0] = {}) {
  const transport = new MemoryTransport(options);
  await transport.apply({ pipeline, queues: names.map((name) => ({ name, bindings: bind(name) })) });
  return transport;
}

async function inboxOf(transport: MemoryTransport, queue: string, limit: number) {
  const deliveries: Delivery[] = [];
  const consumer = await transport.consume({ pipeline, queue }, limit, (delivery) => void deliveries.push(delivery));
  return { consumer, deliveries };
}

describe('turns of the event loop', () => {
  it('are not held up by a large backlog', async () => {
    const transport = await started(['order']);
    await transport.publish(pipeline, many(10_000));
    const { deliveries } = await inboxOf(transport, 'order', Infinity);
    let before = 0;
    while (deliveries.length < 10_000) {
      await turn();
      expect(deliveries.length - before).toBeLessThanOrEqual(256);
      expect(deliveries.length).toBeGreaterThan(before);
      before = deliveries.length;
    }
    expect(deliveries.map(({ message: { id } }) => Number(id))).toEqual(Array.from({ length: 10_000 }, (_, i) => i));
    await transport.close();
  });

  it('are shared by the queues', async () => {
    const transport = await started(['order', 'late']);
    await transport.publish(pipeline, many(5_000));
    await transport.publish(pipeline, many(3, { type: 'late' }));
    const first = await inboxOf(transport, 'order', Infinity);
    const second = await inboxOf(transport, 'late', Infinity);
    await turn();
    expect(second.deliveries).toHaveLength(3);
    expect(first.deliveries.length).toBeLessThanOrEqual(256);
    await transport.close();
  });

  it('are shared by those who look at many dead letters', async () => {
    const transport = await started(['order']);
    await transport.publish(pipeline, many(1_000));
    const { deliveries } = await inboxOf(transport, 'order', Infinity);
    while (deliveries.length < 1_000) await turn();
    for (const { message, settle } of deliveries) await settle({ kind: 'dead', message: certified(message) });
    let visits = 0;
    const visited = transport.visitDead({ pipeline, queue: 'order' }, () => {
      visits++;
      return 'keep';
    });
    await turn();
    expect(visits).toBeLessThan(1_000);
    await visited;
    expect(visits).toBe(1_000);
    await transport.close();
  });
});

it('gives consumers that are equally fast equally much', async () => {
  const transport = await started(['order']);
  const counts = [0, 0, 0];
  for (const i of counts.keys()) {
    await transport.consume({ pipeline, queue: 'order' }, 5, ({ settle }) => {
      counts[i] = (counts[i] ?? 0) + 1;
      void settle({ kind: 'done', emits: [] });
    });
  }
  await transport.publish(pipeline, many(300));
  while (counts.reduce((sum, count) => sum + count) < 300) await turn();
  expect(counts).toEqual([100, 100, 100]);
  await transport.close();
});

describe('time', () => {
  it('gives each message back when its own delay is over, the earliest first', async () => {
    const clock = new FakeClock();
    const transport = await started(['order'], { clock });
    await transport.publish(pipeline, many(4));
    const { deliveries } = await inboxOf(transport, 'order', 10);
    await turn();
    for (const [i, delayMs] of [5_000, 1_000, 3_600_000, 1_000].entries()) {
      const { message, settle } = deliveries[i] as Delivery;
      await settle({ kind: 'retry', message, delayMs });
    }
    const idsAfter = async (ms: number) => {
      clock.advance(ms);
      await turn();
      return deliveries.slice(4).map(({ message: { id } }) => id);
    };
    expect(await idsAfter(999)).toEqual([]);
    expect(await idsAfter(1)).toEqual(['1', '3']);
    expect(await idsAfter(3_999)).toEqual(['1', '3']);
    expect(await idsAfter(1)).toEqual(['1', '3', '0']);
    expect(await idsAfter(3_594_999)).toHaveLength(3);
    expect(await idsAfter(1)).toEqual(['1', '3', '0', '2']);
    expect(clock.timers).toBe(0);
    await transport.close();
  });

  it('is waited for where a timer is early, or cannot be that long', async () => {
    const clock = new FakeClock();
    const waits: number[] = [];
    const early = {
      now: () => clock.now(),
      after(ms: number, run: () => void) {
        waits.push(ms);
        return clock.after(ms > 10 ? ms - 1 : ms, run);
      },
    };
    const transport = await started(['order'], { clock: early });
    await transport.publish(pipeline, [message('1')]);
    const { deliveries } = await inboxOf(transport, 'order', 10);
    await turn();
    const month = 31 * 86_400_000;
    await deliveries[0]?.settle({ kind: 'retry', message: message('1'), delayMs: month });
    clock.advance(month - 1);
    await turn();
    expect(deliveries).toHaveLength(1);
    clock.advance(1);
    await turn();
    expect(deliveries).toHaveLength(2);
    expect(Math.max(...waits)).toBeLessThan(2 ** 31);
    await transport.close();
  });

  it('is over when it is closed', async () => {
    const clock = new FakeClock();
    const transport = await started(['order'], { clock });
    await transport.publish(pipeline, [message('1')]);
    const { deliveries } = await inboxOf(transport, 'order', 10);
    await turn();
    await deliveries[0]?.settle({ kind: 'retry', message: message('1'), delayMs: 1_000 });
    await transport.publish(pipeline, [message('2')]);
    await transport.close();
    expect(clock.timers).toBe(0);
    clock.advance(10_000);
    await turn();
    expect(deliveries).toHaveLength(1);
  });

  it("is the system's by default", async () => {
    const before = systemClock.now();
    const order: string[] = [];
    const cancel = systemClock.after(1, () => order.push('cancelled'));
    await new Promise<void>((resolve) => {
      systemClock.after(5, resolve);
      cancel();
    });
    expect(order).toEqual([]);
    expect(systemClock.now()).toBeGreaterThan(before);
  });
});

describe('the byte budget', () => {
  const data = new Uint8Array(10_000);

  it('takes a message of the largest size', async () => {
    const transport = await started(['order']);
    await transport.publish(pipeline, [message('1', { data: new Uint8Array(maxMessageBytes) })]);
    expect(await transport.depths(pipeline)).toMatchObject({ order: { ready: 1 } });
    await transport.close();
  });

  it('counts a copy in each queue, and frees what is done, dropped and dead no more', async () => {
    const transport = new MemoryTransport({ maxBytes: 100_000 });
    await transport.apply({
      pipeline,
      queues: ['a', 'b', 'c'].map((name) => ({ name, bindings: bind('order') })),
    });
    for (let round = 0; round < 10; round++) {
      await transport.publish(pipeline, many(2, { data }));
      await expect(transport.publish(pipeline, many(1, { data }))).rejects.toMatchObject({ code: 'BrokerFull' });
      for (const queue of ['a', 'b', 'c']) {
        const { deliveries, consumer } = await inboxOf(transport, queue, 10);
        await turn();
        const [first, second] = deliveries as [Delivery, Delivery];
        await first.settle({ kind: 'done', emits: [] });
        await second.settle({ kind: 'dead', message: certified(second.message) });
        await consumer.close();
        await transport.visitDead({ pipeline, queue }, () => 'drop');
      }
    }
    await transport.close();
  });

  it('lets a chain of steps go on when sources have filled it, though each emits more than it takes', async () => {
    const transport = await started(['one', 'two', 'three'], { maxBytes: 400_000 });
    let taken = 0;
    let full: unknown;
    for (; full === undefined; taken++) {
      full = await transport.publish(pipeline, many(1, { type: 'one', data })).catch((error: unknown) => error);
    }
    expect(full).toMatchObject({ code: 'BrokerFull' });
    taken--;
    // The first step is the fastest: the last one has its turn only when the others can do nothing.
    const hands: { name: string; deliveries: Delivery[] }[] = [];
    for (const name of ['one', 'two', 'three']) hands.push({ name, ...(await inboxOf(transport, name, 1)) });
    const emits: Record<string, Delivery['message'][]> = {
      one: many(2, { type: 'two', data: new Uint8Array(12_000) }),
      two: many(1, { type: 'three', data: new Uint8Array(20_000) }),
      three: [],
    };
    const ended: Record<string, number> = { one: 0, two: 0, three: 0 };
    let refused = 0;
    const step = async () => {
      for (const { name, deliveries } of hands) {
        const delivery = deliveries.at(-1);
        if (!delivery) continue;
        try {
          await delivery.settle({ kind: 'done', emits: emits[name] ?? [] });
        } catch (error) {
          expect(error).toMatchObject({ code: 'BrokerFull' });
          refused++;
          continue;
        }
        deliveries.pop();
        ended[name] = (ended[name] ?? 0) + 1;
        return true;
      }
      return false;
    };
    do await turn();
    while (await step());
    expect(ended).toEqual({ one: taken, two: 2 * taken, three: 2 * taken });
    expect(refused).toBeGreaterThan(0);
    await transport.close();
  });

  it('is not what dead letters and retries stop at', async () => {
    const transport = await started(['order'], { maxBytes: 20_000 });
    await transport.publish(pipeline, many(1, { data }));
    const { deliveries } = await inboxOf(transport, 'order', 1);
    await turn();
    const larger = message('0', { data: new Uint8Array(1_000_000) });
    await deliveries[0]?.settle({ kind: 'retry', message: larger, delayMs: 0 });
    await turn();
    await deliveries[1]?.settle({ kind: 'dead', message: certified(larger) });
    await transport.visitDead({ pipeline, queue: 'order' }, () => ({ replay: larger }));
    await turn();
    expect(deliveries).toHaveLength(3);
    await expect(transport.publish(pipeline, [message('1')])).rejects.toMatchObject({
      code: 'BrokerFull',
      params: { limit: 15_000 },
    });
    await transport.close();
  });
});

describe('mistakes of the caller', () => {
  it.each([-1, 1.5, Number.NaN])('the limit %s', async (limit) => {
    const transport = await started(['order']);
    await expect(inboxOf(transport, 'order', limit)).rejects.toThrow(RangeError);
    const { consumer } = await inboxOf(transport, 'order', 1);
    expect(() => consumer.limit(limit)).toThrow(RangeError);
    await transport.close();
  });

  it.each([-1, Number.NaN])('the delay %s: nothing has happened', async (delayMs) => {
    const transport = await started(['order']);
    await transport.publish(pipeline, [message('1')]);
    const { deliveries } = await inboxOf(transport, 'order', 1);
    await turn();
    await expect(deliveries[0]?.settle({ kind: 'retry', message: message('1'), delayMs })).rejects.toThrow(RangeError);
    expect(await transport.depths(pipeline)).toMatchObject({ order: { unsettled: 1, delayed: 0 } });
    await deliveries[0]?.settle({ kind: 'done', emits: [] });
    await transport.close();
  });
});
