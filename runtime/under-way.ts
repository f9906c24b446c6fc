/**
 * What is under way, by numbers that count up from 0.
 *
 * Not a Map or a Set, where something comes and goes with every message: V8 makes a new table of one every time that it is full
 * of what has been deleted, and the old table points to the new one. Once one of them has become old, all that ever was in any
 * later one is kept by every collection of the young generation, and is copied by it, until all memory is collected.
 * Here nothing points from what is over to what came later.
 */
export class UnderWay<T extends object> {
  /** By number, in a ring: of 2ⁿ places. */
  #places: (T | undefined)[];
  /** The first that may be there. */
  #first = 0;
  #next = 0;
  #size = 0;

  constructor() {
    this.#places = new Array(64).fill(undefined);
  }

  get size(): number {
    return this.#size;
  }

  /** @returns its number */
  add(value: T): number {
    if (this.#next - this.#first === this.#places.length) this.#grow();
    const number = this.#next++;
    this.#places[number & (this.#places.length - 1)] = value;
    this.#size++;
    return number;
  }

  /** @returns what was there, or undefined if it is over, or never was */
  take(number: number): T | undefined {
    if (!(number >= this.#first && number < this.#next)) return undefined;
    const place = number & (this.#places.length - 1);
    const value = this.#places[place];
    if (value === undefined) return undefined;
    this.#places[place] = undefined;
    this.#size--;
    while (this.#first < this.#next && this.#places[this.#first & (this.#places.length - 1)] === undefined)
      this.#first++;
    return value;
  }

  /** The oldest first. Whatever the loop takes out or adds is no matter: what is there when its turn comes is given. */
  *[Symbol.iterator](): Generator<readonly [number: number, value: T]> {
    for (let number = this.#first; number < this.#next; number++) {
      const value = this.#places[number & (this.#places.length - 1)];
      if (value !== undefined && number >= this.#first) yield [number, value];
    }
  }

  #grow(): void {
    const old = this.#places;
    this.#places = new Array(2 * old.length).fill(undefined);
    for (let number = this.#first; number < this.#next; number++) {
      this.#places[number & (this.#places.length - 1)] = old[number & (old.length - 1)];
    }
  }
}
