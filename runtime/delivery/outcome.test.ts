import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RetryPolicy } from '../../api/contract/pipeline.ts';
import { eventErrors } from '../../api/errors/events.ts';
import type { wireErrors } from '../../api/errors/wire.ts';
import { type ErrorCode, errors } from '../../api/errors.ts';
import { breakerStates } from '../../api/v1alpha1/event-pipeline.ts';
import type { BreakerState } from './breaker.ts';
import { type AttemptEnd, type BreakerNews, decide, rungs, toRung } from './outcome.ts';

const policy: RetryPolicy = { maxAttempts: 5, initialMs: 1_000, factor: 2, maxMs: 60_000 };
const failure = (code: ErrorCode, retryAfterMs?: number): AttemptEnd => ({
  kind: 'failed',
  code,
  message: 'it says so',
  ...(retryAfterMs !== undefined && { retryAfterMs }),
});
const decided = (end: AttemptEnd, attempt = 1, breaker: BreakerState = 'Closed', retry = policy) =>
  decide({ end, attempt, retry, breaker });

describe('attempts that did not fail', () => {
  it.each([
    ['done', { end: 'done', breaker: 'success' }],
    ['skipped', { end: 'skipped', breaker: 'none' }],
    ['duplicate', { end: 'duplicate', breaker: 'none' }],
    ['aborted', { end: 'released', breaker: 'none' }],
    ['leased', { end: 'retry', delayMs: 1_000, nextAttempt: 1, breaker: 'none' }],
  ] as const)('%s', (kind, decision) => {
    for (const breaker of breakerStates) expect(decided({ kind }, 1, breaker)).toEqual(decision);
  });

  it('waits for a lease as often as it takes', () => {
    expect(decided({ kind: 'leased' }, 5)).toMatchObject({ end: 'retry', nextAttempt: 5 });
    const atOnce = { maxAttempts: 5, initialMs: 0, factor: 10, maxMs: 0 };
    expect(decided({ kind: 'leased' }, 1_000, 'Closed', atOnce)).toMatchObject({ delayMs: 1_000, nextAttempt: 1_000 });
  });
});

type Row = readonly ['dead' | 'retry', BreakerNews];

/** What the first of five attempts means for the message, and for the breaker. */
const rows: Record<keyof typeof eventErrors, Row> & Partial<Record<keyof typeof wireErrors, Row>> = {
  HandlerRejected: ['dead', 'success'],
  HandlerBusy: ['retry', 'success'],
  HandlerFailed: ['retry', 'success'],
  HandlerUnavailable: ['retry', 'failure'],
  HandlerTimeout: ['retry', 'none'],
  HandlerClosed: ['retry', 'none'],
  HostUnknown: ['retry', 'failure'],
  ReplyTooLarge: ['dead', 'success'],
  ReplyInvalid: ['dead', 'success'],
  EventUndeclared: ['dead', 'success'],
  MessageInvalid: ['dead', 'none'],
  MessageTooLarge: ['dead', 'none'],
  ExpressionFailed: ['dead', 'none'],
  ExpressionLimit: ['dead', 'none'],
  ExpressionWrongType: ['dead', 'none'],
  ModelInputMismatch: ['dead', 'none'],
  // What a model answers.
  InvalidJson: ['dead', 'success'],
  InvalidInput: ['dead', 'success'],
  WrongShape: ['dead', 'success'],
  WrongDatatype: ['dead', 'success'],
  UnknownInput: ['dead', 'success'],
  MissingInput: ['dead', 'success'],
  UnknownOutput: ['dead', 'success'],
  UnsupportedMediaType: ['dead', 'success'],
  BodyTooLarge: ['dead', 'success'],
  RouteNotFound: ['dead', 'success'],
  MethodNotAllowed: ['dead', 'success'],
  UnknownModel: ['dead', 'success'],
  UnknownVersion: ['dead', 'success'],
  ModelNotReady: ['retry', 'success'],
  QueueFull: ['retry', 'success'],
  MemoryBudget: ['retry', 'success'],
  DeadlineExceeded: ['retry', 'success'],
  InferenceFailed: ['dead', 'success'],
  OutputNotFinite: ['dead', 'success'],
  SimpleApiUnsupported: ['dead', 'success'],
  // What is emitted, and where it goes.
  EventBreaksSchema: ['dead', 'none'],
  BrokerFull: ['retry', 'none'],
  BrokerUnavailable: ['retry', 'none'],
  InternalError: ['retry', 'none'],
  // What another pipeline's source answers to a step that posts to it.
  SourceUnavailable: ['retry', 'none'],
  IdempotencyKeyInvalid: ['dead', 'success'],
  IdempotencyKeyReused: ['dead', 'success'],
  IdempotencyKeyInUse: ['retry', 'success'],
};

