import { maxMessageBytes } from '../../../api/contract/pipeline.ts';
import { Fetch, type FetchOptions, type FetchOwner } from './fetch.ts';
import type { Result } from './result.ts';
import { type Gates, Line } from './schedule.ts';

/** All URLs of one event. */
export class Call implements FetchOwner {
  readonly line: Line;
  readonly options: FetchOptions;
  readonly headers: string[];
  readonly #fetches: Fetch[];
  readonly #results: Result[];
  readonly #resolve: (results: Result[]) => void;
  readonly #reject: (error: unknown) => void;
  /** Bytes of answers that may still be kept: what is emitted must fit into a message. */
  #room = maxMessageBytes;
  #left: number;
  readonly done: Promise<Result[]>;

  constructor(urls: readonly string[], headers: string[], concurrency: number, gates: Gates, options: FetchOptions) {
    this.options = options;
    this.headers = headers;
    this.line = new Line(concurrency, gates);
    this.#left = urls.length;
    this.#results = new Array(urls.length);
    this.#fetches = urls.map((url, index) => new Fetch(this, index, url));
    const { promise, resolve, reject } = Promise.withResolvers<Result[]>();
    this.done = promise;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  begin(): void {
    if (this.#left === 0) this.#resolve(this.#results);
    for (const fetch of this.#fetches) fetch.begin();
  }

  reserve(bytes: number): boolean {
    if (bytes > this.#room) return false;
    this.#room -= bytes;
    return true;
  }

  fetched(index: number, result: Result): void {
    this.#results[index] = result;
    if (--this.#left > 0) return;
    // What waits now has missed its deadline already.
    this.options.schedule.drop(this.line);
    this.#resolve(this.#results);
  }

  /** Gives all of it up. */
  abort(reason: unknown): void {
    this.#reject(reason);
    this.options.schedule.drop(this.line);
    for (const fetch of this.#fetches) fetch.abort();
  }
}
