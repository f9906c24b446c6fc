import { describeGate, gateName, judgeGates } from './gates.ts';
import { begin, conclude, countingAnew, deadlineOf, holdEndOf, type Look, readyOf, say } from './look.ts';
import { durationMs, msOf, timeOf } from './time.ts';
import type { GateStatus, RolloutStatus, Step, UnderWay } from './types.ts';

/** Where a rollout is, now that commands have been heard: it goes a step on, waits, or goes back. */
export function progress(before: UnderWay, look: Look): RolloutStatus {
  const applied = { ...before, appliedWeight: look.observed.appliedWeight ?? 0 };
  switch (before.phase) {
    case 'RolledBack':
    case 'Aborted':
      return withoutLeaving(applied);
    case 'Holding':
      return holding(applied, look);
  }
  const rollout = withoutLeaving(withBeginning(count(applied, look), look));
  const why = failureOf(rollout, look);
  if (why) return fail(rollout, why, look);
  switch (rollout.phase) {
    case 'Paused':
      return rollout;
    case 'Promoting':
      return promoting(rollout, look);
    default:
      return rollout.promoted ? promoting(rollout, look) : stepping(rollout, look);
  }
}

/** Once no pod hands it requests any more, the candidate of before may go. */
function withoutLeaving(rollout: UnderWay): UnderWay {
  if (rollout.leaving === undefined || rollout.appliedWeight > 0) return rollout;
  const { leaving: _, ...rest } = rollout;
  return rest;
}

/** A step begins when every pod has its weight. */
function withBeginning(rollout: UnderWay, { time }: Look): UnderWay {
  const { stepStartedAt, weight, appliedWeight } = rollout;
  return stepStartedAt === undefined && weight > 0 && weight === appliedWeight
    ? { ...rollout, stepStartedAt: time }
    : rollout;
}

/**
 * With a gate that is new, or counts something else, all begin anew. It needs keys that pods have counted already; once these are
 * forgotten, the other gates would count them twice, and a key is one trial.
 */
function withGates(rollout: UnderWay, look: Look): UnderWay {
  const { gates, startedAt, countedFrom = startedAt } = rollout;
  const isKnown = (name: string) => gates.some(({ gate }) => gate === name);
  const isNew = look.spec.gates.some((gate) => !isKnown(gateName(gate)));
  return isNew && countedFrom !== look.time ? countingAnew(rollout, look) : rollout;
}

/** Takes what has been counted, once. */
function count(before: UnderWay, look: Look): UnderWay {
  const rollout = withGates(before, look);
  const { spec, observed, wanted } = look;
  const { traffic } = observed;
  const isNew =
    traffic?.candidate === rollout.candidate && msOf(traffic.until) > msOf(rollout.countedUntil) ? traffic : undefined;
  return {
    ...rollout,
    gates: judgeGates(spec.gates, rollout.gates, isNew, wanted.broken),
    requests: rollout.requests + (isNew?.requests ?? 0),
    countedUntil: isNew?.until ?? rollout.countedUntil,
  };
}

/** What ends it: a gate, or time. */
interface Failure {
  readonly gate: string;
  readonly message: string;
  readonly found?: GateStatus;
}

const failedGate = ({ overruled, gates }: UnderWay): GateStatus | undefined =>
  overruled ? undefined : gates.find(({ verdict }) => verdict === 'Fail');

function failureOf(rollout: UnderWay, look: Look): Failure | undefined {
  const found = failedGate(rollout);
  if (found) return { gate: found.gate, message: describeGate(found), found };
  const waitsForSomebody = rollout.phase === 'Paused' || rollout.phase === 'AwaitingApproval';
  if (waitsForSomebody || look.now < deadlineOf(rollout, look)) return undefined;
  const message = `no progress for ${look.spec.progressDeadline}: ${rollout.message}`;
  return { gate: 'progressDeadline', message };
}

