import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { VersionWeight } from '../../../api/contract/routing-table.ts';
import { Shares } from './shares.ts';

/** A key's side does not depend on it. */
const never = () => 0.5;
const two = (weight: number): VersionWeight[] => [
  { version: 'v1', weight: 100 - weight },
  { version: 'v2', weight },
];
const keys = (count: number) => Array.from({ length: count }, (_, i) => `user-${i}`);
const weights = fc.double({ min: 0, max: 100, noNaN: true });
/** Two to six versions. */
const shares = fc
  .array(fc.integer({ min: 0, max: 100 }), { minLength: 2, maxLength: 6 })
  .filter((list) => list.some((weight) => weight > 0))
  .map((list) => list.map((weight, i) => ({ version: `v${i}`, weight })));

describe('by key', () => {
  test('a key that is in at some weight is in at every greater one', () => {
    fc.assert(
      fc.property(weights, weights, fc.string(), fc.string({ minLength: 1 }), (a, b, salt, key) => {
        const [less, more] = [Math.min(a, b), Math.max(a, b)];
        const before = new Shares(two(less), salt, never).of(key);
        const after = new Shares(two(more), salt, never).of(key);
        return before === 'v1' || after === 'v2';
      }),
      { numRuns: 2_000 },
    );
  });

  test('of any number of versions: one whose weight grows loses no key, and keys move to it only', () => {
    fc.assert(
      fc.property(shares, fc.nat(), fc.integer({ min: 1, max: 100 }), fc.string(), (list, which, more, salt) => {
        const grown = list.map((share, i) =>
          i === which % list.length ? { ...share, weight: share.weight + more } : share,
        );
        const [before, after] = [new Shares(list, salt, never), new Shares(grown, salt, never)];
        return keys(50).every((key) => {
          const [from, to] = [before.of(key), after.of(key)];
          return from === to || to === `v${which % list.length}`;
        });
      }),
      { numRuns: 500 },
    );
  });

  test.each([1, 5, 25, 50, 99])('%d %%: the share of keys is within 3 σ, for 20 salts', (weight) => {
    const p = weight / 100;
    const count = 10_000;
    // The keys and salts are fixed, so this holds or does not; 3 σ each would fail at random once in 18 runs of 20.
    const off = Array.from({ length: 20 }, (_, salt) => {
      const both = new Shares(two(weight), `v1/v2 ${salt}`, never);
      const chosen = keys(count).filter((key) => both.of(key) === 'v2').length;
      return Math.abs(chosen - count * p) / Math.sqrt(count * p * (1 - p));
    });
    expect(off.filter((sigmas) => sigmas > 3)).toEqual([]);
  });

  test('three versions get their shares', () => {
    const list = ['v1', 'v2', 'v3'].map((version, i) => ({ version, weight: [60, 30, 10][i] as number }));
    const three = new Shares(list, 'salt', never);
    for (const { version, weight } of list) {
      const p = weight / 100;
      const chosen = keys(10_000).filter((key) => three.of(key) === version).length;
      expect(Math.abs(chosen - 10_000 * p)).toBeLessThan(3 * Math.sqrt(10_000 * p * (1 - p)));
    }
  });

  test('another salt draws anew: who is in is independent of who was', () => {
    const [one, other] = ['v1/v2', 'v2/v3'].map((salt) => new Shares(two(50), salt, never));
    const both = keys(10_000).filter((key) => one?.of(key) === 'v2' && other?.of(key) === 'v2').length;
    expect(Math.abs(both - 2_500)).toBeLessThan(3 * Math.sqrt(10_000 * 0.25 * 0.75));
  });

  test('these keys are on these sides for ever: a release that moves them breaks rollouts that are under way', () => {
    const half = new Shares(two(50), 'v1/v2', never);
    expect(keys(8).map((key) => half.of(key))).toEqual(['v1', 'v2', 'v1', 'v1', 'v2', 'v2', 'v2', 'v1']);
  });
});

describe('without a key', () => {
  test('two versions: neither is off by more than one request, after any number', () => {
    fc.assert(
      fc.property(weights, fc.noBias(fc.nat()), (weight, seed) => {
        const random = fc.sample(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { seed, numRuns: 97 });
        let i = 0;
        const both = new Shares(two(weight), '', () => random[i++ % random.length] as number);
        let chosen = 0;
        for (let n = 1; n <= 1_000; n++) {
          if (both.next() === 'v2') chosen++;
          if (Math.abs(chosen - (n * weight) / 100) > 1 + 1e-9) return false;
        }
        return true;
      }),
      { numRuns: 300 },
    );
  });

  test('several pods: however 1,000 requests fall to them, all together are off by no more than one a pod', () => {
    fc.assert(
      fc.property(weights, fc.array(fc.nat(9), { minLength: 1, maxLength: 1_000 }), (weight, turns) => {
        const pods = Array.from({ length: 10 }, () => new Shares(two(weight), '', Math.random));
        const asked = new Set<Shares>();
        let chosen = 0;
        for (let n = 0; n < 1_000; n++) {
          const pod = pods[turns[n % turns.length] as number] as Shares;
          asked.add(pod);
          if (pod.next() === 'v2') chosen++;
        }
        return Math.abs(chosen - 10 * weight) <= asked.size + 1e-9;
      }),
      { numRuns: 200 },
    );
  });

  test('m versions: none is off by more than m - 1', () => {
    fc.assert(
      fc.property(shares, (list) => {
        const total = list.reduce((sum, { weight }) => sum + weight, 0);
        const all = new Shares(list, '', Math.random);
        const counts = new Map<string, number>();
        for (let n = 1; n <= 1_000; n++) {
          const version = all.next();
          counts.set(version, (counts.get(version) ?? 0) + 1);
          for (const share of list) {
            const off = (counts.get(share.version) ?? 0) - (n * share.weight) / total;
            if (Math.abs(off) > list.length - 1 + 1e-9) return false;
          }
        }
        return true;
      }),
      { numRuns: 200 },
    );
  });
});
