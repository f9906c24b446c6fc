import { type Announcement, type Outcome, outcomeId } from '../../../api/contract/model-events.ts';
import { maxAnnouncements, maxListeners } from '../../../api/v1alpha1/announcements.ts';
import type { ModelDeployment } from '../../../api/v1alpha1/model-deployment.ts';
import { listenersOf, type Neighbours } from '../neighbours.ts';
import type { Announced } from '../units.ts';

/** What pipelines are still to be told. */
export interface Announcements {
  /** For the status. What is in it outlives this process: only then it is told. */
  readonly kept: readonly Announcement[];
  /** Those of them that are in the status already. */
  readonly due: readonly Announcement[];
}

/**
 * What pipelines are to be told of rollouts that have ended, from what was still to be told, what has been told meanwhile, and who
 * listens. A pipeline that listens no more needs nothing.
 */
export function planAnnouncements(
  { metadata, status }: ModelDeployment,
  outcomes: readonly Outcome[],
  announced: readonly Announced[],
  neighbours: Neighbours,
): Announcements {
  const listeners = (type: string) => listenersOf(neighbours, metadata.name, type);
  const isTold = (outcome: Outcome, pipeline: string) =>
    announced.some((one) => one.id === outcomeId(outcome) && one.pipeline === pipeline);
  const before = (status?.announcements ?? []).flatMap((one): Announcement[] => {
    const there = listeners(one.type);
    const to = one.to.filter((pipeline) => there.includes(pipeline) && !isTold(one, pipeline));
    return to.length > 0 ? [{ ...one, to }] : [];
  });
  const known = new Set((status?.announcements ?? []).map(outcomeId));
  const added = outcomes.flatMap((outcome): Announcement[] => {
    const to = listeners(outcome.type).slice(0, maxListeners);
    return to.length > 0 && !known.has(outcomeId(outcome)) ? [{ ...outcome, to }] : [];
  });
  const kept = [...before, ...added].slice(-maxAnnouncements);
  return { kept, due: kept.filter((one) => before.includes(one)) };
}
