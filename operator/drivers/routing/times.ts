import { countOf, type Histogram } from '../../plan/rollout/histogram.ts';

export interface Times {
  readonly stable: Histogram;
  readonly candidate: Histogram;
  /** What the candidate was late with, by the time that it was given. */
  readonly late?: Histogram;
}

/** Durations that were counted up to some time, milliseconds since the epoch. */
interface Window {
  readonly until: number;
  readonly times: Times;
}

interface About {
  readonly until: number;
  /** The candidate's, percent. */
  readonly weight: number;
  /** So many of the stable version have the quantile that is asked for. */
  readonly leastStable: number;
}

const none: Times = { stable: [], candidate: [] };

/**
 * Durations of one rollout that wait until there are enough of the stable version, of the same time, to compare with. Each is
 * handed out until the status says that it was counted, then never again.
 */
export class WaitingTimes {
  readonly rollout: string;
  /** Of windows that the status has counted without them. */
  #waiting = none;
  /** The stable version's that were enough last: at 100 % there will be no others. */
  #reference: Histogram | undefined;
  /** Up to when all was handed out. */
  #handed: readonly number[] = [];

  constructor(rollout: string) {
    this.rollout = rollout;
  }

  /** The status has counted up to `since`. @param windows up to then, that were not here yet */
  counted(since: number, windows: readonly Window[]): void {
    const used = Math.max(Number.NEGATIVE_INFINITY, ...this.#handed.filter((until) => until <= since));
    if (Number.isFinite(used)) this.#waiting = none;
    this.#handed = this.#handed.filter((until) => until > since);
    for (const { until, times } of windows) if (until > used) this.#waiting = sumOf(this.#waiting, times);
  }

  /** What there is to compare with `fresh`: without the candidate's while the stable version's are too few. */
  take(fresh: Times, { until, weight, leastStable }: About): Times {
    const { stable, ...theirs } = sumOf(this.#waiting, fresh);
    const isEnough = countOf(stable) >= leastStable;
    if (isEnough) this.#reference = stable;
    const reference = isEnough ? stable : weight >= 100 ? this.#reference : undefined;
    if (!reference) return { stable, candidate: [] };
    this.#handed = [...this.#handed, until];
    return { stable: isEnough ? stable : merge(reference, stable), ...theirs };
  }
}

function sumOf(a: Times, b: Times): Times {
  const late = merge(a.late ?? [], b.late ?? []);
  return {
    stable: merge(a.stable, b.stable),
    candidate: merge(a.candidate, b.candidate),
    ...(late.length > 0 && { late }),
  };
}

/** Of the same buckets, or empty. */
function merge(a: Histogram, b: Histogram): Histogram {
  if (a.length === 0 || b.length === 0) return a.length === 0 ? b : a;
  return a.map(({ le, count }, i) => ({ le, count: count + (b[i]?.count ?? 0) }));
}