describe('attempts that failed', () => {
  for (const [code, [end, breaker]] of Object.entries(rows) as [ErrorCode, Row][]) {
    it(`${code}: ${end}; the breaker is told ${breaker}`, () => {
      const first = decided(failure(code));
      if (end === 'dead') expect(first).toEqual({ end, reason: code, breaker });
      else expect(first).toEqual({ end, delayMs: 1_000, nextAttempt: 2, breaker, reason: code });
      expect(decided(failure(code), 5)).toEqual({ end: 'dead', reason: code, breaker });
    });
  }

  it.each(['HandlerUnavailable', 'HostUnknown'] as const)(
    '%s counts no attempt unless the breaker is closed',
    (code) => {
      for (const breaker of ['Open', 'HalfOpen'] as const) {
        const again = { end: 'retry', delayMs: 30_000, nextAttempt: 5, breaker: 'failure', reason: code };
        expect(decided(failure(code), 5, breaker)).toEqual(again);
      }
    },
  );

  it.each(['Open', 'HalfOpen'] as const)('counts other failures while the breaker is %s', (breaker) => {
    expect(decided(failure('HandlerFailed'), 1, breaker)).toMatchObject({ end: 'retry', nextAttempt: 2 });
    expect(decided(failure('HandlerFailed'), 5, breaker)).toMatchObject({ end: 'dead', reason: 'HandlerFailed' });
    expect(decided(failure('HandlerRejected'), 1, breaker)).toMatchObject({ end: 'dead' });
  });

  it('ends a message that has had more attempts than are allowed by now', () => {
    expect(decided(failure('HandlerFailed'), 9)).toMatchObject({ end: 'dead' });
  });
});

describe('delays', () => {
  it.each([
    ['1s, 2, 1m', 1_000, 2, 60_000, [1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 60_000]],
    ['500ms, 3, 20s', 500, 3, 20_000, [1_000, 2_000, 5_000, 30_000, 30_000]],
    ['0s', 0, 10, 0, [1_000, 1_000, 1_000]],
    ['1h, 1, 1h', 3_600_000, 1, 3_600_000, [3_600_000, 3_600_000]],
    ['longer than its own limit', 60_000, 2, 5_000, [5_000, 5_000]],
  ])('%s', (_, initialMs, factor, maxMs, delays) => {
    const retry = { maxAttempts: 100, initialMs, factor, maxMs };
    const found = delays.map((_, i) => decided(failure('HandlerFailed'), i + 1, 'Closed', retry));
    expect(found.map((decision) => decision.end === 'retry' && decision.delayMs)).toEqual(delays);
  });

  it.each([
    ['shorter than the backoff', 100, 1_000],
    ['longer', 1_001, 2_000],
    ['longer than max', 120_000, 300_000],
    ['longer than the top rung', 7_200_000, 7_200_000],
    ['longer than a day', 86_400_001, 86_400_000],
    ['for ever', Infinity, 86_400_000],
    ['in the past', -5_000, 1_000],
    ['not a number', Number.NaN, 1_000],
  ])('Retry-After %s', (_, retryAfterMs, delayMs) => {
    expect(decided(failure('HandlerBusy', retryAfterMs))).toMatchObject({ delayMs });
    expect(decided(failure('HandlerUnavailable', retryAfterMs), 1, 'Open')).toMatchObject({ delayMs });
  });

  it('rounds up to a rung', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 3_600_000, noNaN: true }), (ms) => {
        const rung = toRung(ms);
        expect(rungs).toContain(rung);
        expect(rung).toBeGreaterThanOrEqual(ms);
        for (const lower of rungs.filter((other) => other < rung)) expect(lower).toBeLessThan(ms);
      }),
    );
  });
});

