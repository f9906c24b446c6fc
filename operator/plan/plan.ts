import type { Resource } from '../../api/v1alpha1/resource.ts';
import { planModel } from './model/plan.ts';
import type { Neighbours } from './neighbours.ts';
import { planPipeline } from './pipeline/plan.ts';
import type { Observed, Place, PlanResult } from './units.ts';

/**
 * What is to be there for `resource`, and what its status says, given what is there. The same arguments give the same
 * answer; applying it and planning again changes nothing.
 *
 * @param now RFC 3339, in UTC; goes to times in the status
 */
export function plan(
  resource: Resource,
  observed: Observed,
  neighbours: Neighbours,
  now: string,
  place: Place,
): PlanResult {
  return resource.kind === 'ModelDeployment'
    ? planModel(resource, observed, now, neighbours)
    : planPipeline(resource, observed, neighbours, now, place);
}