function fail(rollout: UnderWay, failure: Failure, look: Look): UnderWay {
  if (look.spec.onFailure === 'Rollback') return rollBack(rollout, failure, look);
  if (rollout.failed) return rollout;
  const message = `Paused at ${rollout.weight} %: ${failure.message}`;
  say(look, 'Warning', 'RolloutPaused', message);
  return { ...rollout, phase: 'Paused', failed: true, message };
}

/** One move to weight 0. */
function rollBack(rollout: UnderWay, { gate, message: why, found }: Failure, look: Look): UnderWay {
  const { candidate, stable, digest } = rollout;
  const message = `Version ${candidate} was rolled back: ${why}. Version ${stable} serves.`;
  const counted = found?.observed === undefined ? {} : { observed: found.observed, limit: found.limit };
  look.lastRollback = {
    version: candidate,
    ...(digest !== undefined && { digest }),
    gate,
    ...counted,
    time: look.time,
  };
  say(look, 'Warning', 'RolledBack', message);
  conclude(look, 'model.rolledback', rollout, { gate, ...counted, ...(found && { n: found.n }) });
  return { ...rollout, phase: 'RolledBack', weight: 0, message };
}

function stepping(rollout: UnderWay, look: Look): RolloutStatus {
  const { spec, observed } = look;
  const { candidate, stable } = rollout;
  const found = observed.versions[candidate];
  if (!found || found.ready === 0) {
    const message = `Version ${candidate} ${found?.failure ? `cannot be loaded: ${found.failure}` : 'is being loaded'}`;
    return { ...rollout, phase: rollout.weight === 0 ? 'Progressing' : 'Waiting', message };
  }
  const index = stepOf(rollout, spec.steps);
  const step = spec.steps[index];
  if (!step) return promoting(rollout, look);
  // Its weight comes from pods of the stable version, so these have to be what callers reach.
  if (observed.front !== undefined && observed.front !== stable) {
    return { ...rollout, phase: 'Waiting', message: `the Service does not lead to version ${stable} yet` };
  }
  const isIn = step.weight === rollout.weight;
  return inStep(isIn ? { ...rollout, step: index } : enter(rollout, index, step, look), step, look);
}

/** The step that it is in. After an edit of the steps: the last that asks for no more than it has, or the first. */
function stepOf({ step, weight }: UnderWay, steps: readonly Step[]): number {
  if (weight === 0 || steps[step]?.weight === weight) return step;
  return Math.max(
    0,
    steps.findLastIndex((one) => one.weight <= weight),
  );
}

function inStep(rollout: UnderWay, step: Step, look: Look): RolloutStatus {
  const { spec } = look;
  const holdEnd = holdEndOf(rollout, look);
  if (holdEnd === undefined) {
    return { ...rollout, phase: 'Progressing', message: `${rollout.weight} % is being applied` };
  }
  // Also without a hold: what is counted in a step is counted after it began.
  if (look.now < holdEnd || rollout.stepStartedAt === look.time) {
    return { ...rollout, phase: 'Progressing', message: `${step.weight} % until ${timeOf(holdEnd)}` };
  }
  const missing = missingIn(rollout, look);
  if (missing.length > 0) return { ...rollout, phase: 'Waiting', message: missing.join('; ') };
  if (step.approval && !rollout.approved) {
    const message = `${step.weight} % holds; a person has to say resume or abort`;
    if (rollout.phase !== 'AwaitingApproval') say(look, 'Normal', 'ApprovalNeeded', message);
    return { ...rollout, phase: 'AwaitingApproval', message };
  }
  const index = rollout.step + 1;
  const next = spec.steps[index];
  if (next) return inStep(enter(rollout, index, next, look), next, look);
  return promoting({ ...rollout, progressedAt: look.time }, look);
}

