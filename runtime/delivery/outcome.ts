import type { RetryPolicy } from '../../api/contract/pipeline.ts';
import { type ErrorCode, errors } from '../../api/errors.ts';
import type { BreakerState } from './breaker.ts';

/** What an attempt of a step ended with. */
export type AttemptEnd =
  | { readonly kind: 'done' }
  /** `when` was false. */
  | { readonly kind: 'skipped' }
  /** Its key is done already. */
  | { readonly kind: 'duplicate' }
  /** Another delivery holds the lease of its key. */
  | { readonly kind: 'leased' }
  | {
      readonly kind: 'failed';
      readonly code: ErrorCode;
      readonly message: string;
      /** What the other side asked for, milliseconds. */
      readonly retryAfterMs?: number;
    }
  /** The drain's time was over. */
  | { readonly kind: 'aborted' };

export interface Attempt {
  readonly end: AttemptEnd;
  /** From 1. */
  readonly attempt: number;
  readonly retry: RetryPolicy;
  /** When the attempt ended, before it is told of it. */
  readonly breaker: BreakerState;
}

/** What the breaker is told: that the other side lives, that it does not, or nothing. */
export type BreakerNews = 'success' | 'failure' | 'none';

/** What becomes of the message. */
export type Decision =
  | { readonly end: 'done' | 'skipped' | 'duplicate' | 'released'; readonly breaker: BreakerNews }
  | {
      readonly end: 'retry';
      /** One of {@link rungs}; longer only where the other side asked for it. */
      readonly delayMs: number;
      /** For the message's `delivery.attempt`: the same again where no attempt was counted. */
      readonly nextAttempt: number;
      readonly breaker: BreakerNews;
      readonly reason?: ErrorCode;
    }
  | { readonly end: 'dead'; readonly reason: ErrorCode; readonly breaker: BreakerNews };

/** Delays that a message can have, milliseconds: brokers have one delay queue for each. */
export const rungs = [1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000] as const;
const top = 3_600_000;
/** Milliseconds: whoever asks for longer gets this. */
export const longestDelayMs = 24 * 3_600_000;

/** The first rung that is at least `ms`; the top one where there is none. */
export function toRung(ms: number): number {
  return rungs.find((rung) => rung >= ms) ?? top;
}

/**
 * Failures that say nothing about the other side: they happen before it is asked, after it has answered, or while there
 * is no answer. Everything else that is not `wait` is an answer, and so a sign of life.
 */
const saysNothing: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'HandlerTimeout',
  'HandlerClosed',
  'MessageInvalid',
  'MessageTooLarge',
  'ExpressionFailed',
  'ExpressionLimit',
  'ExpressionWrongType',
  'ModelInputMismatch',
  'EventBreaksSchema',
  'BrokerFull',
  'BrokerUnavailable',
  'SourceUnavailable',
  'InternalError',
]);

/** What becomes of a message after an attempt: design.md §3, "Delivery". */
export function decide(ended: Attempt): Decision {
  const { end, attempt } = ended;
  switch (end.kind) {
    case 'done':
      return { end: 'done', breaker: 'success' };
    case 'skipped':
    case 'duplicate':
      return { end: end.kind, breaker: 'none' };
    case 'aborted':
      return { end: 'released', breaker: 'none' };
    case 'leased':
      return { end: 'retry', delayMs: delay(ended, 0), nextAttempt: attempt, breaker: 'none' };
    case 'failed':
      return failed(ended, end.code, end.retryAfterMs || 0);
  }
}

function failed(ended: Attempt, reason: ErrorCode, retryAfterMs: number): Decision {
  const { attempt, retry } = ended;
  const { outcome } = errors[reason];
  const breaker = outcome === 'wait' ? 'failure' : saysNothing.has(reason) ? 'none' : 'success';
  if (outcome === 'terminal') return { end: 'dead', reason, breaker };
  const delayMs = delay(ended, retryAfterMs);
  // The message is not to blame, and goes behind the others: another one is the next to try.
  if (outcome === 'wait' && ended.breaker !== 'Closed') {
    return { end: 'retry', delayMs, nextAttempt: attempt, breaker, reason };
  }
  if (attempt >= retry.maxAttempts) return { end: 'dead', reason, breaker };
  return { end: 'retry', delayMs, nextAttempt: attempt + 1, breaker, reason };
}

/**
 * No jitter: a message that is due waits its turn in the queue, so that it is the step's concurrency that keeps those
 * which failed together from arriving together.
 */
function delay({ attempt, retry: { initialMs, factor, maxMs } }: Attempt, retryAfterMs: number): number {
  const backoff = initialMs === 0 ? 0 : Math.min(maxMs, initialMs * factor ** (attempt - 1));
  // What is above the ladder climbs it more than once: the transport knows how.
  return retryAfterMs > top ? Math.min(retryAfterMs, longestDelayMs) : toRung(Math.max(backoff, retryAfterMs));
}
