import { rolloutCommand } from '../../api/contract/names.ts';
import { errorCodeOf, errors, messageOf } from '../../api/errors.ts';
import { type ModelDeployment, wantedVersion } from '../../api/v1alpha1/model-deployment.ts';
import { formatSpan, type RolloutStatus } from './picture.ts';
import type { RolloutSource } from './source.ts';

/** Time, so that tests have their own. */
export interface Clock {
  now(): Date;
  /** Resolves after a second, or when nobody wants to wait any longer. */
  pause(): Promise<void>;
  /** Whether somebody has asked for the end. */
  readonly isEnded: boolean;
}

/** What became of a command. */
export interface Obeyed {
  readonly done: boolean;
  /** `Done: paused at 25 %`. */
  readonly message: string;
}

const idlePhases: readonly RolloutStatus['phase'][] = ['Stable', 'RolledBack', 'Aborted'];
export const commandMs = 30_000;

/** Says what a person wants of the rollout that is there now, and waits for the answer. */
export async function give(source: RolloutSource, verb: string, clock: Clock): Promise<Obeyed> {
  const { rollout } = (await source.look()).status ?? {};
  if (rollout?.id === undefined) return { done: false, message: 'Refused: no rollout is under way' };
  const text = `${verb}/${rollout.id}`;
  await source.command(text);
  const until = clock.now().getTime() + commandMs;
  for (;;) {
    const { metadata, status } = await source.look();
    const { command } = status?.rollout ?? {};
    if (command?.text === text) {
      return { done: command.outcome === 'Done', message: `${command.outcome}: ${command.message}` };
    }
    if (metadata.annotations?.[rolloutCommand] !== text) {
      return { done: false, message: `another command took the place of ${text} before anybody had acted on it` };
    }
    if (clock.isEnded || clock.now().getTime() >= until) {
      const message = `nobody has acted on ${text} within ${formatSpan(commandMs)}; it stays. Does the operator run?`;
      return { done: false, message };
    }
    await clock.pause();
  }
}

/** How it ended: `serves`, the wanted version serves. */
export interface End {
  readonly serves: boolean;
  readonly message: string;
}

/**
 * How a rollout has ended; `undefined`: it goes on, or nobody has looked at what is wanted yet.
 *
 * @param version that is waited for; absent: whichever is wanted
 */
export function endOf({ metadata, spec, status }: ModelDeployment, version = wantedVersion(spec)): End | undefined {
  if (!status || status.observedGeneration !== metadata.generation || wantedVersion(spec) !== version) return undefined;
  const { rollout, stableVersion, conditions } = status;
  const isUnderWay = rollout !== undefined && !idlePhases.includes(rollout.phase);
  // A deadline ends it, or a person.
  if (isUnderWay && spec.rollout) return undefined;
  if (rollout?.phase === 'RolledBack' || rollout?.phase === 'Aborted') {
    return { serves: false, message: rollout.message ?? rollout.phase };
  }
  const condition = (type: string) => conditions.find((one) => one.type === type);
  const ready = condition('Ready');
  const message = ready?.message ?? '';
  if (!isUnderWay && ready?.status === 'True' && stableVersion === version) return { serves: true, message };
  return condition('Stalled')?.status === 'True' ? { serves: false, message } : undefined;
}

interface Follow {
  readonly clock: Clock;
  /** Told of each look. */
  readonly show: (resource: ModelDeployment) => void;
  readonly note: (text: string) => void;
  readonly version?: string;
  /** Milliseconds; absent: as long as it takes. */
  readonly timeoutMs?: number | undefined;
}

/** Looks every second until the rollout is over. @returns `undefined` when time was over before, or somebody asked for the end */
export async function follow(source: RolloutSource, options: Follow): Promise<End | undefined> {
  const { clock, show, note, version, timeoutMs = Number.POSITIVE_INFINITY } = options;
  const until = clock.now().getTime() + timeoutMs;
  let failing = '';
  for (;;) {
    try {
      const resource = await source.look();
      failing = '';
      show(resource);
      const end = endOf(resource, version);
      if (end) return end;
    } catch (error) {
      // A rollout takes hours, an API server is away for a minute.
      const code = errorCodeOf(error);
      if (code === undefined || errors[code].outcome !== 'retry') throw error;
      if (failing === '') note(`${messageOf(error)} (${code}); asked again`);
      failing = code;
    }
    if (clock.isEnded || clock.now().getTime() >= until) return undefined;
    await clock.pause();
  }
}
