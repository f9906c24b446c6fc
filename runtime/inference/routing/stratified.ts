/** A number in [0, 1). */
export type Random = () => number;

/**
 * Takes a share of requests: the k-th one that is taken is at a random place in the k-th stretch of 1/share requests. So the
 * number taken of n requests differs from n × share by at most one, and no rhythm of the callers meets one of ours.
 *
 * Two places may fall on one request; the second is then the next request's. docs/decisions/0010 shows why the bound holds.
 */
export class Stratified {
  readonly #share: number;
  readonly #random: Random;
  #seen = 0;
  #taken = 0;
  /** Where the next one is that is taken; request n is the interval [n, n + 1). */
  #next: number;

  /** @param share from 0 to 1 */
  constructor(share: number, random: Random) {
    this.#share = share;
    this.#random = random;
    this.#next = share > 0 ? random() / share : Number.POSITIVE_INFINITY;
  }

  /** Whether the request that has come is taken. */
  take(): boolean {
    if (this.#share >= 1) return true;
    this.#seen++;
    if (this.#next >= this.#seen) return false;
    this.#taken++;
    this.#next = (this.#taken + this.#random()) / this.#share;
    return true;
  }
}
