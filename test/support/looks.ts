import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';

type RolloutStatus = NonNullable<NonNullable<ModelDeployment['status']>['rollout']>;

/** One look of the operator at what was counted. */
interface Seen {
  readonly until: number;
  readonly failures: number;
}

/** How soon a rollout goes back, by what its status has said: each look at the gates moves `countedUntil`. */
export class Looks {
  readonly #looks: Seen[] = [];
  #back: number | undefined;

  /** Takes a status, in order; the same one again changes nothing. */
  note(rollout: RolloutStatus | undefined): void {
    if (!rollout?.countedUntil || this.#back !== undefined) return;
    const until = Date.parse(rollout.countedUntil);
    const failures = rollout.gates?.reduce((most, gate) => Math.max(most, gate.failures), 0) ?? 0;
    const last = this.#looks.at(-1);
    if (!last || until > last.until) this.#looks.push({ until, failures });
    if (rollout.phase === 'RolledBack') this.#back = this.#looks.length - 1;
  }

  /**
   * The third failure came after the look before the one that saw it. From that one on the intervals are counted, so it was no
   * more of them, and mostly less. A rollout that has gone back before a third failure was seen took none.
   *
   * @throws Error: it has not gone back
   */
  intervalsToRollBack(): { intervals: number; ms: number } {
    const third = this.#looks.findIndex(({ failures }) => failures >= 3);
    const back = this.#looks[this.#back ?? -1];
    if (!back) throw new Error(`it has not gone back: ${JSON.stringify(this.#looks)}`);
    if (third < 0) return { intervals: 0, ms: 0 };
    const before = this.#looks[third - 1];
    if (!before) throw new Error(`nothing was seen before the third failure: ${JSON.stringify(this.#looks)}`);
    return { intervals: (this.#back ?? 0) - (third - 1), ms: back.until - before.until };
  }
}
