import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { UnderWay } from './under-way.ts';

type Step = { add: true } | { take: number } | { takeAll: true };

const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.constant<Step>({ add: true }) },
    { weight: 5, arbitrary: fc.record({ take: fc.nat({ max: 300 }) }) },
    { weight: 1, arbitrary: fc.constant<Step>({ takeAll: true }) },
  ),
  { maxLength: 400 },
);

describe('what is under way', () => {
  test('is what was added and not taken, the oldest first', () => {
    fc.assert(
      fc.property(steps, (all) => {
        const under = new UnderWay<{ value: number }>();
        const model = new Map<number, { value: number }>();
        let added = 0;
        for (const step of all) {
          if ('add' in step) {
            const value = { value: added };
            expect(under.add(value)).toBe(added);
            model.set(added++, value);
          } else if ('take' in step) {
            expect(under.take(step.take)).toBe(model.get(step.take));
            model.delete(step.take);
          } else {
            for (const [number] of under) expect(under.take(number)).toBe(model.get(number));
            model.clear();
          }
          expect(under.size).toBe(model.size);
          expect([...under]).toEqual([...model]);
        }
      }),
      { numRuns: 300 },
    );
  });

  test.each([-1, 1, Number.NaN, 2 ** 32, Number.POSITIVE_INFINITY])('has nothing by the number %d', (number) => {
    const under = new UnderWay<object>();
    under.add({});
    expect(under.take(number)).toBeUndefined();
    expect(under.size).toBe(1);
  });

  test('one that stays for long costs a place for each that has come since', () => {
    const under = new UnderWay<object>();
    const slow = {};
    under.add(slow);
    for (let i = 1; i < 10_000; i++) expect(under.take(under.add({}))).toBeDefined();
    expect([...under]).toEqual([[0, slow]]);
    expect(under.take(0)).toBe(slow);
    expect(under.size).toBe(0);
  });

  // A Map with the same use keeps nearly all of it.
  test('what is over is let go by a collection of the young generation', () => {
    setFlagsFromString('--expose-gc');
    const gc: (options?: { type: 'minor' }) => void = runInNewContext('gc');
    const under = new UnderWay<object>();
    const inFlight = 64;
    const count = 5_000;
    const numbers = 100;
    const one = () => under.add({ held: new Array(numbers).fill(1.5) });
    for (let i = 0; i < inFlight; i++) one();
    gc(); // all that lives is old from here on
    const before = getHeapStatistics().used_heap_size;
    for (let i = 0; i < count; i++) under.take(one() - inFlight);
    gc({ type: 'minor' });
    gc({ type: 'minor' });
    const kept = getHeapStatistics().used_heap_size - before;
    expect(kept).toBeLessThan(0.3 * count * numbers * 8);
  });
});
