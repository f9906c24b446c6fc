/** Requests that start at fixed times, whatever becomes of those before: as from many callers that know nothing of each other. */

export interface OpenLoop {
  readonly perSecond: number;
  /** It ends with this one. */
  readonly requests: number;
  /** What would be under way beyond this is refused. */
  readonly underWay: number;
  readonly ask: (index: number) => Promise<void>;
  readonly refuse: () => void;
  readonly isStopped: () => boolean;
}

/** Milliseconds, from when each request was to start: the wait for a late start counts. */
export interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** How late the latest start was: of the client's own making. */
  readonly latestStart: number;
}

/** Resolves when all that were begun have ended. `ask` does not reject. */
export async function openLoop({ perSecond, requests, underWay, ask, refuse, isStopped }: OpenLoop): Promise<Latency> {
  const began = performance.now();
  const took: number[] = [];
  const going = new Set<Promise<void>>();
  let latestStart = 0;
  for (let index = 0; index < requests && !isStopped(); index++) {
    const start = began + (index * 1000) / perSecond;
    const wait = start - performance.now();
    // Timers are not exact: what is due by the next millisecond goes now, in the same turn.
    if (wait >= 1) await new Promise((resolve) => setTimeout(resolve, Math.min(wait, 100)));
    if (start - performance.now() >= 1) {
      index--; // only woken to see whether it is stopped
      continue;
    }
    latestStart = Math.max(latestStart, performance.now() - start);
    if (going.size >= underWay) {
      refuse();
      continue;
    }
    const one: Promise<void> = ask(index).then(() => {
      took.push(performance.now() - start);
      going.delete(one);
    });
    going.add(one);
  }
  await Promise.all(going);
  took.sort((a, b) => a - b);
  const at = (share: number) => Math.round(took[Math.max(0, Math.ceil(took.length * share) - 1)] ?? 0);
  return { p50: at(0.5), p99: at(0.99), max: at(1), latestStart: Math.round(latestStart) };
}
