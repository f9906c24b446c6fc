import type { ConsumerConfig } from '../../api/contract/pipeline.ts';
import type { WorkerState } from '../../api/contract/pipeline-worker.ts';
import type { InHand } from '../../brokers/rabbitmq/broker.ts';
import { rungFor } from '../../brokers/rabbitmq/names.ts';

/** Messages that a process which has gone had sent to wait: nobody counts them, and their queue must stay. */
interface Ghost {
  readonly pipeline: string;
  readonly queue: string;
  readonly count: number;
  readonly until: number;
}

/** What processes that have gone had sent to wait, until it must have come back. Times are monotonic milliseconds. */
export class Ghosts {
  #all: Ghost[] = [];

  /** @param delayed by step, as the process said last */
  remember(
    pipeline: string,
    consumers: readonly ConsumerConfig[],
    delayed: Readonly<Record<string, number>>,
    now: number,
  ): void {
    this.#all = this.#all.filter(({ until }) => until > now);
    for (const { name, retry } of consumers) {
      const count = delayed[name] ?? 0;
      if (count > 0) this.#all.push({ pipeline, queue: name, count, until: now + 2 * rungFor(retry.maxMs) });
    }
  }

  delayed(pipeline: string, queue: string, now: number): number {
    return this.#all
      .filter((ghost) => ghost.pipeline === pipeline && ghost.queue === queue && ghost.until > now)
      .reduce((sum, { count }) => sum + count, 0);
  }
}

/**
 * What processes have in hand of a queue; of one that the broker calls `name`, where that is given.
 *
 * @param processes what each of them says, by step
 */
export function inHandOf(
  processes: Iterable<Readonly<Record<string, Pick<WorkerState, 'held' | 'delayed'>>>>,
  queue: string,
  name?: string,
): InHand {
  let delayed = 0;
  let unsettled = 0;
  for (const states of processes) {
    const state = states[queue];
    delayed += state?.delayed ?? 0;
    for (const [held, count] of Object.entries(state?.held ?? {})) {
      if (name === undefined || name === held) unsettled += count;
    }
  }
  return { unsettled, delayed };
}
