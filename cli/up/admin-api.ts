import type { LocalPipelines } from '../../operator/drivers/local/pipelines.ts';
import { dropDeadLetters, listDeadLetters, replayDeadLetters } from '../../runtime/pipeline/dead-letters.ts';
import type { AdminApi, LocalResource } from './admin.ts';

/** What other commands may ask of a run, done by its parts. */
export function adminApi(resources: () => LocalResource[], { host, transport }: LocalPipelines): AdminApi {
  return {
    resources,
    async steps(pipeline) {
      const { queues } = await host.observe(pipeline);
      const counts = host.counts(pipeline);
      return Object.entries(queues).map(([name, state]) => {
        const counted = counts[name];
        return { name, ...state, ...(counted && { counts: counted }) };
      });
    },
    deadLetters: (pipeline, filter, limit) => listDeadLetters(transport, pipeline, filter, limit),
    replay: (pipeline, filter) => replayDeadLetters(transport, pipeline, filter),
    drop: (pipeline, filter) => dropDeadLetters(transport, pipeline, filter),
  };
}
