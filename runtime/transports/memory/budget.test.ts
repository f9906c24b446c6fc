import { describe, expect, it } from 'vitest';
import { message } from '../conformance/messages.ts';
import { Budget, bytesOf } from './budget.ts';
import { Exchange } from './exchange.ts';
import { MemoryQueue } from './queue.ts';

/** 300,000 for sources, and 100,000 for the shares of queues. */
const budget = (held: number): Budget => Object.assign(new Budget(400_000), { held });

describe('what is published', () => {
  it.each([
    [0, 300_000, true],
    [0, 300_001, false],
    [299_999, 1, true],
    [299_999, 2, false],
    // It goes nowhere.
    [350_000, 0, true],
  ])('%i bytes are held, %i come: %s', (held, added, fits) => {
    const check = () => budget(held).checkPublish(added);
    if (fits) check();
    else
      expect(check).toThrow(
        expect.objectContaining({
          code: 'BrokerFull',
          params: expect.objectContaining({ found: held, limit: 300_000 }),
        }),
      );
  });
});

describe('what a step emits', () => {
  it.each([
    { title: 'more than a share, while there is room', held: 200_000, live: 200_000, added: 100_000, fits: true },
    { title: 'up to the share, when there is none', held: 300_000, live: 49_000, added: 1_000, fits: true },
    { title: 'beyond it', held: 300_000, live: 49_000, added: 1_001, fits: false },
    { title: 'a share among four queues', held: 300_000, live: 24_000, added: 1_001, queues: 4, fits: false },
    { title: 'more than a share for an empty queue', held: 300_000, live: 0, added: 1_000_000, fits: true },
    { title: 'as much as is freed', held: 300_000, live: 200_000, added: 10_000, freed: 10_000, fits: true },
    { title: 'more than is freed', held: 300_000, live: 200_000, added: 10_001, freed: 10_000, fits: false },
  ])('$title: $fits', ({ held, live, added, freed = 0, queues = 2, fits }) => {
    const queue = new MemoryQueue({ pipeline: 'test/orders', queue: 'a' });
    queue.liveBytes = live;
    const empty = new MemoryQueue({ pipeline: 'test/orders', queue: 'b' });
    const check = () =>
      budget(held).checkEmits(
        new Map([
          [empty, 0],
          [queue, added],
        ]),
        freed,
        () => queues,
      );
    if (fits) check();
    else
      expect(check).toThrow(
        expect.objectContaining({
          code: 'BrokerFull',
          params: expect.objectContaining({ found: held, limit: 400_000 }),
        }),
      );
  });
});

it('counts data and text of a message, and something for being one', () => {
  const small = bytesOf(message('1'));
  expect(small).toBeGreaterThan(0);
  expect(bytesOf(message('1', { data: new Uint8Array(1_000) })) - small).toBeGreaterThan(900);
  expect(bytesOf(message('1', { extensions: { note: 'x'.repeat(1_000) } })) - small).toBe(1_004);
  expect(bytesOf(message('1', { subject: 'x'.repeat(1_000) })) - small).toBe(1_000);
});

it('knows how many queues there are', () => {
  const exchange = new Exchange();
  const queue = (name: string) => ({ name, bindings: [] });
  exchange.apply({ pipeline: 'test/a', queues: [queue('1'), queue('2')] });
  exchange.apply({ pipeline: 'test/b', queues: [queue('1')] });
  expect(exchange.count).toBe(3);
  exchange.apply({ pipeline: 'test/a', queues: [queue('2'), queue('3')] });
  expect(exchange.count).toBe(3);
  exchange.apply({ pipeline: 'test/a', queues: [] });
  expect(exchange.count).toBe(1);
});
