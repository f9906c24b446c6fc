import { latencyBoundsMs, noTime, type StepTrials } from '../../../api/contract/routing-table.ts';
import type { Histogram } from '../../plan/rollout/histogram.ts';
import type { Answers, Traffic } from '../../plan/rollout/types.ts';
import type { Began, Report, StepReport } from './report.ts';
import { type Times, WaitingTimes } from './times.ts';

type Count = Report['counts'][number];

/** What the processes of a step have counted, by its {@link stepKey}. */
export type StepReports = ReadonlyMap<string, readonly StepReport[]>;

/** What was counted between two looks at one process. */
interface Window {
  /** Monotonic within one owner: milliseconds since the epoch, of the operator's clock. */
  readonly until: number;
  readonly counts: readonly Count[];
  readonly trials: readonly Trials[];
}

interface Trials extends StepTrials {
  readonly step: string;
}

interface Of {
  /** When it was looked at first, as {@link Window.until}. */
  readonly since: number;
  /** By process: what it had counted when it was looked at last. */
  readonly seen: Map<string, readonly Count[]>;
  /** By step and process. */
  readonly seenTrials: Map<string, readonly StepTrials[]>;
  windows: Window[];
  times?: WaitingTimes;
}

/**
 * What pods count, as increments: each increment is handed out until the status says that it was counted. The first look at an
 * owner only says where counting begins: what came before may have been counted by whoever led before. So does the first report of
 * each process, unless it began after that look: one that did not answer then, or was not ready, may have been counted before.
 */
export class TrafficLog {
  readonly #owners = new Map<string, Of>();

  /** @param time of the reports, milliseconds since the epoch */
  add(owner: string, reports: readonly Report[], time: number, steps: StepReports = new Map()): void {
    const of: Of = this.#owners.get(owner) ?? { since: time, seen: new Map(), seenTrials: new Map(), windows: [] };
    this.#owners.set(owner, of);
    const isNew = ({ beganAt }: Began) => beganAt !== undefined && beganAt > of.since;
    const trials = [...steps].flatMap(([step, reports]) =>
      reports.flatMap(({ process, trials, ...report }) => {
        const key = `${step} ${process}`;
        const before = of.seenTrials.get(key) ?? (isNew(report) ? [] : undefined);
        of.seenTrials.set(key, trials);
        return before ? trials.map((now) => ({ step, ...moreTrials(now, before) })) : [];
      }),
    );
    if (trials.length > 0) of.windows.push({ until: time, counts: [], trials });
    for (const { process, counts, ...report } of reports) {
      // All that a process has counted that has come meanwhile is new.
      const before = of.seen.get(process) ?? (isNew(report) ? [] : undefined);
      of.seen.set(process, counts);
      if (!before) continue;
      const more = counts.map((now) => increment(now, sameIn(before, now)));
      of.windows.push({ until: time, counts: more, trials: [] });
    }
  }

  /** Whether counting has begun. */
  has(owner: string): boolean {
    return this.#owners.has(owner);
  }

  /**
   * What was counted after `since` and up to `about.until`.
   *
   * @param since `status.rollout.countedUntil`: what came up to it is forgotten
   */
  take(owner: string, since: number, about: About): Traffic {
    const of = this.#owners.get(owner);
    const all = of?.windows ?? [];
    const windows = all.filter((window) => window.until > since);
    if (of) of.windows = windows;
    const taken = windows.filter(({ until }) => until <= about.until);
    const traffic = trafficOf(
      taken.flatMap(({ counts }) => counts),
      about,
      taken.flatMap(({ trials }) => trials),
    );
    if (!of) return traffic;
    // What was timed in another rollout waits for nothing.
    if (of.times?.rollout !== about.rollout) of.times = new WaitingTimes(about.rollout);
    else {
      const past = all.filter((window) => window.until <= since);
      of.times.counted(
        since,
        past.map(({ until, counts }) => ({ until, times: timesOf(counts.filter(isJudged), about) })),
      );
    }
    return { ...traffic, latency: of.times.take(traffic.latency, about) };
  }

  forget(owner: string): void {
    this.#owners.delete(owner);
  }
}

const sameIn = (all: readonly Count[], { version, by }: Count): Count | undefined =>
  all.find((one) => one.version === version && one.by === by);

const less = (a: number, b: number | undefined): number => Math.max(0, a - (b ?? 0));

/** @param before of the same process; one that has begun anew meanwhile counts from its next report on */
function moreTrials(now: StepTrials, before: readonly StepTrials[]): StepTrials {
  const was = before.find(({ rollout, version }) => rollout === now.rollout && version === now.version);
  return { ...now, n: less(now.n, was?.n), dead: less(now.dead, was?.dead) };
}