function enter(rollout: UnderWay, index: number, { weight }: Step, look: Look): UnderWay {
  const { stepStartedAt: _since, approved: _approved, ...rest } = rollout;
  say(look, 'Normal', 'StepStarted', `Version ${rollout.candidate} gets ${weight} %.`);
  return withBeginning({ ...rest, step: index, weight, requests: 0, progressedAt: look.time }, look);
}

/** What keeps a step from being over when its hold is. */
function missingIn({ requests, gates, stable }: UnderWay, look: Look): string[] {
  const { minRequests } = look.spec;
  return [
    ...(readyOf(look, stable) === 0 ? [`version ${stable} is not ready, so there is nothing to compare with`] : []),
    ...(requests < minRequests ? [`${requests} of ${minRequests} requests`] : []),
    ...gates.filter(({ verdict }) => verdict !== 'Pass').map(describeGate),
  ];
}

/** Full capacity first, then one move of the Service, and when that is seen the old version is only held. */
function promoting(rollout: UnderWay, look: Look): RolloutStatus {
  const { candidate } = rollout;
  const { observed } = look;
  if (observed.front === candidate) return holding(promoted(rollout, look), look);
  const isFull = observed.versions[candidate]?.fullCapacity === true;
  const message = `Version ${candidate} ${isFull ? 'is about to take over' : 'is brought to full capacity'}.`;
  if (rollout.phase !== 'Promoting') say(look, 'Normal', 'Promoting', message);
  return { ...rollout, phase: 'Promoting', message };
}

/** The Service has moved: it serves, whatever is wanted of it now. */
function promoted(rollout: UnderWay, look: Look): UnderWay {
  const { candidate, stable } = rollout;
  const { spec, now, time } = look;
  const holdUntil = timeOf(now + durationMs(spec.promotionHold));
  const message = `Version ${candidate} serves. Version ${stable} stays until ${holdUntil}.`;
  say(look, 'Normal', 'Promoted', message);
  conclude(look, 'model.promoted', rollout);
  return { ...rollout, phase: 'Holding', weight: 100, progressedAt: time, holdUntil, message };
}

/**
 * A rollout whose Service has moved since the last look is over, before anything else is decided: what is wanted now, or a command,
 * is about a version that serves. Unless what was counted last says that it is to go back.
 */
export function arrived(rollout: UnderWay, look: Look): UnderWay {
  const { phase, candidate } = rollout;
  const { wanted, observed } = look;
  if (observed.front !== candidate) return rollout;
  if (wanted.serve !== candidate)
    return phase === 'Promoting' || phase === 'Paused' ? promoted(rollout, look) : rollout;
  // Of one that is paused somebody else has moved it: it is moved back.
  const isOver = phase === 'Promoting' && !failedGate(count(rollout, look));
  return isOver ? promoted(rollout, look) : rollout;
}

/** The old version is still there, and going back is one move. */
function holding(rollout: UnderWay, look: Look): RolloutStatus {
  const { candidate, stable, holdUntil, command } = rollout;
  const oldIsReady = readyOf(look, stable) > 0;
  if (oldIsReady && look.wanted.serve === stable) {
    return { ...rollout, weight: 0, message: `Version ${stable} is about to take over again.` };
  }
  if (oldIsReady && readyOf(look, candidate) === 0) {
    return rollBack(rollout, { gate: 'notReady', message: 'none of its pods is ready' }, look);
  }
  const isOver = holdUntil === undefined || look.now >= msOf(holdUntil);
  // Wanted again after all, it has first to get the traffic back.
  if (isOver && look.observed.front === candidate) {
    say(look, 'Normal', 'PromotionFinal', `Version ${candidate} serves, and version ${stable} goes.`);
    // The old one is wanted, and was not ready in time: as any other version now.
    if (look.wanted.serve !== candidate) return progress(begin(look, candidate, rollout), look);
    return { phase: 'Stable', stable: candidate, ...(command && { command }) };
  }
  return {
    ...rollout,
    weight: 100,
    message: `Version ${candidate} serves. Version ${stable} stays until ${holdUntil}.`,
  };
}
