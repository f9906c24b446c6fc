import { hash32 } from './hash.ts';

/** Which of several pods counts a key as a trial: always the same one, as long as it is there. */
export class Judges {
  readonly #names: readonly string[];
  readonly #seeds: readonly number[];

  constructor(names: readonly string[]) {
    this.#names = names.toSorted();
    this.#seeds = this.#names.map((name) => hash32(name, 0x6a756467));
  }

  /**
   * Rendezvous hashing: when a pod goes only its keys get another one, and one that comes takes its part and moves no other.
   *
   * @param key a string whose characters are bytes
   */
  of(key: string): string | undefined {
    let best: string | undefined;
    let bestScore = -1;
    for (let i = 0; i < this.#names.length; i++) {
      const score = hash32(key, this.#seeds[i] as number);
      if (score <= bestScore) continue;
      bestScore = score;
      best = this.#names[i];
    }
    return best;
  }
}
