import { exceeds } from '../../operator/plan/rollout/eprocess.ts';
import type { Random } from './random.ts';

/** How long the test is watched. */
const most = 100_000;

export interface Hypothesis {
  readonly limit: number;
  readonly alpha: number;
  /** Trials that fail or do not fail together, each of them counted: 1 is what the test supposes. */
  readonly together: number;
}

/**
 * Whether the test ever rejects what is so: failures exactly at the limit, looked at after every trial. Evidence grows with a
 * failure only, so it is enough to look there.
 */
export function everRejects(random: Random, { limit, alpha, together }: Hypothesis): boolean {
  let [n, failures] = [0, 0];
  for (;;) {
    n += random.geometric(limit) * together;
    if (n > most) return false;
    failures += together;
    if (exceeds(limit, { n, failures }, alpha)) return true;
  }
}
