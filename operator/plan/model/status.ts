import { modelService, versionName } from '../../../api/contract/names.ts';
import { type ErrorCode, errors } from '../../../api/errors.ts';
import type { ConditionType } from '../../../api/v1alpha1/common.ts';
import type { ModelDeployment, ModelDeploymentStatus, VersionStatus } from '../../../api/v1alpha1/model-deployment.ts';
import { bounded } from '../bounded.ts';
import { conditionsOf, type Said } from '../conditions.ts';
import type { RolloutStatus } from '../rollout/types.ts';
import type { Observed } from '../units.ts';
import type { Traffic } from './traffic.ts';

/** The status, as kstatus and Argo CD read it: Ready says that the wanted version serves with all its replicas. */
export function summarize(
  resource: ModelDeployment,
  observed: Observed,
  traffic: Traffic,
  versions: VersionStatus[],
  now: string,
): ModelDeploymentStatus {
  const { metadata } = resource;
  const { wanted, stable, rollout } = traffic;
  const front = observed.fronts[modelService(metadata.name)];
  const serving = stable === undefined ? undefined : observed.units[versionName(metadata.name, stable)];
  const isServing = (serving?.ready ?? 0) > 0;
  const target = versions.find(({ name }) => name === wanted);
  const ready = sayRollout(rollout?.status) ?? sayReady({ target, stable, isServing });
  const isBack = rollout?.phase === 'RolledBack' || rollout?.phase === 'Aborted';
  const failed = isBack || (ready.status !== 'True' && failureNow(target) !== undefined);
  const said: Partial<Record<ConditionType, Said>> = {
    Accepted: { status: 'True', reason: 'Accepted', message: 'The resource is valid.' },
    Ready: ready,
    Serving: isServing
      ? { status: 'True', reason: 'Serving', message: `Version ${stable} takes the traffic.` }
      : { status: 'False', reason: 'NothingLoaded', message: 'No version is loaded: requests are answered with 503.' },
    Reconciling:
      ready.status === 'True' || failed
        ? { status: 'False', reason: 'Settled', message: 'Nothing is under way.' }
        : { status: 'True', reason: ready.reason, message: ready.message },
    Stalled: failed
      ? { status: 'True', reason: ready.reason, message: ready.message }
      : { status: 'False', reason: 'NotStalled', message: 'Nothing is in the way.' },
  };
  return {
    conditions: conditionsOf(resource, said, now),
    ...(metadata.generation !== undefined && { observedGeneration: metadata.generation }),
    ...(front && { url: front.url }),
    ...(stable !== undefined && isServing && { stableVersion: stable }),
    ...rolloutStatus(resource, traffic),
    versions,
  };
}

/** A rollout that is over is of no interest where none is asked for. */
function rolloutStatus(
  { spec, status }: ModelDeployment,
  { rollout }: Traffic,
): Pick<ModelDeploymentStatus, 'rollout' | 'lastRollback'> {
  const lastRollback = rollout?.lastRollback ?? status?.lastRollback;
  const isKept = rollout && (spec.rollout !== undefined || rollout.status.phase !== 'Stable');
  return {
    ...(isKept && { rollout: rollout.status as ModelDeploymentStatus['rollout'] }),
    ...(lastRollback && { lastRollback }),
  };
}

/** While a rollout is under way it says what is going on; once its version serves, that one does. */
function sayRollout(rollout: RolloutStatus | undefined): Said | undefined {
  if (!rollout || rollout.phase === 'Stable' || rollout.phase === 'Holding') return undefined;
  const { phase, message } = rollout;
  if (phase === 'RolledBack' || phase === 'Aborted') {
    return { status: 'False', reason: phase, message: bounded(`${message} Change \`serve\`, or say resume.`) };
  }
  return { status: 'False', reason: phase, message: bounded(`${rollout.candidate}: ${message}`) };
}

interface Situation {
  readonly target: VersionStatus | undefined;
  readonly stable: string | undefined;
  readonly isServing: boolean;
}

/** A version that is being loaded may have failed before: that is over. */
const failureNow = (version: VersionStatus | undefined): VersionStatus['lastFailure'] =>
  version?.state === 'Failed' || version?.state === 'Loaded' ? version.lastFailure : undefined;

function sayReady({ target, stable, isServing }: Situation): Said {
  if (!target) return { status: 'False', reason: 'ServeUnknown', message: 'The version to serve is not declared.' };
  // Of the same version that may be processes of before an edit, or those of a first load that are ready already.
  const who = stable === target.name ? 'What is ready of it' : `Version ${stable}`;
  const meanwhile = isServing ? ` ${who} goes on serving.` : '';
  const failure = failureNow(target);
  if (failure) {
    const { reason, message } = failure;
    const remedy = errors[reason as ErrorCode]?.remedy;
    return {
      status: 'False',
      reason,
      message:
        `Version ${target.name}: ${message}. ${remedy ?? ''}${target.state === 'Failed' ? meanwhile : ''}`.trim(),
    };
  }
  if (target.state === 'Loaded' && stable === target.name) {
    return { status: 'True', reason: 'Serving', message: `Version ${target.name} is loaded and takes the traffic.` };
  }
  const what = target.state === 'Loaded' ? 'is loaded and about to take the traffic' : 'is being loaded';
  return { status: 'False', reason: 'Progressing', message: `Version ${target.name} ${what}.${meanwhile}` };
}
