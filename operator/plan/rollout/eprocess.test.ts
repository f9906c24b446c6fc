import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { exceeds, interval, logEvidenceAbove } from './eprocess.ts';
import values from './testdata/beta-values.json' with { type: 'json' };

/** α of one gate of a rollout that has `gates` of them. */
const share = (gates: number): number => 0.01 / gates;

describe('evidence', () => {
  it.each(values.logEvidence as [number, number, number, number][])(
    'H0: p ≤ %d after %d trials with %d failures, as by quadrature of its definition',
    (limit, n, failures, wanted) => {
      expect(logEvidenceAbove(limit, { n, failures })).toBeCloseTo(wanted, 6);
    },
  );

  it('three failures of three requests are enough, six of six hundred are not', () => {
    for (const gates of [1, 2, 3, 4, 7]) {
      expect(exceeds(0.01, { n: 3, failures: 3 }, share(gates))).toBe(true);
      expect(exceeds(0.01, { n: 600, failures: 6 }, share(gates))).toBe(false);
    }
    expect(exceeds(0.01, { n: 1, failures: 1 }, share(1))).toBe(false);
    expect(exceeds(0.01, { n: 0, failures: 0 }, share(1))).toBe(false);
  });

  it('is a fair bet at the limit: the mean over what the next trial may bring is what it is now', () => {
    const limits = fc.double({ min: 0.001, max: 0.9, noNaN: true });
    const counts = fc
      .integer({ min: 0, max: 3_000 })
      .chain((n) => fc.tuple(fc.constant(n), fc.integer({ min: 0, max: n })));
    fc.assert(
      fc.property(limits, counts, (limit, [n, failures]) => {
        const now = logEvidenceAbove(limit, { n, failures });
        const failed = logEvidenceAbove(limit, { n: n + 1, failures: failures + 1 }) - now;
        const went = logEvidenceAbove(limit, { n: n + 1, failures }) - now;
        expect(limit * Math.exp(failed) + (1 - limit) * Math.exp(went)).toBeCloseTo(1, 6);
        expect(failed).toBeGreaterThan(went);
      }),
    );
  });
});

describe('interval', () => {
  it.each(values.interval as [number, number, number, number, number][])(
    'limit %d, %d trials, %d failures: its ends are where the test just does not reject',
    (limit, n, failures, ...ends) => {
      const found = interval(limit, { n, failures }, share(3));
      expect(found.map((end, i) => end / (ends[i] || 1))).toEqual(
        ends.map((end) => expect.closeTo(end === 0 ? 0 : 1, 3)),
      );
    },
  );

  it('holds the observed proportion, and excludes the limit exactly where the test rejects it', () => {
    const cases = fc.record({
      limit: fc.constantFrom(0.001, 0.01, 0.05, 0.2),
      n: fc.integer({ min: 0, max: 20_000 }),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      gates: fc.integer({ min: 1, max: 7 }),
    });
    fc.assert(
      fc.property(cases, ({ limit, n, share: part, gates }) => {
        const failures = Math.floor(n * part ** 4);
        const alpha = share(gates);
        const [low, high] = interval(limit, { n, failures }, alpha);
        expect(low).toBeGreaterThanOrEqual(0);
        expect(high).toBeLessThanOrEqual(1);
        if (n > 0) {
          expect(low).toBeLessThanOrEqual(failures / n);
          expect(high).toBeGreaterThanOrEqual(failures / n);
        }
        if (exceeds(limit, { n, failures }, alpha)) expect(low).toBeGreaterThanOrEqual(limit * 0.9999);
        else expect(low).toBeLessThanOrEqual(limit * 1.0001);
      }),
      { numRuns: 500 },
    );
  });

  it('narrows as trials come', () => {
    const widths = [30, 300, 3_000, 30_000, 300_000].map((n) => {
      const [low, high] = interval(0.01, { n, failures: n / 30 }, share(3));
      return high - low;
    });
    expect(widths).toEqual(widths.toSorted((a, b) => b - a));
  });
});
