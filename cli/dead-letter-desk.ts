import { LevadaError } from '../api/errors.ts';
import {
  countDeadLetters,
  type DeadLetter,
  type DeadLetterFilter,
  type DeadLetterPlace,
  dropDeadLetters,
  listDeadLetters,
  type ReplayOptions,
  replayDeadLetters,
} from '../runtime/pipeline/dead-letters.ts';

/** What can be done with the dead letters of one pipeline. */
export interface DeadLetterDesk {
  list(filter: DeadLetterFilter, limit: number): Promise<DeadLetter[]>;
  count(filter: DeadLetterFilter): Promise<number>;
  /** @returns how many @throws LevadaError Usage */
  replay(filter: DeadLetterFilter, options: ReplayOptions): Promise<number>;
  drop(filter: DeadLetterFilter): Promise<number>;
}

interface Queue {
  /** Whether somebody takes what is in it. */
  readonly running: boolean;
  readonly dead: number;
}

/**
 * @param queues of the pipeline, by name of the step, as they are now
 * @param signal that nobody waits for it any more: what is under way ends at the next message
 */
export function deskOf(
  place: DeadLetterPlace,
  pipeline: string,
  queues: () => Promise<Readonly<Record<string, Queue>>>,
  signal?: AbortSignal,
): DeadLetterDesk {
  return {
    list: (filter, limit) => listDeadLetters(place, pipeline, filter, limit, signal),
    count: (filter) => countDeadLetters(place, pipeline, filter, signal),
    async replay(filter, { to, most = Number.POSITIVE_INFINITY }) {
      const found = await queues();
      const goesTo = to === undefined ? undefined : found[to];
      if (to !== undefined && !goesTo?.running) {
        const running = Object.entries(found).filter(([, queue]) => queue.running);
        const allowed = running.map(([name]) => name).join(', ') || 'none runs';
        throw new LevadaError('Usage', { detail: `--to: found ${to}; allowed: a step that runs: ${allowed}` });
      }
      const steps = Object.entries(found).filter(([name]) => filter.step === undefined || name === filter.step);
      let count = 0;
      for (const [step, { running, dead }] of steps) {
        const options = { most: most - count, ...(to !== undefined && { to }) };
        // Nobody would take them: they stay where they can be seen.
        if (running || goesTo) {
          count += await replayDeadLetters(place, pipeline, { ...filter, step }, options, signal);
        } else if (filter.step !== undefined && dead > 0) {
          const detail = `the step ${step} is gone from the pipeline: put it back first, or drop its dead letters`;
          throw new LevadaError('Usage', { detail });
        }
        if (count >= most) break;
      }
      return count;
    },
    drop: (filter) => dropDeadLetters(place, pipeline, filter, signal),
  };
}
