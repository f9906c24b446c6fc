import { LevadaError } from '../../api/errors.ts';
import type { LocalPipelines } from '../../operator/drivers/local/pipelines.ts';
import {
  countDeadLetters,
  dropDeadLetters,
  listDeadLetters,
  replayDeadLetters,
} from '../../runtime/pipeline/dead-letters.ts';
import type { AdminApi, LocalResource } from './admin.ts';

/** What other commands may ask of a run, done by its parts. */
export function adminApi(resources: () => LocalResource[], pipelines: LocalPipelines): AdminApi {
  const queuesOf = (pipeline: string) => pipelines.queuesOf(pipeline);
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
    deadLetters: (pipeline, filter, limit) => listDeadLetters(pipelines.transportOf(pipeline), pipeline, filter, limit),
    countDead: (pipeline, filter) => countDeadLetters(pipelines.transportOf(pipeline), pipeline, filter),
    async replay(pipeline, filter, { to, most = Number.POSITIVE_INFINITY }) {
      const queues = await queuesOf(pipeline);
      const transport = pipelines.transportOf(pipeline);
      const goesTo = to === undefined ? undefined : queues[to];
      if (to !== undefined && !goesTo?.running) {
        const running = Object.entries(queues).filter(([, queue]) => queue.running);
        const allowed = running.map(([name]) => name).join(', ') || 'none runs';
        throw new LevadaError('Usage', { detail: `--to: found ${to}; allowed: a step that runs: ${allowed}` });
      }
      const steps = Object.entries(queues).filter(([name]) => filter.step === undefined || name === filter.step);
      let count = 0;
      for (const [step, { running, dead }] of steps) {
        const options = { most: most - count, ...(to !== undefined && { to }) };
        // Nobody would take them: they stay where they can be seen.
        if (running || goesTo) count += await replayDeadLetters(transport, pipeline, { ...filter, step }, options);
        else if (filter.step !== undefined && dead > 0) {
          const detail = `the step ${step} is gone from the pipeline: put it back first, or drop its dead letters`;
          throw new LevadaError('Usage', { detail });
        }
        if (count >= most) break;
      }
      return count;
    },
    drop: (pipeline, filter) => dropDeadLetters(pipelines.transportOf(pipeline), pipeline, filter),
  };
}
