import type { UnknownOutputs } from '../../../api/contract/routing-table.ts';
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
  /** The same of the stable version, where that is counted: nobody answers an event again to see whose fault it was. */
  countStable?(traffic: Traffic): Counts;
  /** What there was too little of, or nothing, to count anything. */
  missing?(traffic: Traffic): string | undefined;
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
      missing: ({ latency }) => missingStable(countOf(latency?.stable ?? []), stableToCompare(quantile)),
    };
  }
  if ('deadLetters' in gate) {
    const { pipeline, step, maxRate } = gate.deadLetters;
    const of = ({ deadLetters }: Traffic) => deadLetters?.[stepKey(pipeline, step)];
    return {
      gate: `deadLetters/${stepKey(pipeline, step)}`,
      limit: maxRate,
      count: (traffic) => of(traffic)?.candidate ?? none,
      countStable: (traffic) => of(traffic)?.stable ?? none,
    };
  }
  const { output, max } = gate.disagreement;
  return {
    gate: `disagreement/${output}`,
    limit: max,
    count: ({ compared }) => compared?.[output] ?? none,
    missing: ({ unknownOutputs }) => missingOutput(output, unknownOutputs),
  };
}

function missingOutput(output: string, unknown: UnknownOutputs | undefined): string | undefined {
  if (!unknown?.wanted.includes(output)) return undefined;
  return `there is no output ${output}; there is ${unknown.has.join(', ').slice(0, 500) || 'none'}`;
}

/** Of {@link Traffic.deadLetters}. */
export const stepKey = (pipeline: string, step: string): string => `${pipeline}/${step}`;

/** As `status.rollout.gates` calls it. */
export const gateName = (gate: Gate): string => judged(gate).gate;

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

/** So many requests of the stable version have such a quantile: with fewer it lies above all of them. */
export const stableToCompare = (quantile: number): number => Math.ceil(1 / (1 - quantile) - 1e-9);

const missingStable = (found: number, wanted: number): string | undefined =>
  found < wanted ? `${found} of ${wanted} requests of the stable version to compare with` : undefined;

/**
 * The candidate's requests, and those slower than `maxRatio` × the stable side's quantile + 5 ms. Both sides are of the same
 * window, so what slows the whole machine slows both. Too few requests of the stable side have no such quantile: no trials.
 * What it was late with is slow where it was given more than that. Given less, nobody knows what it would have been: no trial.
 */
function countSlow({ latency }: Traffic, quantile: number, maxRatio: number): Counts {
  if (!latency || countOf(latency.stable) < stableToCompare(quantile)) return none;
  const stable = quantileOf(latency.stable, quantile);
  if (stable === undefined) return none;
  const allowedMs = stable * maxRatio + latencySlackMs;
  const late = countAbove(latency.late ?? [], allowedMs);
  return { n: countOf(latency.candidate) + late, failures: countAbove(latency.candidate, allowedMs) + late };
}

/**
 * The gates of a rollout, with what `traffic` brings. Counts of before stay as long as what they count does, over all steps: one
 * test runs through the whole rollout. α is shared by those that there are.
 *
 * @param broken by name of a gate: why nothing of it is to be counted
 */
export function judgeGates(
  gates: readonly Gate[],
  before: readonly GateStatus[],
  traffic: Traffic | undefined,
  broken: Readonly<Record<string, string>> = {},
): GateStatus[] {
  const alpha = rolloutAlpha / gates.length;
  return gates.map((spec) => {
    const { gate, limit, count, countStable, missing } = judged(spec);
    const old = before.find((entry) => entry.gate === gate);
    const reason = broken[gate];
    const seen = reason === undefined ? traffic : undefined;
    const counts = sum(old ?? none, seen ? count(seen) : none);
    const stable = countStable && sum(old?.stable ?? none, seen ? countStable(seen) : none);
    const found = { gate, ...judge(limit, counts, stable, alpha), limit, ...counts, ...(stable && { stable }) };
    // Between two windows it is as it was.
    const message = reason ?? (missing && (seen ? withMissing(found, missing(seen)) : old?.message));
    return { ...found, ...(message !== undefined && { message }) };
  });
}

/** For one that has a verdict nothing is missing. */
function withMissing(status: GateStatus, missing: string | undefined): string | undefined {
  const isOpen = status.verdict === 'NoTraffic' || status.verdict === 'Inconclusive';
  return isOpen && missing !== undefined ? `${reasonOf(status)}; ${missing}` : undefined;
}

/** A key may fail in another window than it was counted in, and that one may be lost: no more fail than there are. */
function sum(a: Counts, b: Counts): Counts {
  const n = a.n + b.n;
  return { n, failures: Math.min(n, a.failures + b.failures) };
}

function judge(
  limit: number,
  counts: Counts,
  stable: Counts | undefined,
  alpha: number,
): Pick<GateStatus, 'verdict' | 'observed' | 'interval'> {
  const { n, failures } = counts;
  if (n === 0) return { verdict: 'NoTraffic', interval: [0, 1] };
  const found = interval(limit, counts, alpha);
  const excused = stable !== undefined && isAsBad(limit, found, stable, alpha);
  return {
    verdict: verdictOf(limit, counts, alpha, excused),
    observed: Number((failures / n).toPrecision(4)),
    interval: found,
  };
}

/**
 * Whether the stable side exceeds the limit as well, and is maybe no better: then it is the events' fault, or of what comes after
 * the model. It can only take away a Fail, so α holds as it is.
 */
const isAsBad = (limit: number, [low]: readonly [number, number], stable: Counts, alpha: number): boolean =>
  exceeds(limit, stable, alpha) && low <= interval(limit, stable, alpha)[1];

/** Fewer trials than it takes to see one failure at the limit say nothing good of it. */
function verdictOf(limit: number, counts: Counts, alpha: number, excused: boolean): Verdict {
  if (exceeds(limit, counts, alpha)) return excused ? 'Inconclusive' : 'Fail';
  return counts.n >= trialsToPass(limit) && counts.failures <= limit * counts.n ? 'Pass' : 'Inconclusive';
}

const trialsToPass = (limit: number): number => Math.ceil(1 / limit - 1e-9);

/** Why a gate does not pass, in words. */
export function describeGate(status: GateStatus): string {
  const { gate, verdict, message } = status;
  if (message !== undefined) return `${gate} has no verdict: ${message}`;
  if (verdict === 'Fail') return `${gate} failed: ${reasonOf(status)}`;
  return `${gate} ${verdict === 'Pass' ? 'holds' : 'has no verdict'}: ${reasonOf(status)}`;
}

function reasonOf({ verdict, observed = 0, limit, n, stable }: GateStatus): string {
  const percent = (value: number) => `${Number((value * 100).toPrecision(3))} %`;
  const found = `${percent(observed)} of ${n}, limit ${percent(limit)}`;
  if (verdict === 'NoTraffic') return 'nothing was counted';
  if (verdict !== 'Inconclusive') return found;
  if (n < trialsToPass(limit)) return `${n} of ${trialsToPass(limit)} trials`;
  return stable && stable.failures > limit * stable.n
    ? `${found}, and the stable version has ${percent(stable.failures / stable.n)} of ${stable.n}`
    : `${found}, may be chance`;
}
