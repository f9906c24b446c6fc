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
   * more of them, and mostly less.
   *
   * @throws Error: it has not gone back, or no look had seen three failures
   */
  intervalsToRollBack(): { intervals: number; ms: number } {
    const third = this.#looks.findIndex(({ failures }) => failures >= 3);
    const [seen, back] = [this.#looks[third], this.#looks[this.#back ?? -1]];
    const before = this.#looks[third - 1];
    if (!seen || !back || !before) throw new Error(`not seen: ${JSON.stringify(this.#looks)}, back at ${this.#back}`);
    return { intervals: (this.#back ?? 0) - (third - 1), ms: back.until - before.until };
  }
}
