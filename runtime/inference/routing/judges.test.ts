import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Judges } from './judges.ts';

const keys = Array.from({ length: 2_000 }, (_, i) => `user-${i}`);
const names = (count: number) => Array.from({ length: count }, (_, i) => `iris-v1-5d9c7b-${i}`);

test('a judge that goes moves its own keys only, and when it comes back it has them again', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.string(), { minLength: 2, maxLength: 12 }),
      fc.nat(),
      fc.string(),
      (all, which, key) => {
        const gone = all[which % all.length];
        const before = new Judges(all).of(key);
        const after = new Judges(all.filter((name) => name !== gone)).of(key);
        expect(after).not.toBe(gone);
        if (before !== gone) expect(after).toBe(before);
        expect(new Judges(all.toReversed()).of(key)).toBe(before);
      },
    ),
    { numRuns: 2_000 },
  );
});

test('each has its part of the keys', () => {
  const judges = new Judges(names(4));
  for (const name of names(4)) {
    const count = keys.filter((key) => judges.of(key) === name).length;
    expect(Math.abs(count - 500)).toBeLessThan(4 * Math.sqrt(2_000 * 0.25 * 0.75));
  }
});
