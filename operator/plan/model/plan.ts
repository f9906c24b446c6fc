import type { ModelDeployment, ModelDeploymentStatus } from '../../../api/v1alpha1/model-deployment.ts';
import { alone, type Neighbours } from '../neighbours.ts';
import type { Observed, PlanResult } from '../units.ts';
import { planAnnouncements } from './announcements.ts';
import { summarize } from './status.ts';
import { planTraffic } from './traffic.ts';
import { planVersions } from './versions.ts';

/**
 * What is to be there for `resource`, and what its status says, given what is there. The same arguments give the same
 * answer; applying it and planning again changes nothing.
 *
 * @param now RFC 3339, in UTC; goes to times in the status
 * @param neighbours what gates may refer to, and who is to be told of rollouts
 */
export function planModel(
  resource: ModelDeployment,
  observed: Observed,
  now: string,
  neighbours: Neighbours = alone,
): PlanResult<ModelDeploymentStatus> {
  const traffic = planTraffic(resource, observed, now, neighbours);
  const versions = planVersions(resource, observed, traffic, now);
  const { units, fronts, routing, rollout } = traffic;
  const { kept, due } = planAnnouncements(resource, rollout?.outcomes ?? [], observed.announced ?? [], neighbours);
  const summary = summarize(resource, observed, traffic, versions, now);
  const status = {
    ...summary,
    ...(kept.length > 0 && { announcements: kept as ModelDeploymentStatus['announcements'] }),
  };
  // What is new is told as soon as it is written.
  const lookAgainAt = kept.length > due.length ? now : rollout?.lookAgainAt;
  return {
    units,
    fronts,
    ...(routing && { routing }),
    ...(due.length > 0 && { announce: due }),
    status,
    ...(rollout && rollout.events.length > 0 && { events: rollout.events }),
    ...(lookAgainAt !== undefined && { lookAgainAt }),
  };
}
