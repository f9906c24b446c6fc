import { obey, refuse } from './commands.ts';
import { begin, conclude, intentOf, type Look, lookAt, nextLook, readyOf, say } from './look.ts';
import { arrived, progress } from './steps.ts';
import type { Decision, Idle, Observed, RolloutStatus, UnderWay, Wanted } from './types.ts';

/**
 * What becomes of a rollout, from what is wanted, what was so, what is there, and the time. All state is in the status: after a
 * restart at any point the same decisions follow. Decided again with the same arguments, nothing changes.
 */
export function decideRollout(
  wanted: Wanted,
  before: RolloutStatus | undefined,
  observed: Observed,
  now: string,
): Decision {
  const look = lookAt(wanted, observed, now);
  const rollout = underWay(before, look);
  const status = isIdle(rollout) ? heed(rollout, look) : progress(obey(rollout, look), look);
  const front = frontOf(status, look);
  const lookAgainAt = isIdle(status) ? undefined : nextLook(status, look);
  return {
    front,
    runs: runsOf(status, look),
    weight: isIdle(status) ? 0 : status.weight,
    phase: status.phase,
    status,
    ...(look.lastRollback && { lastRollback: look.lastRollback }),
    ...(lookAgainAt !== undefined && { lookAgainAt }),
    events: look.events,
    outcomes: look.outcomes,
  };
}

const isIdle = (status: RolloutStatus): status is Idle => status.phase === 'Stable';

const isBack = ({ phase }: UnderWay): boolean => phase === 'RolledBack' || phase === 'Aborted';

/** What is to be looked at: the rollout of before, a new one, or none. */
function underWay(last: RolloutStatus | undefined, look: Look): RolloutStatus {
  const { wanted, observed } = look;
  const before = last && !isIdle(last) ? arrived(last, look) : last;
  const serving = servingVersion(before, look);
  const command = before?.command && { command: before.command };
  // First deployment: there is nothing to compare with.
  if (serving === undefined) return { phase: 'Stable', stable: wanted.serve, ...command };
  if (before && !isIdle(before)) {
    if (goesOn(before, serving, look)) return carriedOn(before, look);
    // Whoever changes `serve` has taken the candidate back, unless that has ended before, or well; or it is another model now.
    const gate = wanted.serve === before.candidate ? 'digest' : 'serve';
    if (!isBack(before) && serving === before.stable) conclude(look, 'model.rolledback', before, { gate });
  }
  if (serving === wanted.serve) {
    if (before && !isIdle(before)) {
      say(look, 'Normal', 'RolloutWithdrawn', `Version ${serving} serves, and is the wanted one again.`);
    }
    return { phase: 'Stable', stable: serving, ...leaving(before, serving, observed), ...command };
  }
  if (!before || isIdle(before)) return begin(look, serving, before);
  if (wanted.serve !== before.candidate) {
    say(look, 'Normal', 'RolloutSuperseded', `Version ${wanted.serve} is wanted instead of ${before.candidate}.`);
  }
  return { ...begin(look, serving, before), ...leaving(before, serving, observed) };
}

/** The version that has the traffic. What cannot be made any more does not count. */
function servingVersion(before: RolloutStatus | undefined, { wanted, observed }: Look): string | undefined {
  if (observed.front !== undefined || !before) return observed.front;
  const version = before.phase === 'Holding' ? before.candidate : before.stable;
  return wanted.versions.includes(version) || observed.versions[version] ? version : undefined;
}

/** Whether `rollout` is still what it is about. */
function goesOn(rollout: UnderWay, serving: string, { wanted, observed }: Look): boolean {
  const { phase, stable, candidate, digest, intent } = rollout;
  if (serving !== stable && serving !== candidate) return false;
  const isOver = isBack(rollout);
  // On the way back after the promotion: until the Service leads there, whatever is wanted.
  if (isOver && serving === candidate) return true;
  if (wanted.serve === stable) return phase === 'Holding' && serving === candidate;
  const found = observed.versions[candidate]?.digest;
  const isSame = wanted.serve === candidate && (digest === undefined || found === undefined || digest === found);
  // What failed stays away until somebody wants something else.
  return isSame && !(isOver && intent !== intentOf(wanted));
}

/** An edit of `rollout` is taken up as it goes. */
function carriedOn(rollout: UnderWay, { wanted, observed }: Look): UnderWay {
  const digest = rollout.digest ?? observed.versions[rollout.candidate]?.digest;
  return {
    ...rollout,
    ...(digest !== undefined && { digest }),
    intent: isBack(rollout) ? rollout.intent : intentOf(wanted),
  };
}

/** The candidate of before stays until no pod hands it requests. */
function leaving(before: RolloutStatus | undefined, serving: string, observed: Observed): { leaving?: string } {
  const version = before && (isIdle(before) ? before.leaving : before.candidate);
  const isAsked = (observed.appliedWeight ?? 0) > 0;
  return version !== undefined && version !== serving && isAsked ? { leaving: version } : {};
}

/** Commands where there is no rollout. */
function heed(idle: Idle, look: Look): Idle {
  const text = look.wanted.command;
  if (text === undefined || text === idle.command?.text) return idle;
  return { ...idle, command: refuse(text, 'no rollout is under way', look) };
}

function frontOf(status: RolloutStatus, look: Look): string {
  if (isIdle(status)) return status.stable;
  const { phase, stable, candidate } = status;
  // Back at once, where there is something to go back to.
  if (phase === 'Holding') return isGoingBack(status, look) ? stable : candidate;
  const isFull = look.observed.versions[candidate]?.fullCapacity === true;
  return phase === 'Promoting' && isFull ? candidate : stable;
}

/** The old version is wanted again while it is still there. */
const isGoingBack = ({ stable }: UnderWay, look: Look): boolean =>
  look.wanted.serve === stable && readyOf(look, stable) > 0;

function runsOf(status: RolloutStatus, { observed }: Look): string[] {
  const left = status.leaving === undefined ? [] : [status.leaving];
  if (isIdle(status)) return [status.stable, ...left];
  const { phase, stable, candidate } = status;
  switch (phase) {
    case 'Holding':
      return [candidate, stable];
    case 'RolledBack':
    case 'Aborted': {
      const isAsked = observed.front === candidate || (observed.appliedWeight ?? 0) > 0;
      return [stable, ...(isAsked ? [candidate] : [])];
    }
    default:
      return [stable, candidate, ...left];
  }
}