/** @param before of the same process, so no count is greater than it is now */
function increment(now: Count, before: Count | undefined): Count {
  if (!before) return now;
  const outcome = (a: { n: number; failures: number }, b: { n: number; failures: number } | undefined) => ({
    n: less(a.n, b?.n),
    failures: less(a.failures, b?.failures),
  });
  return {
    ...now,
    requests: less(now.requests, before.requests),
    failures: now.failures.map((one) => {
      const was = before.failures.find(({ blame, reason }) => blame === one.blame && reason === one.reason);
      return { ...one, count: less(one.count, was?.count) };
    }),
    ...(now.keys && { keys: outcome(now.keys, before.keys) }),
    latency: now.latency.map((value, i) => less(value, before.latency[i])),
    ...(now.late && { late: now.late.map((value, i) => less(value, before.late?.[i])) }),
    ...(now.compared && {
      compared: Object.fromEntries(
        Object.entries(now.compared).map(([name, value]) => [name, outcome(value, before.compared?.[name])]),
      ),
    }),
  };
}

interface About {
  readonly candidate: string;
  readonly stable: string;
  /** As trials name it. */
  readonly rollout: string;
  readonly until: number;
  /** The candidate's, percent. */
  readonly weight: number;
  /** Of requests of the stable version, before there is anything to compare times with. */
  readonly leastStable: number;
}

/** What rules and shadows have decided is not: it is not drawn from the traffic. */
const isJudged = ({ by }: Count): boolean => by === 'weight' || by === 'sticky';

const timesOf = (judged: readonly Count[], { candidate, stable }: Pick<About, 'candidate' | 'stable'>): Times => {
  const of = (version: string) => judged.filter((one) => one.version === version).map(({ latency }) => latency);
  const late = judged.flatMap(({ version, late }) => (version === candidate && late ? [late] : []));
  return {
    stable: histogramOf(of(stable)),
    candidate: histogramOf(of(candidate)),
    ...(late.length > 0 && { late: histogramOf(late) }),
  };
};

/** Pure. */
export function trafficOf(
  counts: readonly Count[],
  { candidate, stable, rollout, until }: Pick<About, 'candidate' | 'stable' | 'rollout' | 'until'>,
  trials: readonly Trials[] = [],
): Traffic & { readonly latency: Times } {
  const judged = counts.filter(isJudged);
  const theirs = judged.filter(({ version }) => version === candidate);
  const compared: Record<string, { n: number; failures: number }> = {};
  for (const [name, { n, failures }] of theirs.flatMap((one) => Object.entries(one.compared ?? {}))) {
    const sum = compared[name] ?? { n: 0, failures: 0 };
    compared[name] = { n: sum.n + n, failures: sum.failures + failures };
  }
  return {
    candidate,
    until: new Date(until).toISOString(),
    requests: theirs.reduce((sum, one) => sum + askedOf(one), 0),
    answers: theirs.flatMap((one) => (one.by === 'sticky' ? keyAnswers(one) : requestAnswers(one))),
    latency: timesOf(judged, { candidate, stable }),
    ...(Object.keys(compared).length > 0 && { compared }),
    ...(trials.length > 0 && { deadLetters: deadLettersOf(trials, rollout, candidate, stable) }),
  };
}

/** By step. What was scored in another rollout says nothing of this one. */
function deadLettersOf(
  trials: readonly Trials[],
  rollout: string,
  candidate: string,
  stable: string,
): NonNullable<Traffic['deadLetters']> {
  const ours = trials.filter((one) => one.rollout === rollout);
  const of = (all: readonly Trials[], version: string) => {
    const found = all.filter((one) => one.version === version);
    return {
      n: found.reduce((sum, { n }) => sum + n, 0),
      failures: found.reduce((sum, { dead }) => sum + dead, 0),
    };
  };
  return Object.fromEntries(
    [...Map.groupBy(ours, ({ step }) => step)].map(([step, all]) => [
      step,
      { candidate: of(all, candidate), stable: of(all, stable) },
    ]),
  );
}

/** Requests that went there. */
const askedOf = ({ requests, failures }: Count): number =>
  failures.reduce((rest, { reason, count }) => (reason === noTime ? rest - count : rest), requests);

function requestAnswers({ requests, failures }: Count): Answers[] {
  const failed = failures.reduce((sum, { count }) => sum + count, 0);
  return [
    { candidate: 'Ok', count: requests - failed },
    ...failures.map(({ blame, count }): Answers => {
      if (blame === 'candidate') return { candidate: 'ServerError', stable: 'Ok', count };
      if (blame === 'client') return { candidate: 'ClientError', stable: 'ClientError', count };
      return { candidate: 'ServerError', count };
    }),
  ];
}

/** A key that has failed after the window that counted it is taken back from the good ones: less than none of them. */
const keyAnswers = ({ keys = { n: 0, failures: 0 } }: Count): Answers[] => [
  { candidate: 'Ok', count: keys.n - keys.failures },
  { candidate: 'ServerError', stable: 'Ok', count: keys.failures },
];

const upperBounds = [...latencyBoundsMs, Number.POSITIVE_INFINITY];

/** Of a pod of another release, which has other buckets, nothing can be told. */
function histogramOf(counts: readonly (readonly number[])[]): Histogram {
  const known = counts.filter(({ length }) => length === upperBounds.length);
  return upperBounds.map((le, i) => ({ le, count: known.reduce((sum, one) => sum + (one[i] as number), 0) }));
}
