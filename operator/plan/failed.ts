import { type ErrorCode, errors, type Problem } from '../../api/errors.ts';
import type { Condition, ConditionType } from '../../api/v1alpha1/common.ts';
import type { Resource, ResourceStatus } from '../../api/v1alpha1/resource.ts';
import { bounded } from './bounded.ts';
import { conditionsOf, type Said } from './conditions.ts';

interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
}

/** `status`, but what was planned could not be made: why, what helps, and whether it is tried again. */
export function withFailure<S extends ResourceStatus>(resource: Resource, status: S, failure: Failure, now: string): S {
  return { ...status, conditions: replaced(status.conditions, conditionsOf(resource, sayFailed(failure), now)) };
}

/**
 * Of a resource that is stored and cannot be carried out: one that was applied with an older CRD, or without its rules; one
 * whose pods nobody takes.
 *
 * @param before what is so besides; absent: nothing is known
 */
export function refusedStatus(
  resource: Resource,
  problems: readonly Problem[],
  now: string,
  before: ResourceStatus = emptyStatus(resource),
): ResourceStatus {
  const [first] = problems;
  const message = problems.map((one) => `${one.path}: ${one.message}`).join('; ');
  const said = sayFailed({ code: first?.code ?? 'InternalError', message: bounded(message) });
  const { generation } = resource.metadata;
  const accepted: Said = { ...said.Ready, status: 'False' };
  return {
    ...before,
    ...(generation !== undefined && { observedGeneration: generation }),
    conditions: replaced(before.conditions, conditionsOf(resource, { Accepted: accepted, ...said }, now)),
  };
}

function sayFailed({ code, message }: Failure): { Ready: Said; Reconciling: Said; Stalled: Said } {
  const { outcome, remedy } = errors[code];
  const failed: Said = { status: 'False', reason: code, message: bounded(`${message}. ${remedy}`) };
  const isFinal = outcome === 'terminal';
  return {
    Ready: failed,
    Reconciling: isFinal
      ? { status: 'False', reason: 'Settled', message: 'Nothing is under way.' }
      : { ...failed, status: 'True' },
    Stalled: isFinal
      ? { ...failed, status: 'True' }
      : { status: 'False', reason: 'NotStalled', message: 'It is tried again by itself.' },
  };
}

/** `before` with the conditions of `now` in their place, or behind it. */
function replaced(before: readonly Condition[], now: readonly Condition[]): Condition[] {
  const types = new Set<ConditionType>(before.map(({ type }) => type));
  return [
    ...before.map((old) => now.find(({ type }) => type === old.type) ?? old),
    ...now.filter(({ type }) => !types.has(type)),
  ];
}

function emptyStatus({ kind }: Resource): ResourceStatus {
  if (kind === 'ModelDeployment') return { conditions: [], versions: [] };
  return { conditions: [], sources: [], steps: [], stepsRunning: '0/0', backlog: 0, deadLetters: 0 };
}
