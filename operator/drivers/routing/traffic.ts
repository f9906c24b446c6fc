import { latencyBoundsMs } from '../../../api/contract/routing-table.ts';
import type { Histogram } from '../../plan/rollout/histogram.ts';
import type { Answers, Traffic } from '../../plan/rollout/types.ts';
import type { Report } from './report.ts';

type Count = Report['counts'][number];

/** What was counted between two looks at one process. */
interface Window {
  /** Monotonic within one owner: milliseconds since the epoch, of the operator's clock. */
  readonly until: number;
  readonly counts: readonly Count[];
}

interface Of {
  /** By process: what it had counted when it was looked at last. */
  readonly seen: Map<string, readonly Count[]>;
  windows: Window[];
}

/**
 * What pods count, as increments: each increment is handed out until the status says that it was counted. The first look at an
 * owner only says where counting begins: what came before may have been counted by whoever led before.
 */
export class TrafficLog {
  readonly #owners = new Map<string, Of>();

  /** @param time of the reports, milliseconds since the epoch */
  add(owner: string, reports: readonly Report[], time: number): void {
    const known = this.#owners.get(owner);
    const of: Of = known ?? { seen: new Map(), windows: [] };
    this.#owners.set(owner, of);
    for (const { process, counts } of reports) {
      // All that a process has counted that has come meanwhile is new.
      const before = of.seen.get(process) ?? (known && []);
      of.seen.set(process, counts);
      if (before) of.windows.push({ until: time, counts: counts.map((now) => increment(now, sameIn(before, now))) });
    }
  }

  /** Whether counting has begun. */
  has(owner: string): boolean {
    return this.#owners.has(owner);
  }

  /**
   * What was counted after `since` and up to `until`.
   *
   * @param since `status.rollout.countedUntil`: what came up to it is forgotten
   */
  take(owner: string, since: number, until: number, candidate: string, stable: string): Traffic {
    const of = this.#owners.get(owner);
    const windows = (of?.windows ?? []).filter((window) => window.until > since);
    if (of) of.windows = windows;
    return trafficOf(
      windows.filter((window) => window.until <= until).flatMap(({ counts }) => counts),
      { candidate, stable, until },
    );
  }

  forget(owner: string): void {
    this.#owners.delete(owner);
  }
}

const sameIn = (all: readonly Count[], { version, by }: Count): Count | undefined =>
  all.find((one) => one.version === version && one.by === by);

/** @param before of the same process, so no count is greater than it is now */
function increment(now: Count, before: Count | undefined): Count {
  if (!before) return now;
  const less = (a: number, b: number | undefined) => Math.max(0, a - (b ?? 0));
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
  readonly until: number;
}

/** Pure. What rules and shadows have decided is not judged: it is not drawn from the traffic. */
export function trafficOf(counts: readonly Count[], { candidate, stable, until }: About): Traffic {
  const judged = counts.filter(({ by }) => by === 'weight' || by === 'sticky');
  const of = (version: string) => judged.filter((one) => one.version === version);
  const theirs = of(candidate);
  const compared: Record<string, { n: number; failures: number }> = {};
  for (const [name, { n, failures }] of theirs.flatMap((one) => Object.entries(one.compared ?? {}))) {
    const sum = compared[name] ?? { n: 0, failures: 0 };
    compared[name] = { n: sum.n + n, failures: sum.failures + failures };
  }
  return {
    candidate,
    until: new Date(until).toISOString(),
    requests: theirs.reduce((sum, { requests }) => sum + requests, 0),
    answers: theirs.flatMap((one) => (one.by === 'sticky' ? keyAnswers(one) : requestAnswers(one))),
    latency: { stable: histogramOf(of(stable)), candidate: histogramOf(theirs) },
    ...(Object.keys(compared).length > 0 && { compared }),
  };
}

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

const keyAnswers = ({ keys = { n: 0, failures: 0 } }: Count): Answers[] => [
  { candidate: 'Ok', count: keys.n - keys.failures },
  { candidate: 'ServerError', stable: 'Ok', count: keys.failures },
];

function histogramOf(counts: readonly Count[]): Histogram {
  return [...latencyBoundsMs, Number.POSITIVE_INFINITY].map((le, i) => ({
    le,
    count: counts.reduce((sum, { latency }) => sum + (latency[i] ?? 0), 0),
  }));
}
