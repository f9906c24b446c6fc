import type { breakerStates } from '../../api/v1alpha1/event-pipeline.ts';

/**
 * Keeps a step from taking messages while the other side is not there. Closed: takes all. Open: none. HalfOpen: one at
 * a time, to see whether it is back. Times are milliseconds of whatever clock the caller has.
 */
export type BreakerState = (typeof breakerStates)[number];

/** A value: each function gives the next one. */
export interface Breaker {
  /** In a row. */
  readonly failures: number;
  /** Since it was closed last: that is how long the next one will be. */
  readonly openings: number;
  /** Until when it is open; absent: Closed. */
  readonly openUntil?: number;
}

/** Failures in a row that open it. */
export const failuresToOpen = 3;
/** How long it is open the first time; twice as long each further time, up to the longest. */
export const firstOpenMs = 1_000;
export const longestOpenMs = 30_000;

/** Closed. */
export const newBreaker = (): Breaker => ({ failures: 0, openings: 0 });

export function stateOf({ openUntil }: Breaker, now: number): BreakerState {
  if (openUntil === undefined) return 'Closed';
  return now < openUntil ? 'Open' : 'HalfOpen';
}

/** When it lets one message through: what a timer is set for. Absent: it is Closed. */
export const halfOpenAt = ({ openUntil }: Breaker): number | undefined => openUntil;

/** Messages that may be in hand. */
export function permits(breaker: Breaker, now: number): number {
  const state = stateOf(breaker, now);
  if (state === 'Closed') return Number.POSITIVE_INFINITY;
  return state === 'Open' ? 0 : 1;
}

/** The other side has answered, whatever it said. */
export function onSuccess(breaker: Breaker): Breaker {
  return breaker.failures === 0 ? breaker : newBreaker();
}

/** The other side was not there. */
export function onFailure(breaker: Breaker, now: number): Breaker {
  const { failures, openings } = breaker;
  switch (stateOf(breaker, now)) {
    case 'Closed':
      return failures + 1 < failuresToOpen ? { failures: failures + 1, openings: 0 } : open(0, now);
    case 'HalfOpen':
      return open(openings, now);
    case 'Open':
      return breaker; // it was under way already when the breaker opened
  }
}

function open(openings: number, now: number): Breaker {
  const ms = Math.min(longestOpenMs, firstOpenMs * 2 ** openings);
  return { failures: failuresToOpen, openings: openings + 1, openUntil: now + ms };
}
