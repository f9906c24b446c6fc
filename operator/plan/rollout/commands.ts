import { begin, conclude, countingAnew, type Look, nextTurn, readyOf, say } from './look.ts';
import type { HandledCommand, UnderWay } from './types.ts';

/** What people may say of a rollout, as the annotation `levada.dev/rollout-command: <verb>/<status.rollout.id>`. */
export const verbs = ['promote', 'abort', 'pause', 'resume'] as const;
type Verb = (typeof verbs)[number];

interface Outcome {
  /** Absent: refused. */
  readonly rollout?: UnderWay;
  readonly message: string;
}

/**
 * The annotation, where it is a new one. An id is good for one command, so the same text never acts twice: not when it is left
 * where it is, not in a resource that is restored, not when somebody else was quicker.
 *
 * @returns `rollout` as it is afterwards, and a record of the command
 */
export function obey(rollout: UnderWay, look: Look): UnderWay {
  const text = look.wanted.command;
  if (text === undefined || text === rollout.command?.text) return rollout;
  const verb = verbs.find((one) => text === `${one}/${rollout.id}`);
  if (!verb) return { ...rollout, command: refuse(text, `it is not one of ${verbs.join(', ')}/${rollout.id}`, look) };
  const outcome = act[verb](rollout, look);
  if (!outcome.rollout) return { ...nextTurn(rollout), command: refuse(text, outcome.message, look) };
  const command: HandledCommand = { text, time: look.time, outcome: 'Done', message: outcome.message };
  return { ...nextTurn(outcome.rollout), command };
}

/** A record of a command that does nothing, and an event, once. */
export function refuse(text: string, why: string, look: Look): HandledCommand {
  const shown = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  say(look, 'Warning', 'CommandRefused', `${shown} does nothing: ${why}.`);
  return { text, time: look.time, outcome: 'Refused', message: why };
}

const refused = (message: string): Outcome => ({ message });

const act: Readonly<Record<Verb, (rollout: UnderWay, look: Look) => Outcome>> = { promote, abort, pause, resume };

const isOver = ({ phase }: UnderWay): boolean => phase === 'RolledBack' || phase === 'Aborted';

/** To the end, past the steps that are left. The candidate has its full capacity first, as always. */
function promote(rollout: UnderWay, { time }: Look): Outcome {
  const { phase, gates, failed: _, ...rest } = rollout;
  if (isOver(rollout)) return refused(`version ${rollout.candidate} has gone back; resume begins anew`);
  if (phase === 'Holding' || rollout.promoted) return refused('it is being promoted, or was');
  const overruled = gates.some(({ verdict }) => verdict === 'Fail');
  return {
    rollout: {
      ...rest,
      gates,
      phase: 'Promoting',
      promoted: true,
      progressedAt: time,
      ...(overruled && { overruled: true as const }),
    },
    message: overruled ? 'promoted, although a gate has failed' : 'promoted, past the steps that were left',
  };
}

/** Back to the stable version. */
function abort(rollout: UnderWay, look: Look): Outcome {
  const { stable, candidate, digest, phase } = rollout;
  if (isOver(rollout)) return refused(`version ${candidate} has gone back already`);
  if (phase === 'Holding' && readyOf(look, stable) === 0) return refused(`version ${stable} is not ready`);
  const message = `Version ${candidate} was taken back by a command. Version ${stable} serves.`;
  look.lastRollback = {
    version: candidate,
    ...(digest !== undefined && { digest }),
    gate: 'abort',
    time: look.time,
  };
  say(look, 'Warning', 'Aborted', message);
  conclude(look, 'model.rolledback', rollout, { gate: 'abort' });
  return { rollout: { ...rollout, phase: 'Aborted', weight: 0, message }, message: 'taken back' };
}

/** The weight stays as it is. Gates go on: a candidate that fails one while it is paused goes back. */
function pause(rollout: UnderWay, look: Look): Outcome {
  const { phase, weight } = rollout;
  if (isOver(rollout) || phase === 'Holding') return refused('nothing is under way');
  if (phase === 'Paused') return refused('it is paused already');
  const message = `Paused at ${weight} % by a command.`;
  say(look, 'Normal', 'RolloutPaused', message);
  return { rollout: { ...rollout, phase: 'Paused', message }, message: `paused at ${weight} %` };
}

/** On with what waits for a person. After a failure: on with nothing that was counted before, by this person's word. */
function resume(rollout: UnderWay, look: Look): Outcome {
  const { phase, stepStartedAt: _since, failed, ...rest } = rollout;
  const { time } = look;
  if (isOver(rollout)) {
    return { rollout: begin(look, rollout.stable, rollout), message: `version ${rollout.candidate} is tried again` };
  }
  if (phase === 'AwaitingApproval') {
    const approved = { ...rollout, phase: 'Progressing', approved: true, progressedAt: time } as const;
    return { rollout: approved, message: `step ${rollout.step} is approved` };
  }
  if (phase !== 'Paused') return refused('nothing waits for it');
  say(look, 'Normal', 'RolloutResumed', `Goes on at ${rollout.weight} % by a command.`);
  const going = { phase: 'Progressing', progressedAt: time } as const;
  if (!failed) return { rollout: { ...rollout, ...going }, message: 'it goes on' };
  return {
    rollout: countingAnew({ ...rest, ...going, requests: 0 }, look),
    message: 'it goes on; the gates count from here',
  };
}
