import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Stratified } from './stratified.ts';

/** Numbers in [0, 1): the given ones, again and again. Extremes are where the rule could break. */
const randoms = fc
  .array(fc.oneof(fc.constantFrom(0, 1 - 2 ** -53), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })), {
    minLength: 1,
    maxLength: 50,
  })
  .map((numbers) => {
    let i = 0;
    return () => numbers[i++ % numbers.length] as number;
  });

describe('a share of requests', () => {
  test('is never off by more than one, after any number of requests', () => {
    const share = fc.oneof(
      fc.constantFrom(0, 0.01, 0.05, 1 / 3, 0.5, 0.95, 0.99, 1),
      fc.double({ min: 0, max: 1, noNaN: true }),
    );
    fc.assert(
      fc.property(share, randoms, (share, random) => {
        const stratified = new Stratified(share, random);
        let taken = 0;
        for (let n = 1; n <= 1_000; n++) {
          if (stratified.take()) taken++;
          if (Math.abs(taken - n * share) > 1 + 1e-9) return false;
        }
        return true;
      }),
      { numRuns: 500 },
    );
  });

  test('0 takes none, 1 takes all', () => {
    const [none, all] = [new Stratified(0, Math.random), new Stratified(1, Math.random)];
    for (let i = 0; i < 100; i++) expect([none.take(), all.take()]).toEqual([false, true]);
  });

  test('each place in a stretch is as likely as the others', () => {
    const places = Array(20).fill(0) as number[];
    for (let run = 0; run < 500; run++) {
      const stratified = new Stratified(0.05, Math.random);
      for (let i = 0; i < 200; i++) if (stratified.take()) places[i % 20] = (places[i % 20] as number) + 1;
    }
    // 5,000 in 20 places: 250 each, standard deviation 15.4. Six of them: one false alarm in 10^7 runs.
    for (const place of places) expect(Math.abs(place - 250)).toBeLessThan(6 * 15.4);
  });
});
