import type { LocalPipelines } from '../../operator/drivers/local/pipelines.ts';
import { deskOf } from '../dead-letter-desk.ts';
import type { AdminApi, LocalResource } from './admin.ts';

/** What other commands may ask of a run, done by its parts. */
export function adminApi(resources: () => LocalResource[], pipelines: LocalPipelines): AdminApi {
  const queuesOf = (pipeline: string) => pipelines.queuesOf(pipeline);
  const desk = (pipeline: string) => deskOf(pipelines.transportOf(pipeline), pipeline, () => queuesOf(pipeline));
  return {
    resources,
    async steps(pipeline) {
      const queues = await queuesOf(pipeline);
      const counts = pipelines.counts(pipeline);
      return Object.entries(queues).map(([name, state]) => {
        const counted = counts[name];
        return { name, ...state, ...(counted && { counts: counted }) };
      });
    },
    deadLetters: (pipeline, filter, limit) => desk(pipeline).list(filter, limit),
    countDead: (pipeline, filter) => desk(pipeline).count(filter),
    replay: async (pipeline, filter, options) => desk(pipeline).replay(filter, options),
    drop: (pipeline, filter) => desk(pipeline).drop(filter),
  };
}
