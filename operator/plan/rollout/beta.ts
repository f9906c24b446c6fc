/**
 * Logarithms of the gamma and the beta function and of the tails of the beta distribution, for arguments up to about 1e9.
 * In logarithms throughout: tails of 1e-3000 are ordinary here, and their ratios are what counts. beta.test.ts holds
 * them to SciPy's values.
 */

const halfLogTwoPi = 0.5 * Math.log(2 * Math.PI);

/** ln Γ(x), x > 0: Stirling's series, with x lifted to 10 by Γ(x + 1) = x Γ(x). */
export function logGamma(x: number): number {
  let lifted = x;
  let product = 1;
  while (lifted < 10) {
    product *= lifted;
    lifted += 1;
  }
  const r = 1 / lifted;
  const rr = r * r;
  const series = r * (1 / 12 - rr * (1 / 360 - rr * (1 / 1260 - rr * (1 / 1680 - rr * (1 / 1188)))));
  return (lifted - 0.5) * Math.log(lifted) - lifted + halfLogTwoPi + series - Math.log(product);
}

/** ln B(a, b). */
export const logBeta = (a: number, b: number): number => logGamma(a) + logGamma(b) - logGamma(a + b);

/** ln P(X ≤ x) for X ~ Beta(a, b), 0 < x < 1: the regularised incomplete beta function. */
export function logLowerTail(a: number, b: number, x: number): number {
  return isBelowMean(a, b, x) ? logByFraction(a, b, x) : log1mExp(logByFraction(b, a, 1 - x));
}

/** ln P(X > x) for X ~ Beta(a, b), 0 < x < 1. */
export function logUpperTail(a: number, b: number, x: number): number {
  return isBelowMean(a, b, x) ? log1mExp(logByFraction(a, b, x)) : logByFraction(b, a, 1 - x);
}

/** Where the continued fraction converges quickly; elsewhere that of the other tail does. */
const isBelowMean = (a: number, b: number, x: number): boolean => x < (a + 1) / (a + b + 2);

/** ln(1 − e^y), y ≤ 0, without losing what is near either end. */
function log1mExp(y: number): number {
  return y > -Math.LN2 ? Math.log(-Math.expm1(y)) : Math.log1p(-Math.exp(y));
}

const tiny = 1e-300;
const precision = 1e-14;
/** Enough for a and b of 1e9 and more: about √max(a, b) are taken. */
const mostTerms = 100_000;

/** The continued fraction of DLMF 8.17.22, by Lentz's method. */
function logByFraction(a: number, b: number, x: number): number {
  const awayFromZero = (value: number) => (Math.abs(value) < tiny ? tiny : value);
  let c = 1;
  let d = 1 / awayFromZero(1 - ((a + b) * x) / (a + 1));
  let fraction = d;
  for (let m = 1; m <= mostTerms; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / awayFromZero(1 + even * d);
    c = awayFromZero(1 + even / c);
    fraction *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / awayFromZero(1 + odd * d);
    c = awayFromZero(1 + odd / c);
    const change = d * c;
    fraction *= change;
    if (Math.abs(change - 1) < precision) break;
  }
  const log = a * Math.log(x) + b * Math.log1p(-x) - Math.log(a) - logBeta(a, b) + Math.log(fraction);
  return Math.min(log, 0);
}
