import type { Outcome } from './ours.ts';
import type { Random } from './random.ts';
import { type Candidate, drawAnswers, slowerThan, slowMs } from './traffic.ts';

/**
 * The rules of Flagger and Argo Rollouts, with the settings of their guides, on the same traffic: a check a minute, of the success
 * rate (at least 99 %) and of the p99 (at most 1.2 × that of the stable version before + 5 ms; neither compares with the stable version). Neither scores a
 * request twice, so what a model says is not judged. What the candidate fails at, the caller sees.
 */
const minute = 60;

function check(random: Random, candidate: Candidate, weight: number) {
  const n = Math.floor((50 * minute * weight) / 100 + random.uniform());
  const { failed, bothFailed, ok } = drawAnswers(random, candidate, n);
  const { stableP99, slower } = candidate;
  const slow = random.binomial(ok, slowerThan(slowMs(stableP99), stableP99 * slower));
  const flipped = random.binomial(ok, candidate.flips);
  return {
    successRate: n === 0 ? Number.NaN : 1 - (failed + bothFailed) / n,
    /** Nearest rank. */
    isQuick: ok - slow >= Math.ceil(0.99 * ok),
    harmed: failed + slow + flipped,
  };
}

/**
 * Flagger 1.44 (pkg/controller/scheduler.go; docs/gitbook/usage/how-it-works.md): `interval: 1m`, `threshold: 10`, `stepWeight: 5`,
 * `maxWeight: 50`. A check that fails is counted, for the whole run, and the weight stays. The check after the tenth ends it.
 */
export function flagger(random: Random, candidate: Candidate): Outcome {
  let [weight, failedChecks, harmed] = [5, 0, 0];
  for (let seconds = minute; ; seconds += minute) {
    const seen = check(random, candidate, weight);
    harmed += seen.harmed;
    const done = { seconds, weight, harmed };
    if (failedChecks >= 10) return { end: 'RolledBack', ...done };
    if (!(seen.successRate >= 0.99 && seen.isQuick)) failedChecks++;
    else if (weight >= 50) return { end: 'Promoted', ...done };
    else weight += 5;
  }
}

/**
 * Argo Rollouts 1.9 (analysis/analysis.go; docs/features/analysis.md): our steps and holds, and an analysis in the background with
 * `interval: 1m`, `failureLimit: 3`, `inconclusiveLimit: 3`; the success rate has `successCondition: result >= 0.99` and
 * `failureCondition: result < 0.95`, and what lies between is inconclusive, which pauses the rollout for a person.
 */
export function argo(random: Random, candidate: Candidate): Outcome {
  let [failed, slow, inconclusive, harmed, seconds] = [0, 0, 0, 0, 0];
  for (const [weight, minutes] of [
    [5, 1],
    [25, 5],
    [50, 5],
  ] as const) {
    for (let i = 0; i < minutes; i++) {
      const seen = check(random, candidate, weight);
      seconds += minute;
      harmed += seen.harmed;
      if (seen.successRate < 0.95) failed++;
      else if (seen.successRate < 0.99) inconclusive++;
      if (!seen.isQuick) slow++;
      const done = { seconds, weight, harmed };
      if (failed > 3 || slow > 3) return { end: 'RolledBack', ...done };
      if (inconclusive > 3) return { end: 'AsksAPerson', ...done };
    }
  }
  return { end: 'Promoted', seconds, weight: 50, harmed };
}
