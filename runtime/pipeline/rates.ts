import type { StepTrials } from '../../api/contract/routing-table.ts';
import type { Trial } from '../steps/step.ts';
import type { End } from './ends.ts';

/** Seconds that a rate is taken over. */
const windowSeconds = 10;

/** How the deliveries to one step ended, since the process began and lately. */
export interface StepCounts {
  readonly done: number;
  readonly skipped: number;
  readonly duplicate: number;
  readonly retried: number;
  readonly dead: number;
  /** Messages a second that ended for good, over the last 10 s. */
  readonly rate: number;
}

const none = { done: 0, skipped: 0, duplicate: 0, retried: 0, dead: 0 };

/** Rollouts' versions that trials are kept of: one that began long ago is not judged any more. */
const maxTrials = 8;

/** Counts of one step. */
export class StepTally {
  /** By rollout and version, the one that began last at the end. */
  readonly #trials = new Map<string, { rollout: string; version: string; n: number; dead: number }>();
  readonly #totals = { ...none };
  readonly #seconds = new Map<number, number>();

  /** @param now milliseconds of a clock that does not jump */
  add(end: End['end'], now: number): void {
    if (end === 'released') return;
    if (end === 'retry') {
      this.#totals.retried++;
      return;
    }
    this.#totals[end]++;
    const second = Math.floor(now / 1_000);
    this.#seconds.set(second, (this.#seconds.get(second) ?? 0) + 1);
    for (const old of this.#seconds.keys()) if (old < second - windowSeconds) this.#seconds.delete(old);
  }

  /** An event that was scored by a version on trial, and is done, or dead. Nothing is known yet of one that is tried again. */
  try(end: End['end'], { rollout, version }: Trial): void {
    if (end !== 'done' && end !== 'dead') return;
    const key = `${rollout} ${version}`;
    const counts = this.#trials.get(key) ?? { rollout, version, n: 0, dead: 0 };
    this.#trials.set(key, counts);
    counts.n++;
    if (end === 'dead') counts.dead++;
    const [oldest] = this.#trials.keys();
    if (oldest !== undefined && this.#trials.size > maxTrials) this.#trials.delete(oldest);
  }

  get trials(): StepTrials[] {
    return [...this.#trials.values()].map((counts) => ({ ...counts }));
  }

  counts(now: number): StepCounts {
    const second = Math.floor(now / 1_000);
    let recent = 0;
    // The second that is under way is left out: it would make every rate too low.
    for (const [at, count] of this.#seconds) if (at < second && at >= second - windowSeconds) recent += count;
    return { ...this.#totals, rate: recent / windowSeconds };
  }
}
