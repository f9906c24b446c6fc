import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Lease } from './dedup.ts';
import { Heap } from './heap.ts';
import { MemoryDedupStore } from './memory-store.ts';

const fresh = async (store: MemoryDedupStore, key: string, leaseMs: number, now: number): Promise<Lease> => {
  const begun = await store.begin(key, leaseMs, now);
  if (begun.state !== 'fresh') throw new Error(`${key} is ${begun.state}`);
  return begun.lease;
};

describe('heap', () => {
  it('gives the least first, whatever is put in between', () => {
    fc.assert(
      fc.property(fc.array(fc.option(fc.integer(), { nil: undefined })), (steps) => {
        const heap = new Heap<number>((a, b) => a < b);
        const model: number[] = [];
        // `undefined` takes one out.
        for (const step of [...steps, ...steps.map(() => undefined)]) {
          if (step === undefined) {
            model.sort((a, b) => a - b);
            expect(heap.peek()).toBe(model[0]);
            expect(heap.pop()).toBe(model.shift());
          } else {
            heap.push(step);
            model.push(step);
          }
          expect(heap.size).toBe(model.length);
        }
      }),
    );
  });
});

describe('dedup in memory', () => {
  it('leases a key once, until it is done or free', async () => {
    const store = new MemoryDedupStore();
    const lease = await fresh(store, 'a', 100, 0);
    expect(await store.begin('a', 100, 50)).toEqual({ state: 'leased', until: 100 });
    expect(await store.begin('b', 100, 50)).toMatchObject({ state: 'fresh' });
    expect(await store.free(lease, 60)).toBe(true);
    const next = await fresh(store, 'a', 100, 60);
    expect(await store.done(next, 1_000, 70)).toBe(true);
    expect(await store.begin('a', 100, 1_069)).toEqual({ state: 'done' });
    expect(await store.begin('a', 100, 1_070)).toMatchObject({ state: 'fresh' });
  });

  it('lets the next worker begin when a lease has expired, and keeps the late one from its key', async () => {
    const store = new MemoryDedupStore();
    const late = await fresh(store, 'a', 100, 0);
    const owner = await fresh(store, 'a', 100, 100);
    expect(await store.done(late, 1_000, 110)).toBe(false);
    expect(await store.free(late, 110)).toBe(false);
    expect(await store.begin('a', 100, 120)).toEqual({ state: 'leased', until: 200 });
    expect(await store.done(owner, 1_000, 130)).toBe(true);
    expect(await store.free(late, 140)).toBe(false);
    expect(await store.free(owner, 140)).toBe(false);
    expect(await store.begin('a', 100, 150)).toEqual({ state: 'done' });
  });

  it('takes a late done where nobody else has begun', async () => {
    const store = new MemoryDedupStore();
    const late = await fresh(store, 'a', 100, 0);
    expect(await store.done(late, 1_000, 500)).toBe(true);
    expect(await store.begin('a', 100, 600)).toEqual({ state: 'done' });
  });

  it('forgets what has expired, a few keys a call', async () => {
    const store = new MemoryDedupStore();
    for (let i = 0; i < 10_000; i++) await store.done(await fresh(store, `${i}`, 50, i), 100, i);
    expect(store.size).toBeLessThanOrEqual(200);
    // All at once: they go while others come.
    for (let i = 0; i < 1_000; i++) await store.done(await fresh(store, `burst ${i}`, 50, 10_000), 100, 10_000);
    for (let i = 0; i < 300; i++) await fresh(store, `after ${i}`, 50, 20_000);
    expect(store.size).toBeLessThanOrEqual(300);
  });

  it('forgets at the moment that was said, however many expire then', async () => {
    const store = new MemoryDedupStore();
    for (let i = 0; i < 100; i++) await fresh(store, `${i}`, 100, 0);
    for (const i of [50, 99, 49, 0]) expect(await store.begin(`${i}`, 100, 100)).toMatchObject({ state: 'fresh' });
  });

  it('agrees with a store that looks at everything', async () => {
    const key = fc.constantFrom('a', 'b', 'c');
    const ms = fc.integer({ min: 1, max: 50 });
    const step = fc.oneof(
      fc.record({ do: fc.constant('begin' as const), key, ms, passed: ms }),
      fc.record({ do: fc.constantFrom('done' as const, 'free' as const), which: fc.nat(), ms, passed: ms }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 80, size: 'max' }), async (steps) => {
        const store = new MemoryDedupStore();
        const model = new Map<string, { done: boolean; token: number; until: number }>();
        const leases: Lease[] = [];
        let now = 0;
        for (const step of steps) {
          now += step.passed;
          for (const [key, { until }] of model) if (until <= now) model.delete(key);
          if (step.do === 'begin') {
            const known = model.get(step.key);
            const begun = await store.begin(step.key, step.ms, now);
            expect(begun.state).toBe(known ? (known.done ? 'done' : 'leased') : 'fresh');
            if (begun.state !== 'fresh') continue;
            leases.push(begun.lease);
            model.set(step.key, { done: false, token: begun.lease.token, until: now + step.ms });
          } else {
            const lease = leases[step.which % leases.length];
            if (!lease) continue;
            const known = model.get(lease.key);
            const own = known?.token === lease.token;
            if (step.do === 'done') {
              expect(await store.done(lease, step.ms, now)).toBe(own || !known);
              if (own || !known) model.set(lease.key, { done: true, token: lease.token, until: now + step.ms });
            } else {
              expect(await store.free(lease, now)).toBe(own && !known.done);
              if (own && !known.done) model.delete(lease.key);
            }
          }
        }
      }),
    );
  });
});
