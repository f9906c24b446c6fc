import { logUpperTail } from '../../operator/plan/rollout/beta.ts';
import type { Outcome } from './ours.ts';
import { baselineErrors, type Candidate } from './traffic.ts';

/** A candidate, and what has to become of it. */
export interface Case {
  readonly name: string;
  readonly candidate: Candidate;
  readonly bar: string;
  /** Of an outcome that is as it should be. */
  isRight(outcome: Outcome): boolean;
  /** Whether so many right ones of so many are enough. */
  isEnough(right: number, seeds: number): boolean;
}

const asGood: Candidate = { errors: baselineErrors, failing: 0, slower: 1, flips: 0.01, stableP99: 50 };

const inMost = (right: number, seeds: number): boolean => right >= 0.99 * seeds;
const inAll = (right: number, seeds: number): boolean => right === seeds;
const promoted = ({ end }: Outcome): boolean => end === 'Promoted';
const rolledBack = ({ end }: Outcome): boolean => end === 'RolledBack';

/** With few seeds no bound can be that low: then none may have gone wrong. */
const boundedBy1Percent = (right: number, seeds: number): boolean =>
  upperBound(seeds - right, seeds) <= 0.01 || right === seeds;

/** Over one of the buckets in which durations are counted: wherever in it the limit is, the verdict is the same. */
const stableP99s = [46, 48, 50];

const latencyCases = (stableP99: number): Case[] => [
  {
    name: `60 % slower than a p99 of ${stableP99} ms`,
    candidate: { ...asGood, slower: 1.6, stableP99 },
    bar: 'back in ≥ 99 %',
    isRight: rolledBack,
    isEnough: inMost,
  },
  {
    name: `10 % slower than a p99 of ${stableP99} ms`,
    candidate: { ...asGood, slower: 1.1, stableP99 },
    bar: 'promoted in ≥ 99 %',
    isRight: promoted,
    isEnough: inMost,
  },
];

export const cases: readonly Case[] = [
  {
    name: 'as good as stable',
    candidate: asGood,
    bar: 'promoted; 95 % bound of others ≤ 1 %',
    isRight: promoted,
    isEnough: boundedBy1Percent,
  },
  {
    name: '5 % errors',
    candidate: { ...asGood, errors: 0.05 },
    bar: 'back before 25 % in ≥ 99 %',
    isRight: (outcome) => rolledBack(outcome) && outcome.weight < 25,
    isEnough: inMost,
  },
  {
    name: 'dead',
    candidate: { ...asGood, errors: 1 },
    bar: 'back within 2 intervals, always',
    isRight: (outcome) => rolledBack(outcome) && outcome.seconds <= 30,
    isEnough: inAll,
  },
  ...stableP99s.flatMap(latencyCases),
  {
    name: '3 % flips, max 5 %',
    candidate: { ...asGood, flips: 0.03 },
    bar: 'promoted in ≥ 99 %',
    isRight: promoted,
    isEnough: inMost,
  },
  {
    name: '10 % flips, max 5 %',
    candidate: { ...asGood, flips: 0.1 },
    bar: 'back in ≥ 99 %',
    isRight: rolledBack,
    isEnough: inMost,
  },
  {
    name: 'the same 3 % fail on both sides',
    candidate: { ...asGood, failing: 0.03 },
    bar: 'promoted in ≥ 99 %',
    isRight: promoted,
    isEnough: inMost,
  },
];

/** One-sided 95 % upper bound of a proportion of which `k` of `n` were seen (Clopper and Pearson). */
export function upperBound(k: number, n: number): number {
  if (k >= n) return 1;
  let [low, high] = [k / n, 1];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (middle < 1 && logUpperTail(k + 1, n - k, middle) > Math.log(0.05)) low = middle;
    else high = middle;
  }
  return high;
}
