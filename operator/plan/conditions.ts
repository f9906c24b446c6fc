import type { Condition, ConditionType } from '../../api/v1alpha1/common.ts';
import type { Resource } from '../../api/v1alpha1/resource.ts';

/** What a condition says, without when it began to. */
export type Said = Pick<Condition, 'status' | 'reason' | 'message'>;

/** Conditions in the order of `said`. `lastTransitionTime` stays while the status of a condition stays. */
export function conditionsOf(
  { metadata, status }: Resource,
  said: Readonly<Partial<Record<ConditionType, Said>>>,
  now: string,
): Condition[] {
  return Object.entries(said).map(([type, entry]) => {
    const before = status?.conditions.find((condition) => condition.type === type);
    return {
      type: type as ConditionType,
      status: entry.status,
      ...(metadata.generation !== undefined && { observedGeneration: metadata.generation }),
      lastTransitionTime: before?.status === entry.status ? before.lastTransitionTime : now,
      reason: entry.reason,
      message: entry.message,
    };
  });
}
