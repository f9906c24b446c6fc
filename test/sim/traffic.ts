import type { Traffic } from '../../operator/plan/rollout/types.ts';
import { normalQuantile, normalTail, type Random } from './random.ts';

/** What the candidate is like, beside a stable version that fails at 0.2 % and whose p99 is 50 ms. */
export interface Candidate {
  /** Share of its requests that it fails at. */
  readonly errors: number;
  /** Share of all requests that both sides fail at. */
  readonly failing: number;
  /** Its latency, of stable's. */
  readonly slower: number;
  /** Share of its outputs that differ. */
  readonly flips: number;
}

export const requestsPerSecond = 50;
export const baselineErrors = 0.002;
/** Latencies are lognormal. */
export const sigma = 0.2;
export const stableP99 = 50;
const z99 = 2.3263478740408408;
const stableMedian = stableP99 / Math.exp(sigma * z99);
/** Of the candidate's requests, this share is scored by stable too. */
const sampled = 0.2;

/** P(a request of a side whose median is `slower` × stable's takes more than `ms`). */
export const slowerThan = (ms: number, slower: number): number =>
  normalTail(Math.log(ms / (stableMedian * slower)) / sigma);

/** What came of one window's requests to the candidate. */
export interface Window {
  readonly n: number;
  /** It failed, and stable would have answered. */
  readonly failed: number;
  /** It failed, and stable did too. */
  readonly bothFailed: number;
  readonly ok: number;
}

export function drawAnswers(random: Random, { errors, failing }: Candidate, n: number): Window {
  const shared = random.binomial(n, failing);
  const own = random.binomial(n - shared, errors);
  const coincident = random.binomial(own, baselineErrors);
  return { n, failed: own - coincident, bothFailed: shared + coincident, ok: n - shared - own };
}

/** The window as the pods would count it, and how many callers were harmed. Drawn by the window: the same distribution as request by request. */
export function drawTraffic(random: Random, candidate: Candidate, weight: number, seconds: number) {
  const total = requestsPerSecond * seconds;
  const share = (total * weight) / 100;
  const n = Math.floor(share + random.uniform()); // stratified: off by less than one
  const { failed, bothFailed, ok } = drawAnswers(random, candidate, n);
  const stableCount = total - n;
  const rank = Math.ceil(0.99 * stableCount);
  // The quantile of a sample, as a draw of the order statistic that it is.
  const place = rank > 0 ? random.beta(rank, stableCount - rank + 1) : 0.99;
  const quantile = stableMedian * Math.exp(sigma * normalQuantile(place));
  const limit = quantile * 1.2 + 5;
  const slow = random.binomial(ok, slowerThan(limit, candidate.slower));
  const compared = random.binomial(ok, sampled);
  const differ = random.binomial(compared, candidate.flips);
  const unseen = random.binomial(ok - compared, candidate.flips);
  const end = Number.MAX_VALUE;
  const counted = {
    requests: n,
    answers: [
      { candidate: 'Ok', count: ok },
      { candidate: 'ServerError', stable: 'Ok', count: failed },
      { candidate: 'ServerError', stable: 'ServerError', count: bothFailed },
    ],
    latency: {
      stable: [
        { le: quantile, count: rank },
        { le: end, count: stableCount - rank },
      ],
      candidate: [
        { le: limit, count: ok - slow },
        { le: end, count: slow },
      ],
    },
    compared: { label: { n: compared, failures: differ } },
  } satisfies Omit<Traffic, 'candidate' | 'until'>;
  return { counted, harmed: failed + slow + differ + unseen };
}
