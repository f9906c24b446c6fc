import { percentile } from '../bench/statistics.ts';
import { figure, markdownTable } from '../bench/table.ts';
import { everRejects, type Hypothesis } from './alpha.ts';
import { type Case, upperBound } from './cases.ts';
import { type Outcome, simulate } from './ours.ts';
import { argo, flagger } from './peers.ts';
import { Random } from './random.ts';
import type { Candidate } from './traffic.ts';

export interface Result {
  readonly name: string;
  readonly who: string;
  readonly bar: string;
  readonly right: number;
  /** Absent: a peer, which is held to nothing. */
  readonly holds?: boolean;
  readonly outcomes: readonly Outcome[];
}

type Rule = (random: Random, candidate: Candidate) => Outcome;
const peers: Readonly<Record<string, Rule>> = { 'Flagger’s rule': flagger, 'Argo Rollouts’ rule': argo };

/** Runs a case with ours and the others' rules, each with the same seeds. */
export function runCase(one: Case, seeds: number, seed: number): Result[] {
  return Object.entries({ Levada: simulate, ...peers }).map(([who, rule]) => {
    const outcomes = Array.from({ length: seeds }, (_, i) => rule(new Random(seed + i * 7_919), one.candidate));
    const right = outcomes.filter((outcome) => one.isRight(outcome)).length;
    const { name, bar } = one;
    return { name, who, bar, right, outcomes, ...(who === 'Levada' && { holds: one.isEnough(right, seeds) }) };
  });
}

export function casesTable(results: readonly Result[]): string {
  const header = [
    '',
    'candidate',
    'rule',
    'promoted',
    'back',
    'asks',
    'right',
    'bar',
    'most weight',
    'seconds',
    'harmed',
  ];
  return markdownTable(header, results.map(rowOf));
}

function rowOf({ name, who, bar, right, holds, outcomes }: Result): string[] {
  const share = (end: Outcome['end']) => percent(outcomes.filter((one) => one.end === end).length, outcomes.length);
  const spread = (pick: (outcome: Outcome) => number) => {
    const values = outcomes.map(pick);
    return `${figures(percentile(values, 0.5))} / ${figures(percentile(values, 0.99))}`;
  };
  return [
    holds === undefined ? '' : holds ? 'PASS' : 'FAIL',
    name,
    who,
    share('Promoted'),
    share('RolledBack'),
    share('AsksAPerson'),
    percent(right, outcomes.length),
    holds === undefined ? '' : bar,
    spread(({ weight }) => weight),
    spread(({ seconds }) => seconds),
    spread(({ harmed }) => harmed),
  ];
}

const figures = (value: number): string => value.toLocaleString('en-US');
/** Two decimals: one of 5,000 is seen. */
const percent = (count: number, of: number): string => `${((100 * count) / of).toFixed(2)} %`;

export interface AlphaResult extends Hypothesis {
  readonly name: string;
  readonly rejected: number;
  readonly seeds: number;
  readonly bound: number;
  /** Absent: it shows what would be wrong to do. */
  readonly holds?: boolean;
}

const hypotheses: ReadonlyArray<Hypothesis & { readonly name: string; readonly isWrong?: boolean }> = [
  { name: 'errorRate, one gate', limit: 0.01, alpha: 0.01, together: 1 },
  { name: 'errorRate, one of three gates', limit: 0.01, alpha: 0.01 / 3, together: 1 },
  { name: 'disagreement, one gate', limit: 0.05, alpha: 0.01, together: 1 },
  { name: 'keys of 20 requests, requests as trials', limit: 0.01, alpha: 0.01, together: 20, isWrong: true },
];

/** How often a test rejects a candidate whose failures are exactly at the limit, looked at after each of 100,000 trials. */
export function checkAlpha(seeds: number, seed: number): AlphaResult[] {
  return hypotheses.map(({ name, isWrong, ...hypothesis }) => {
    let rejected = 0;
    for (let i = 0; i < seeds; i++) if (everRejects(new Random(seed + i * 104_729), hypothesis)) rejected++;
    const bound = upperBound(rejected, seeds);
    // The rate itself is at most α; so many seeds see at most so much more.
    const chance = 3 * Math.sqrt((hypothesis.alpha * (1 - hypothesis.alpha)) / seeds);
    const holds = rejected / seeds <= hypothesis.alpha + chance;
    return { name, ...hypothesis, rejected, seeds, bound, ...(!isWrong && { holds }) };
  });
}

export function alphaTable(results: readonly AlphaResult[]): string {
  return markdownTable(
    ['', 'test, failures at the limit', 'limit', 'α', 'rejected', '95 % bound'],
    results.map(({ holds, name, limit, alpha, rejected, seeds, bound }) => [
      holds === undefined ? '' : holds ? 'PASS' : 'FAIL',
      name,
      `${limit * 100} %`,
      `${figure(alpha * 100)} %`,
      percent(rejected, seeds),
      `${figure(bound * 100)} %`,
    ]),
  );
}
