import { latencyBoundsMs } from '../../api/contract/routing-table.ts';
import { latencySlackMs } from '../../operator/plan/rollout/gates.ts';
import { countAbove, type Histogram, quantileOf } from '../../operator/plan/rollout/histogram.ts';
import type { Traffic } from '../../operator/plan/rollout/types.ts';
import { normalTail, type Random } from './random.ts';

/** What the candidate is like, beside a stable version that fails at 0.2 %. */
export interface Candidate {
  /** Share of its requests that it fails at. */
  readonly errors: number;
  /** Share of all requests that both sides fail at. */
  readonly failing: number;
  /** Its latency, of stable's. */
  readonly slower: number;
  /** Share of its outputs that differ. */
  readonly flips: number;
  /** Of the stable version, milliseconds. */
  readonly stableP99: number;
}

export const requestsPerSecond = 50;
export const baselineErrors = 0.002;
/** Latencies are lognormal. */
export const sigma = 0.2;
const z99 = 2.3263478740408408;
export const medianOf = (p99: number): number => p99 / Math.exp(sigma * z99);
/** What is too slow, as the latency gate has it. */
export const slowMs = (stableQuantile: number): number => stableQuantile * 1.2 + latencySlackMs;
/** Of the candidate's requests, this share is scored by stable too. */
const sampled = 0.2;

/** P(a request of a side with this p99 takes more than `ms`). */
export const slowerThan = (ms: number, p99: number): number => normalTail(Math.log(ms / medianOf(p99)) / sigma);

const buckets = new Map<number, readonly number[]>();

/** By bucket that pods count in: P(a duration is in it, if it is in none before), of a side with this p99. */
function bucketsOf(p99: number): readonly number[] {
  const known = buckets.get(p99);
  if (known) return known;
  const above = [1, ...latencyBoundsMs.map((le) => slowerThan(le, p99))];
  const chances = above.map((slower, i) => 1 - (above[i + 1] ?? 0) / slower);
  buckets.set(p99, chances);
  return chances;
}

/** Durations of `n` requests of a side with this p99. */
function drawLatencies(random: Random, n: number, p99: number): Histogram {
  let left = n;
  return bucketsOf(p99).map((chance, i) => {
    // What is next to nothing is nothing: it would only take draws.
    const count = left > 0 && chance > 1e-9 ? random.binomial(left, chance) : 0;
    left -= count;
    return { le: latencyBoundsMs[i] ?? Number.POSITIVE_INFINITY, count };
  });
}

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
  const { stableP99, slower } = candidate;
  const latency = {
    stable: drawLatencies(random, total - n, stableP99),
    candidate: drawLatencies(random, ok, stableP99 * slower),
  };
  const slow = countAbove(latency.candidate, slowMs(quantileOf(latency.stable, 0.99) ?? stableP99));
  const compared = random.binomial(ok, sampled);
  const differ = random.binomial(compared, candidate.flips);
  const unseen = random.binomial(ok - compared, candidate.flips);
  const counted = {
    requests: n,
    answers: [
      { candidate: 'Ok', count: ok },
      { candidate: 'ServerError', stable: 'Ok', count: failed },
      { candidate: 'ServerError', stable: 'ServerError', count: bothFailed },
    ],
    latency,
    compared: { label: { n: compared, failures: differ } },
  } satisfies Omit<Traffic, 'candidate' | 'until'>;
  return { counted, harmed: failed + slow + differ + unseen };
}
