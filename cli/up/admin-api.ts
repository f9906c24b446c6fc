import type { LocalPipelines } from '../../operator/drivers/local/pipelines.ts';
import { deskOf } from '../dead-letter-desk.ts';
import type { AdminApi, LocalResource } from './admin.ts';

/** What other commands may ask of a run, done by its parts. */
export function adminApi(
  resources: () => LocalResource[],
  pipelines: LocalPipelines,
  command: AdminApi['command'],
): AdminApi {
  const queuesOf = (pipeline: string) => pipelines.queuesOf(pipeline);
  const desk = (pipeline: string, signal: AbortSignal) =>
    deskOf(pipelines.transportOf(pipeline), pipeline, () => queuesOf(pipeline), signal);
  return {
    resources,
    command,
    async steps(pipeline) {
      const queues = await queuesOf(pipeline);
      const counts = pipelines.counts(pipeline);
      return Object.entries(queues).map(([name, state]) => {
        const counted = counts[name];
        return { name, ...state, ...(counted && { counts: counted }) };
      });
    },
    deadLetters: (pipeline, filter, limit, signal) => desk(pipeline, signal).list(filter, limit),
    countDead: (pipeline, filter, signal) => desk(pipeline, signal).count(filter),
    replay: async (pipeline, filter, options, signal) => desk(pipeline, signal).replay(filter, options),
    drop: (pipeline, filter, signal) => desk(pipeline, signal).drop(filter),
  };
}
