import { generator } from '../bench/statistics.ts';

/** Draws from distributions, exactly, with one seed. */
export class Random {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = generator(seed);
  }

  /** In (0, 1). */
  uniform(): number {
    return Math.max(this.#next(), 2 ** -33);
  }

  /** Standard normal, by Box and Muller. */
  normal(): number {
    return Math.sqrt(-2 * Math.log(this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Gamma with this shape, at least 1, and scale 1: Marsaglia and Tsang (2000). */
  gamma(shape: number): number {
    const d = shape - 1 / 3;
    const c = 1 / Math.sqrt(9 * d);
    for (;;) {
      const x = this.normal();
      const v = (1 + c * x) ** 3;
      if (v > 0 && Math.log(this.uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
    }
  }

  beta(a: number, b: number): number {
    const x = this.gamma(a);
    return x / (x + this.gamma(b));
  }

  /** How many of `n` happen, each with probability `p`. */
  binomial(n: number, p: number): number {
    if (n <= 0 || p <= 0) return 0;
    if (p >= 1) return n;
    if (p > 0.5) return n - this.binomial(n, 1 - p);
    if (n * p <= 30) return this.#byInversion(n, p);
    // The i-th smallest of n uniform numbers is Beta(i, n + 1 − i): it says on which side of it the others are to be counted.
    const i = Math.floor((n + 1) / 2);
    const middle = this.beta(i, n + 1 - i);
    return middle > p ? this.binomial(i - 1, p / middle) : i + this.binomial(n - i, (p - middle) / (1 - middle));
  }

  #byInversion(n: number, p: number): number {
    const odds = p / (1 - p);
    let chance = Math.exp(n * Math.log1p(-p));
    let left = this.uniform();
    let count = 0;
    while (left > chance && count < n) {
      left -= chance;
      chance *= (odds * (n - count)) / (count + 1);
      count++;
    }
    return count;
  }

  /** Trials up to and with the first that happens. */
  geometric(p: number): number {
    return Math.ceil(Math.log(this.uniform()) / Math.log1p(-p));
  }
}

/** P(Z > z) of the standard normal; relative error below 1.2e-7 (Numerical Recipes' erfcc). */
export function normalTail(z: number): number {
  const x = Math.abs(z) / Math.SQRT2;
  const t = 1 / (1 + 0.5 * x);
  const series = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277,
  ].reduceRight((sum, c) => c + t * sum, 0);
  const tail = 0.5 * t * Math.exp(-x * x + series);
  return z >= 0 ? tail : 1 - tail;
}

/** z with P(Z ≤ z) = p, by bisection. */
export function normalQuantile(p: number): number {
  let [low, high] = [-9, 9];
  for (let i = 0; i < 50; i++) {
    const middle = (low + high) / 2;
    if (1 - normalTail(middle) < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
