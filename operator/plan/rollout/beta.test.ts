import { expect, it } from 'vitest';
import { logGamma, logLowerTail, logUpperTail } from './beta.ts';
import values from './testdata/beta-values.json' with { type: 'json' };

/** Eight digits where the value has any; near 0, as many decimals. */
function expectClose(found: number, wanted: number): void {
  expect(Math.abs(found - wanted) / Math.max(1, Math.abs(wanted))).toBeLessThan(1e-8);
}

it.each(values.logGamma as [number, number][])('ln Γ(%d) as SciPy has it', (x, wanted) => {
  expectClose(logGamma(x), wanted);
});

it.each(values.tails as [number, number, number, number, number][])(
  'tails of Beta(%d, %d) at %d',
  (a, b, x, ...logs) => {
    const [lower, upper] = logs;
    // Where a tail is nearly everything, its logarithm is the other tail, negative.
    expectClose(logLowerTail(a, b, x), lower);
    expectClose(logUpperTail(a, b, x), upper);
    const smaller = Math.min(lower, upper);
    expect(Math.abs(Math.min(logLowerTail(a, b, x), logUpperTail(a, b, x)) - smaller)).toBeLessThan(1e-7);
  },
);

it('both tails together are everything', () => {
  for (const a of [1, 7, 900, 5e7])
    for (const b of [1, 60, 4e4, 5e7])
      for (const x of [1e-6, 0.01, 0.3, 0.5, 0.999]) {
        const sum = Math.exp(logLowerTail(a, b, x)) + Math.exp(logUpperTail(a, b, x));
        expect(sum).toBeCloseTo(1, 6);
      }
});
