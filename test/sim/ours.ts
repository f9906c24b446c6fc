import { decideRollout } from '../../operator/plan/rollout/rollout.ts';
import { timeOf } from '../../operator/plan/rollout/time.ts';
import type { RolloutSpec, RolloutStatus, Traffic, Wanted } from '../../operator/plan/rollout/types.ts';
import type { Random } from './random.ts';
import { type Candidate, drawTraffic } from './traffic.ts';

/** As docs/guides have it for a model that callers wait for. */
const rollout: RolloutSpec = {
  interval: '15s',
  steps: [
    { weight: 5, hold: '1m' },
    { weight: 25, hold: '5m' },
    { weight: 50, hold: '5m' },
  ],
  minRequests: 600,
  progressDeadline: '2h',
  promotionHold: '10m',
  gates: [
    { errorRate: { max: 0.01 } },
    { latency: { quantile: 0.99, maxRatio: 1.2 } },
    { disagreement: { output: 'label', max: 0.05 } },
  ],
  onFailure: 'Rollback',
};

export interface Outcome {
  readonly end: 'Promoted' | 'RolledBack' | 'AsksAPerson' | 'Undecided';
  /** Seconds from the first request to the candidate. */
  readonly seconds: number;
  /** The most that it ever had. */
  readonly weight: number;
  readonly harmed: number;
  /** Why it went back. */
  readonly gate?: string;
}

const intervalSeconds = 15;
const wanted: Wanted = { serve: 'v2', versions: ['v1', 'v2'], rollout };
const ready = { ready: 1, fullCapacity: true };
const begun = 1_900_000_000_000;

/** A rollout under the pure parts, with a clock that only the loop moves. Pods take up a weight at once. */
export function simulate(random: Random, candidate: Candidate): Outcome {
  let status: RolloutStatus | undefined;
  let traffic: Traffic | undefined;
  let [front, weight, most, harmed] = ['v1', 0, 0, 0];
  for (let seconds = 0; seconds < 24 * 3_600; seconds += intervalSeconds) {
    const now = timeOf(begun + seconds * 1_000);
    const observed = {
      front,
      versions: { v1: ready, v2: ready },
      appliedWeight: weight,
      ...(traffic && { traffic: { ...traffic, until: now } }),
    };
    const decision = decideRollout(wanted, status, observed, now);
    const done = { seconds, weight: most, harmed };
    if (decision.phase === 'Holding') return { end: 'Promoted', ...done };
    if (decision.phase === 'RolledBack') return { end: 'RolledBack', ...done, gate: decision.lastRollback?.gate ?? '' };
    ({ status, front, weight } = decision);
    most = Math.max(most, weight);
    const window = drawTraffic(random, candidate, weight, intervalSeconds);
    traffic = { ...window.counted, candidate: 'v2', until: now };
    harmed += window.harmed;
  }
  throw new Error('neither promoted nor rolled back in a day, although there is a deadline');
}
