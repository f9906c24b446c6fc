import type { VersionWeight } from '../../../api/contract/routing-table.ts';
import { hash32 } from './hash.ts';
import { type Random, Stratified } from './stratified.ts';

/** Chooses one of several versions by their weights: at random for requests without a key, by the key for others. */
export class Shares {
  readonly #versions: readonly string[];
  readonly #weights: readonly number[];
  readonly #seeds: readonly number[];
  /** `levels[i]` takes what goes to version i of what the versions before it have left. */
  readonly #levels: readonly Stratified[];

  /** @param shares their weights have some sum > 0; a version of weight 0 is never chosen */
  constructor(shares: readonly VersionWeight[], salt: string, random: Random) {
    // The smallest first: its requests are to be at random places, and the rest is what is left.
    const sorted = shares.filter(({ weight }) => weight > 0).toSorted((a, b) => a.weight - b.weight);
    this.#versions = sorted.map(({ version }) => version);
    this.#weights = sorted.map(({ weight }) => weight);
    this.#seeds = this.#versions.map((version) => hash32(`${salt}\0${version}`, 0));
    let rest = this.#weights.reduce((sum, weight) => sum + weight, 0);
    this.#levels = this.#weights.slice(0, -1).map((weight) => {
      const level = new Stratified(weight / rest, random);
      rest -= weight;
      return level;
    });
  }

  /** For a request without a key. With two versions, each is never off its share by more than one request. */
  next(): string {
    for (let i = 0; i < this.#levels.length; i++) {
      if ((this.#levels[i] as Stratified).take()) return this.#versions[i] as string;
    }
    return this.#versions[this.#versions.length - 1] as string;
  }

  /**
   * For a request with a key: weighted rendezvous hashing. A version whose weight grows against all others loses no key, and
   * keys move to no other version than that one.
   *
   * @param key a string whose characters are bytes
   */
  of(key: string): string {
    let best = 0;
    let bestScore = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < this.#versions.length; i++) {
      // An exponential race: the least of -ln(u) / weight is version i's with a probability of its share.
      const uniform = (hash32(key, this.#seeds[i] as number) + 0.5) / 2 ** 32;
      const score = Math.log(uniform) / (this.#weights[i] as number);
      if (score > bestScore) {
        bestScore = score;
        best = i;
      }
    }
    return this.#versions[best] as string;
  }
}
