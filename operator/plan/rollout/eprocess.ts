import { logBeta, logLowerTail, logUpperTail } from './beta.ts';

/**
 * An anytime-valid test of H0: p ≤ limit, for trials that fail with probability p.
 *
 * For one alternative q > limit, each trial multiplies the wealth of a bet against H0 by q/limit where it failed, by
 * (1−q)/(1−limit) where it did not. While p ≤ limit the expected factor is at most 1, whatever came before, so the wealth is a
 * nonnegative supermartingale that starts at 1. So is its mean over all q above the limit, weighted by a prior density π:
 *
 *   E(s, f) = ∫ q^s (1−q)^f π(q) dq / (limit^s (1−limit)^f)        s failures and f others, q from limit to 1
 *
 * With π = Beta(a, b) cut off below the limit and T(a, b) = P(Beta(a, b) > limit) this is
 *
 *   E(s, f) = B(a+s, b+f) T(a+s, b+f) / (B(a, b) T(a, b) limit^s (1−limit)^f)
 *
 * By Ville's inequality P(E ever ≥ 1/α) ≤ α as long as H0 holds: one may look after every trial, stop at any time and begin
 * to look again. Only s and f matter, so the state of a test is two counts.
 *
 * Howard, Ramdas, McAuliffe, Sekhon: Time-uniform, nonparametric, nonasymptotic confidence sequences, Annals of Statistics 49
 * (2021), the one-sided conjugate mixtures; Lindon, Malek: Anytime-valid inference for multinomial count data, NeurIPS 2022.
 * docs/decisions/0009-verdicts.md derives it and has the figures of the simulation that checks it.
 */
export interface Counts {
  readonly n: number;
  /** At most `n`. */
  readonly failures: number;
}

/** Chance that a rollout whose gates all hold is ever said to fail one of them. Shared over its gates in equal parts. */
export const rolloutAlpha = 0.01;

/**
 * Beta(1, b). Its mean is near ten times the limit, where a bad model is: against 1 % it knows one of 5 % sooner than the
 * uniform prior does, and three failures of three are still enough. Fixed by the limit alone, so before any trial is seen.
 */
const priorB = (limit: number): number => Math.max(1, 0.1 / limit);

/** ln E for H0: p ≤ limit. 0 < limit < 1. */
export function logEvidenceAbove(limit: number, counts: Counts): number {
  return logMixture(logUpperTail, limit, priorB(limit), counts);
}

/** Whether the trials show that p > limit, at this `alpha`, at whatever time they are looked at. */
export const exceeds = (limit: number, counts: Counts, alpha: number): boolean =>
  logEvidenceAbove(limit, counts) >= Math.log(1 / alpha);

type LogTail = typeof logUpperTail;

function logMixture(logTail: LogTail, limit: number, b: number, { n, failures }: Counts): number {
  if (n === 0) return 0;
  const others = n - failures;
  const after = logBeta(1 + failures, b + others) + logTail(1 + failures, b + others, limit);
  const before = -Math.log(b) + logTail(1, b, limit);
  return after - before - failures * Math.log(limit) - others * Math.log1p(-limit);
}

/**
 * Every p that neither this test nor its mirror image, of H0: p ≥ limit, rejects at `alpha`: it holds the true p at all times
 * together with probability 1 − 2α. With the prior of `limit`; the lower end is above `limit` where {@link exceeds} is true.
 * Rounded to four digits, so that a status does not change for what nobody can see.
 */
export function interval(limit: number, counts: Counts, alpha: number): [number, number] {
  const { n, failures } = counts;
  if (n === 0) return [0, 1];
  const b = priorB(limit);
  const enough = Math.log(1 / alpha);
  const above = (p: number) => logMixture(logUpperTail, p, b, counts) - enough;
  const below = (p: number) => logMixture(logLowerTail, p, b, counts) - enough;
  const middle = Math.min(Math.max(failures, 0.5), n - 0.5) / n;
  const step = 2 / Math.sqrt(n * middle * (1 - middle));
  const low = failures === 0 ? 0 : crossing(above, middle, -step);
  const high = failures === n ? 1 : crossing(below, middle, step);
  return [rounded(low), rounded(high)];
}

const rounded = (value: number): number => Number(value.toPrecision(4));

/** As far as it is looked, in log-odds: beyond, a proportion is 0 or 1 to anybody. */
const farOut = 36;

/** Where `f`, negative at `from`, becomes positive: steps outwards in log-odds, then false position, halving what lags (Illinois). */
function crossing(f: (p: number) => number, from: number, step: number): number {
  const proportion = (logOdds: number) => 1 / (1 + Math.exp(-logOdds));
  let [inside, fInside] = [Math.log(from / (1 - from)), f(from)];
  let [outside, fOutside] = [inside, fInside];
  for (let stride = step; fOutside <= 0; stride *= 2) {
    if (Math.abs(outside) === farOut) return step < 0 ? 0 : 1;
    [inside, fInside] = [outside, fOutside];
    outside = Math.min(Math.max(outside + stride, -farOut), farOut);
    fOutside = f(proportion(outside));
  }
  let lagging = 0;
  for (let i = 0; i < 100 && Math.abs(outside - inside) > 1e-5; i++) {
    const middle = (outside * fInside - inside * fOutside) / (fInside - fOutside);
    const found = f(proportion(middle));
    if (found > 0) {
      [outside, fOutside] = [middle, found];
      if (lagging === 1) fInside /= 2;
      lagging = 1;
    } else {
      [inside, fInside] = [middle, found];
      if (lagging === -1) fOutside /= 2;
      lagging = -1;
    }
  }
  return proportion(inside);
}
