import { blame } from './blame.ts';
import { type Counts, exceeds, interval, rolloutAlpha } from './eprocess.ts';
import { countAbove, countOf, quantileOf } from './histogram.ts';
import type { Answers, Gate, GateStatus, Traffic, Verdict } from './types.ts';

/** What is judged: a proportion of trials, against its limit. */
interface Judged {
  readonly gate: string;
  readonly limit: number;
  /** Trials of one window. */
  count(traffic: Traffic): Counts;
}

/** Added to the latency that is allowed: below it a ratio is only noise. */
export const latencySlackMs = 5;

const none: Counts = { n: 0, failures: 0 };

function judged(gate: Gate): Judged {
  if ('errorRate' in gate) {
    return { gate: 'errorRate', limit: gate.errorRate.max, count: ({ answers }) => countAnswers(answers) };
  }
  if ('latency' in gate) {
    const { quantile, maxRatio } = gate.latency;
    return {
      // The ratio is part of what a trial is: with another one, what was counted says nothing.
      gate: `latency/${quantile}/${maxRatio}`,
      limit: 1 - quantile,
      count: (traffic) => countSlow(traffic, quantile, maxRatio),
    };
  }
  const { output, max } = gate.disagreement;
  return { gate: `disagreement/${output}`, limit: max, count: ({ compared }) => compared?.[output] ?? none };
}

function countAnswers(answers: readonly Answers[]): Counts {
  let [n, failures] = [0, 0];
  for (const { candidate, stable, count } of answers) {
    const whose = blame(candidate, stable);
    if (whose === 'Unjudged') continue;
    n += count;
    if (whose === 'Candidate') failures += count;
  }
  return { n, failures };
}

/**
 * The candidate's requests, and those slower than `maxRatio` × the stable side's quantile + 5 ms. Both sides are of the same
 * window, so what slows the whole machine slows both. Too few requests of the stable side have no such quantile: no trials.
 */
function countSlow({ latency }: Traffic, quantile: number, maxRatio: number): Counts {
  if (!latency || countOf(latency.stable) < 1 / (1 - quantile)) return none;
  const stable = quantileOf(latency.stable, quantile);
  if (stable === undefined) return none;
  const failures = countAbove(latency.candidate, stable * maxRatio + latencySlackMs);
  return { n: countOf(latency.candidate), failures };
}

/**
 * The gates of a rollout, with what `traffic` brings. Counts of before stay as long as what they count does, over all steps: one
 * test runs through the whole rollout. α is shared by those that there are.
 */
export function judgeGates(
  gates: readonly Gate[],
  before: readonly GateStatus[],
  traffic: Traffic | undefined,
): GateStatus[] {
  return gates.map((spec) => {
    const { gate, limit, count } = judged(spec);
    const old = before.find((entry) => entry.gate === gate) ?? none;
    const more = traffic ? count(traffic) : none;
    const counts = { n: old.n + more.n, failures: old.failures + more.failures };
    return { gate, ...judge(limit, counts, rolloutAlpha / gates.length), limit, ...counts };
  });
}

function judge(limit: number, counts: Counts, alpha: number): Pick<GateStatus, 'verdict' | 'observed' | 'interval'> {
  const { n, failures } = counts;
  if (n === 0) return { verdict: 'NoTraffic', interval: [0, 1] };
  return {
    verdict: verdictOf(limit, counts, alpha),
    observed: Number((failures / n).toPrecision(4)),
    interval: interval(limit, counts, alpha),
  };
}

/** Fewer trials than it takes to see one failure at the limit say nothing good of it. */
function verdictOf(limit: number, counts: Counts, alpha: number): Verdict {
  if (exceeds(limit, counts, alpha)) return 'Fail';
  return counts.n >= trialsToPass(limit) && counts.failures <= limit * counts.n ? 'Pass' : 'Inconclusive';
}

const trialsToPass = (limit: number): number => Math.ceil(1 / limit - 1e-9);

/** Why a gate does not pass, in words. */
export function describeGate({ gate, verdict, observed, limit, n }: GateStatus): string {
  const percent = (value: number) => `${Number((value * 100).toPrecision(3))} %`;
  switch (verdict) {
    case 'NoTraffic':
      return `${gate} has no verdict: nothing was counted`;
    case 'Inconclusive':
      return n < trialsToPass(limit)
        ? `${gate} has no verdict: ${n} of ${trialsToPass(limit)} trials`
        : `${gate} has no verdict: ${percent(observed ?? 0)} of ${n}, limit ${percent(limit)}, may be chance`;
    case 'Fail':
      return `${gate} failed: ${percent(observed ?? 0)} of ${n}, limit ${percent(limit)}`;
    case 'Pass':
      return `${gate} holds: ${percent(observed ?? 0)} of ${n}, limit ${percent(limit)}`;
  }
}
