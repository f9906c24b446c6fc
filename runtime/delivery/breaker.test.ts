import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Breaker,
  failuresToOpen,
  firstOpenMs,
  halfOpenAt,
  longestOpenMs,
  newBreaker,
  onFailure,
  onSuccess,
  permits,
  stateOf,
} from './breaker.ts';

/** After failures at these times. */
const failing = (...times: number[]): Breaker => times.reduce(onFailure, newBreaker());

describe('breaker', () => {
  it('is closed at first, and lets everything through', () => {
    expect([stateOf(newBreaker(), 0), permits(newBreaker(), 0), halfOpenAt(newBreaker())]).toEqual([
      'Closed',
      Infinity,
      undefined,
    ]);
  });

  it('opens after three failures in a row', () => {
    expect(stateOf(failing(0, 0), 0)).toBe('Closed');
    expect(stateOf(failing(0, 0, 0), 0)).toBe('Open');
    const interrupted = onSuccess(failing(0, 0));
    expect(stateOf(onFailure(onFailure(interrupted, 0), 0), 0)).toBe('Closed');
  });

  it('lets nothing through for a second, then one message', () => {
    const breaker = failing(100, 200, 300);
    expect(halfOpenAt(breaker)).toBe(1_300);
    expect([stateOf(breaker, 1_299), permits(breaker, 1_299)]).toEqual(['Open', 0]);
    expect([stateOf(breaker, 1_300), permits(breaker, 1_300)]).toEqual(['HalfOpen', 1]);
  });

  it('is open twice as long after each probe that fails, up to 30 s', () => {
    let breaker = failing(0, 0, 0);
    const opened: number[] = [];
    for (let i = 0; i < 8; i++) {
      const now = halfOpenAt(breaker) as number;
      breaker = onFailure(breaker, now);
      opened.push((halfOpenAt(breaker) as number) - now);
    }
    expect(opened).toEqual([2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000]);
  });

  it('stays open no longer for what was under way when it opened', () => {
    const breaker = failing(0, 0, 0);
    expect(onFailure(breaker, 999)).toEqual(breaker);
  });

  it('closes when a probe is answered, and starts from a second again', () => {
    let breaker = failing(0, 0, 0, 1_000);
    breaker = onSuccess(breaker);
    expect(breaker).toEqual(newBreaker());
    for (let i = 0; i < 3; i++) breaker = onFailure(breaker, 5_000);
    expect(halfOpenAt(breaker)).toBe(6_000);
  });

  it('never lets anything through while it is open, and is never open for longer than 30 s', () => {
    const step = fc.tuple(fc.constantFrom('success', 'failure'), fc.integer({ min: 0, max: 40_000 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        let breaker = newBreaker();
        let now = 0;
        let inRow = 0;
        for (const [news, passed] of steps) {
          now += passed;
          const before = stateOf(breaker, now);
          breaker = news === 'success' ? onSuccess(breaker) : onFailure(breaker, now);
          inRow = news === 'success' ? 0 : inRow + 1;
          const state = stateOf(breaker, now);
          expect(state === 'Closed').toBe(inRow < failuresToOpen);
          expect(permits(breaker, now)).toBe({ Closed: Infinity, Open: 0, HalfOpen: 1 }[state]);
          const at = halfOpenAt(breaker);
          expect(at === undefined).toBe(state === 'Closed');
          if (at !== undefined) {
            expect(at - now).toBeLessThanOrEqual(longestOpenMs);
            if (before !== 'Open') expect(at - now).toBeGreaterThanOrEqual(firstOpenMs);
            expect(permits(breaker, at - 0.5)).toBe(0);
            expect(permits(breaker, at)).toBe(1);
          }
        }
      }),
    );
  });
});
