import type { Spread } from './statistics.ts';

/** One line of a benchmark's promise: a figure, and what it is held against. */
export interface Bar<Results> {
  readonly name: string;
  readonly unit: '×' | 'ms' | '';
  readonly better: 'higher' | 'lower';
  readonly goal: number;
  /** Beyond this the run fails. Absent: the goal is only reported. */
  readonly fatal?: number;
  /** `undefined`: this run did not measure it. */
  figure(results: Results): Spread | undefined;
}

export type Outcome = 'PASS' | 'MISS' | 'FAIL' | 'not measured';

export interface Verdict {
  name: string;
  unit: string;
  better: 'higher' | 'lower';
  goal: number;
  fatal?: number;
  outcome: Outcome;
  figure?: Spread;
}

export function judge<Results>(bars: readonly Bar<Results>[], results: Results): Verdict[] {
  return bars.map((bar) => {
    const { name, unit, better, goal, fatal } = bar;
    const figure = bar.figure(results);
    return {
      ...{ name, unit, better, goal, outcome: outcome(bar, figure?.median) },
      ...(fatal !== undefined && { fatal }),
      ...(figure && { figure }),
    };
  });
}

function outcome(bar: Pick<Verdict, 'better' | 'goal' | 'fatal'>, value: number | undefined): Outcome {
  if (value === undefined) return 'not measured';
  const meets = (limit: number) => (bar.better === 'higher' ? value >= limit : value <= limit);
  if (bar.fatal !== undefined && !meets(bar.fatal)) return 'FAIL';
  return meets(bar.goal) ? 'PASS' : 'MISS';
}

export function failed(verdicts: readonly Verdict[]): boolean {
  return verdicts.some(({ outcome }) => outcome === 'FAIL');
}
