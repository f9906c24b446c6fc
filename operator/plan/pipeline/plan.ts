import type { EventPipeline, EventPipelineStatus } from '../../../api/v1alpha1/event-pipeline.ts';
import type { Neighbours } from '../neighbours.ts';
import { isLeaving, type Observed, type Place, type PlanResult } from '../units.ts';
import { checkPipeline } from './check.ts';
import { planLeaving } from './leaving.ts';
import { withLeftovers } from './leftovers.ts';
import { planParts } from './parts.ts';
import { asPlanned } from './planned.ts';
import { summarizePipeline } from './status.ts';

/**
 * What is to be there for a pipeline, and what its status says. One that is not accepted leaves what runs as it is.
 *
 * @param now RFC 3339, in UTC; goes to times in the status
 */
export function planPipeline(
  resource: EventPipeline,
  observed: Observed,
  neighbours: Neighbours,
  now: string,
  place: Place = 'Laptop',
): PlanResult<EventPipelineStatus> {
  const there = observed.pipeline;
  if (isLeaving(resource)) return planLeaving(resource, there, now);
  const problems = checkPipeline(resource, neighbours, place);
  const pipeline = problems.length > 0 ? there?.applied : withLeftovers(planParts(resource), there);
  // On a laptop an edit is taken in place, in a moment; on a cluster other pods have to come.
  const seen = place === 'Cluster' && pipeline ? asPlanned(there, pipeline) : there;
  const status = summarizePipeline(resource, seen, problems, now);
  return { units: [], fronts: [], ...(pipeline && { pipeline }), status };
}
