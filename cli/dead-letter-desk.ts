import { setTimeout as sleep } from 'node:timers/promises';
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
  /** By name of the step, as they are now. */
  queues(): Promise<Readonly<Record<string, DeskQueue>>>;
}

export interface DeskQueue {
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
  queues: () => Promise<Readonly<Record<string, DeskQueue>>>,
  signal?: AbortSignal,
): DeadLetterDesk {
  return {
    list: (filter, limit) => listDeadLetters(place, pipeline, filter, limit, signal),
    count: (filter) => countDeadLetters(place, pipeline, filter, signal),
    async replay(filter, { to, most = Number.POSITIVE_INFINITY }) {
      const found = await queues();
      if (to !== undefined && !found[to]?.running) {
        const running = Object.entries(found).filter(([, queue]) => queue.running);
        const allowed = running.map(([name]) => name).join(', ') || 'none runs';
        throw new LevadaError('Usage', { detail: `--to: found ${to}; allowed: a step that runs: ${allowed}` });
      }
      const steps = Object.entries(found).filter(([name]) => filter.step === undefined || name === filter.step);
      let count = 0;
      for (const [step, queue] of steps) {
        const options = { most: most - count, ...(to !== undefined && { to }) };
        if (isTaken(queue, to)) {
          count += await replayDeadLetters(place, pipeline, { ...filter, step }, options, signal);
        } else if (filter.step !== undefined && queue.dead > 0) {
          const detail = `the step ${step} is gone from the pipeline: put it back first, or drop its dead letters`;
          throw new LevadaError('Usage', { detail });
        }
        if (count >= most) break;
      }
      return count;
    },
    drop: (filter) => dropDeadLetters(place, pipeline, filter, signal),
    queues,
  };
}

/** Whether somebody would take what is replayed of a queue: else it stays where it can be seen. */
const isTaken = ({ running }: DeskQueue, to: string | undefined): boolean => running || to !== undefined;

export interface ReplayRate {
  readonly perSecond: number;
  /** Step that gets them, instead of the one that gave them up. */
  readonly to?: string;
  /** Told after each second. */
  readonly said: (count: number, total: number) => void;
  readonly pause?: (ms: number) => Promise<unknown>;
}

/**
 * Replays as many of each step as there are at the beginning, the oldest first: what fails again comes back behind them, is not
 * replayed for ever, and takes no turn of those of another step.
 *
 * @returns how many @throws LevadaError Usage
 */
export async function replayAtRate(
  desk: DeadLetterDesk,
  filter: DeadLetterFilter,
  { perSecond, to, said, pause = sleep }: ReplayRate,
): Promise<number> {
  const left = new Map<string, number>();
  for (const step of await stepsToReplay(desk, filter, to)) left.set(step, await desk.count({ ...filter, step }));
  const total = sum(left);
  let count = 0;
  while (sum(left) > 0) {
    const began = performance.now();
    let room = perSecond;
    for (const [step, rest] of left) {
      const most = Math.min(room, rest);
      if (most === 0) continue;
      const replayed = await desk.replay({ ...filter, step }, { most, ...(to !== undefined && { to }) });
      count += replayed;
      room -= replayed;
      // Somebody else has taken the others.
      left.set(step, replayed === 0 ? 0 : rest - replayed);
    }
    said(count, total);
    if (sum(left) > 0) await pause(Math.max(0, 1_000 - (performance.now() - began)));
  }
  return count;
}

/** Those that somebody takes letters of, or the one that is named. */
async function stepsToReplay(desk: DeadLetterDesk, { step }: DeadLetterFilter, to?: string): Promise<string[]> {
  if (step !== undefined) return [step];
  const queues = Object.entries(await desk.queues());
  return queues.filter(([, queue]) => queue.dead > 0 && isTaken(queue, to)).map(([name]) => name);
}

const sum = (counts: ReadonlyMap<string, number>): number => [...counts.values()].reduce((all, one) => all + one, 0);
