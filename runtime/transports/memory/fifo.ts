interface Link<T> {
  readonly value: T;
  next: Link<T> | undefined;
}

/** First in, first out, each in constant time however many there are. */
export class Fifo<T> {
  #first: Link<T> | undefined;
  #last: Link<T> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(value: T): void {
    const link: Link<T> = { value, next: undefined };
    if (this.#last) this.#last.next = link;
    else this.#first = link;
    this.#last = link;
    this.#size++;
  }

  shift(): T | undefined {
    const link = this.#first;
    if (!link) return undefined;
    this.#first = link.next;
    if (!this.#first) this.#last = undefined;
    this.#size--;
    return link.value;
  }
}
