/** What happens to one key. Throwing means: again, with backoff. */
export type Work = (key: string) => Promise<void>;

export interface QueueOptions {
  /** Backoff of a key: first and longest wait, milliseconds; doubles each time. */
  readonly firstMs: number;
  readonly maxMs: number;
  /** Told of each failure and when the key is tried again. */
  readonly failed: (key: string, error: unknown, nextMs: number) => void;
}

/**
 * A queue of keys: a key that waits is not queued twice, and never has two workers at once; a key that is added while
 * it is worked on is worked on once more. Keys say which object to look at, never what has happened to it.
 */
export class KeyedQueue {
  readonly #work: Work;
  readonly #options: QueueOptions;
  readonly #running = new Map<string, { again: boolean; done: Promise<void> }>();
  readonly #failures = new Map<string, number>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #closed = false;

  constructor(work: Work, options: QueueOptions) {
    this.#work = work;
    this.#options = options;
  }

  add(key: string): void {
    if (this.#closed) return;
    const running = this.#running.get(key);
    if (running) {
      running.again = true;
      return;
    }
    this.#forget(key);
    const entry = { again: false, done: Promise.resolve() };
    this.#running.set(key, entry);
    entry.done = this.#run(key, entry);
  }

  /** Takes no more keys; resolves when those that are being worked on are done. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    await Promise.all([...this.#running.values()].map(({ done }) => done));
  }

  async #run(key: string, entry: { again: boolean }): Promise<void> {
    do {
      entry.again = false;
      try {
        await this.#work(key);
        this.#failures.delete(key);
        this.#forget(key);
      } catch (error) {
        this.#retry(key, error);
      }
    } while (entry.again && !this.#closed);
    this.#running.delete(key);
  }

  #retry(key: string, error: unknown): void {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    const wait = Math.min(this.#options.maxMs, this.#options.firstMs * 2 ** failures);
    this.#options.failed(key, error, wait);
    if (this.#closed) return;
    this.#forget(key);
    this.#timers.set(
      key,
      setTimeout(() => this.add(key), wait),
    );
  }

  /** There is no need to try again later. */
  #forget(key: string): void {
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
  }
}