describe('the whole', () => {
  const codes = Object.keys(errors) as ErrorCode[];
  const code = fc.constantFrom(...codes);
  const retry = fc.record({
    maxAttempts: fc.integer({ min: 1, max: 100 }),
    initialMs: fc.integer({ min: 0, max: 3_600_000 }),
    factor: fc.double({ min: 1, max: 10, noNaN: true }),
    maxMs: fc.integer({ min: 0, max: 3_600_000 }),
  });
  const breaker = fc.constantFrom(...breakerStates);
  const retryAfterMs = fc.option(fc.double({ noNaN: false }), { nil: undefined });
  const end = fc.oneof(
    fc.constantFrom<AttemptEnd>({ kind: 'done' }, { kind: 'aborted' }, { kind: 'leased' }, { kind: 'skipped' }),
    fc
      .tuple(fc.constantFrom<ErrorCode>(...(Object.keys(eventErrors) as ErrorCode[])), retryAfterMs)
      .map((args) => failure(...args)),
    fc.tuple(code, retryAfterMs).map((args) => failure(...args)),
  );

  it('ends every message after at most maxAttempts counted attempts, and not before where it may pass', () => {
    fc.assert(
      fc.property(retry, fc.infiniteStream(fc.tuple(end, breaker)), (policy, ends) => {
        let attempt = 1;
        let counted = 0;
        for (let i = 0; i < 2_000; i++) {
          const { value } = ends.next() as { value: [AttemptEnd, BreakerState] };
          const [ended, state] = value;
          const decision = decide({ end: ended, attempt, retry: policy, breaker: state });
          if (decision.end === 'retry') {
            const asked = ended.kind === 'failed' ? (ended.retryAfterMs ?? 0) : 0;
            if (asked > 3_600_000) expect(decision.delayMs).toBe(Math.min(asked, 86_400_000));
            else expect(rungs).toContain(decision.delayMs);
            expect([attempt, attempt + 1]).toContain(decision.nextAttempt);
            counted += decision.nextAttempt - attempt;
            expect(counted).toBeLessThan(policy.maxAttempts);
            attempt = decision.nextAttempt;
          } else if (decision.end !== 'released') {
            if (decision.end === 'dead' && errors[decision.reason].outcome !== 'terminal') {
              expect(attempt).toBe(policy.maxAttempts);
            }
            return;
          }
        }
        throw new Error('it never ended');
      }),
      { numRuns: 200 },
    );
  });

  it('waits no less after each further attempt', () => {
    fc.assert(
      fc.property(retry, fc.integer({ min: 1, max: 99 }), (policy, attempt) => {
        const of = (n: number) => {
          const decision = decided(failure('HandlerFailed'), n, 'Closed', { ...policy, maxAttempts: 1_000 });
          return decision.end === 'retry' ? decision.delayMs : Number.NaN;
        };
        expect(of(attempt + 1)).toBeGreaterThanOrEqual(of(attempt));
        expect(of(attempt)).toBeLessThanOrEqual(Math.max(1_000, toRung(policy.maxMs)));
      }),
    );
  });

  it('tells the breaker of a failure where the registry says wait, and only there', () => {
    fc.assert(
      fc.property(code, fc.integer({ min: 1, max: 10 }), breaker, (code, attempt, state) => {
        expect(decided(failure(code), attempt, state).breaker === 'failure').toBe(errors[code].outcome === 'wait');
      }),
    );
  });
});
