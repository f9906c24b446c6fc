import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import type { History } from './picture.ts';

/** Remembers weights and gates of the candidate that is watched. Another rollout begins anew. */
export class Recorder implements History {
  weights: number[] = [];
  observed: Record<string, (number | undefined)[]> = {};
  #candidate: string | undefined;

  add({ status }: ModelDeployment): History {
    const { candidate, startedAt = '', weight = 0, gates = [] } = status?.rollout ?? {};
    // The picture of the end still shows how it came to that.
    if (candidate === undefined) return this;
    if (`${candidate} ${startedAt}` !== this.#candidate) {
      this.#candidate = `${candidate} ${startedAt}`;
      this.weights = [];
      this.observed = {};
    }
    this.weights.push(weight);
    for (const { gate, observed } of gates) {
      // A gate that has come later has a gap before.
      this.observed[gate] ??= this.weights.slice(1).map(() => undefined);
      this.observed[gate].push(observed);
    }
    return this;
  }
}
