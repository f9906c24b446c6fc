import type { ModelEvent, Outcome } from '../../../api/contract/model-events.ts';
import { durationMs, msOf, timeOf } from './time.ts';
import type { LastRollback, Observed, RolloutEvent, RolloutSpec, UnderWay, Wanted } from './types.ts';

/** One look at a rollout: what it is decided from, and what is said of it on the way. */
export interface Look {
  readonly wanted: Wanted;
  readonly spec: RolloutSpec;
  readonly observed: Observed;
  /** RFC 3339, and the same in milliseconds. */
  readonly time: string;
  readonly now: number;
  readonly events: RolloutEvent[];
  readonly outcomes: Outcome[];
  lastRollback?: LastRollback;
}

/** Without `rollout` a version is switched as soon as it is loaded, however long that takes. */
export const switchWhenReady: RolloutSpec = {
  interval: '15s',
  steps: [],
  minRequests: 0,
  progressDeadline: `${Number.MAX_SAFE_INTEGER}ms`,
  promotionHold: '0s',
  gates: [],
  onFailure: 'Pause',
};

export function lookAt(wanted: Wanted, observed: Observed, time: string): Look {
  return { wanted, spec: wanted.rollout ?? switchWhenReady, observed, time, now: msOf(time), events: [], outcomes: [] };
}

export function say(look: Look, type: RolloutEvent['type'], reason: RolloutEvent['reason'], message: string): void {
  look.events.push({ type, reason, message });
}

/** Notes that it is over, for pipelines. */
export function conclude(
  look: Look,
  type: ModelEvent,
  { id, candidate, stable }: UnderWay,
  why: Pick<Outcome, 'gate' | 'observed' | 'limit' | 'n'> = {},
): void {
  look.outcomes.push({ type, rollout: id, version: candidate, from: stable, time: look.time, ...why });
}

export const readyOf = ({ observed }: Look, version: string): number => observed.versions[version]?.ready ?? 0;

/**
 * Stands for what a rollout is about: `serve` and `rollout`. A version that failed is tried again when they change, not when
 * `replicas` does: an autoscaler must not bring a bad model back.
 */
export const intentOf = ({ serve, rollout }: Wanted): string => hash(JSON.stringify([serve, rollout ?? null]));

/** FNV-1a, twice with different beginnings. It only has to tell edits apart. */
function hash(text: string): string {
  const half = (beginning: number) => {
    let value = beginning;
    for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
    return (value >>> 0).toString(16).padStart(8, '0');
  };
  return half(0x811c9dc5) + half(0x2f0b4a37);
}

/** What trials name it by. Another one whenever its gates count from 0: each key has to be a trial of theirs again. */
export const trialsOf = ({ candidate, startedAt, countedFrom = startedAt }: Named): string =>
  `${candidate} ${countedFrom}`;

type Named = Pick<UnderWay, 'candidate' | 'startedAt' | 'countedFrom'>;

/** Its gates count from 0 from now on. */
export const countingAnew = (rollout: UnderWay, { time }: Look): UnderWay => ({
  ...rollout,
  gates: [],
  countedFrom: time,
  countedUntil: time,
});

const turnOf = (id: string): number => Number(id.slice(id.lastIndexOf('-') + 1));

const idOf = (candidate: string, startedAt: number, turn: number): string =>
  `${candidate}-${startedAt.toString(36)}-${turn}`;

/** The same rollout, but commands for what it was are of the past. */
export const nextTurn = (rollout: UnderWay): UnderWay => ({
  ...rollout,
  id: idOf(rollout.candidate, msOf(rollout.startedAt), turnOf(rollout.id) + 1),
});

/** A rollout from the beginning. `before`: what it follows, whose commands it does not take for its own. */
export function begin(look: Look, stable: string, before?: Pick<UnderWay, 'command'> & { id?: string }): UnderWay {
  const { wanted, observed, now, time } = look;
  const candidate = wanted.serve;
  const digest = observed.versions[candidate]?.digest;
  say(look, 'Normal', 'RolloutStarted', `Version ${candidate} is to take over from ${stable}.`);
  return {
    phase: 'Progressing',
    id: idOf(candidate, now, before?.id === undefined ? 0 : turnOf(before.id) + 1),
    message: '',
    stable,
    candidate,
    ...(digest !== undefined && { digest }),
    intent: intentOf(wanted),
    startedAt: time,
    progressedAt: time,
    step: 0,
    requests: 0,
    weight: 0,
    appliedWeight: observed.appliedWeight ?? 0,
    countedUntil: time,
    gates: [],
    ...(before?.command && { command: before.command }),
  };
}

/** End of the hold of the step that it is in. */
export function holdEndOf({ step, stepStartedAt }: UnderWay, { spec }: Look): number | undefined {
  const found = spec.steps[Math.min(step, spec.steps.length - 1)];
  return stepStartedAt === undefined || !found ? undefined : msOf(stepStartedAt) + durationMs(found.hold);
}

/** When it has taken too long. Holds do not count. */
export function deadlineOf(rollout: UnderWay, look: Look): number {
  const since = Math.max(msOf(rollout.progressedAt), holdEndOf(rollout, look) ?? 0);
  return since + durationMs(look.spec.progressDeadline);
}

/** In which gates are looked at. */
export const judgedPhases: readonly string[] = ['Progressing', 'Waiting', 'AwaitingApproval', 'Paused', 'Promoting'];

/** When to look again, if nothing changes before. */
export function nextLook(rollout: UnderWay, look: Look): string | undefined {
  const { phase, holdUntil } = rollout;
  const later = (...times: number[]) => timeOf(Math.min(...times.filter((time) => time > look.now)));
  const interval = look.now + durationMs(look.spec.interval);
  // Past its end only while the Service is moved.
  if (phase === 'Holding')
    return later(holdUntil === undefined || msOf(holdUntil) <= look.now ? interval : msOf(holdUntil));
  if (!judgedPhases.includes(phase)) return undefined;
  return later(interval, holdEndOf(rollout, look) ?? 0, deadlineOf(rollout, look));
}
