/**
 * What happens to one key. Throwing means: again, with backoff.
 *
 * @param failures how often in a row it has thrown before
 * @returns milliseconds after which it is to be worked on again, if nothing comes before; nothing: not by itself
 */
export type Work = (key: string, failures: number) => Promise<number | undefined>;

export interface QueueOptions {
  /** Backoff of a key: first and longest wait, milliseconds; doubles each time. */
  readonly firstMs: number;
  readonly maxMs: number;
  /** Keys that are worked on at once. Default: all. */
  readonly workers?: number;
  /** Told of each failure and when the key is tried again. */
  readonly failed: (key: string, error: unknown, nextMs: number) => void;
  readonly observer?: QueueObserver;
  /** What is worked on for longer, milliseconds, hangs: nobody takes its key from it, who would then be the second one at it. */
  readonly timeoutMs?: number;
  /** Told of a key that hangs, once. */
  readonly hangs?: (key: string) => void;
}

/** For metrics. */
export interface QueueObserver {
  added(): void;
  /** @param waitedMs since it was added */
  started(waitedMs: number): void;
  ended(ms: number, error: unknown): void;
  /** It is tried again later. */
  retried(): void;
}

/** A longer timer would go off at once. */
const longestTimerMs = 2 ** 31 - 1;

/** Something has changed, or it is only time to look again: the latter waits for the former. */
export type Urgency = 'edit' | 'resync';

/**
 * A queue of keys: a key that waits is not queued twice, and never has two workers at once; a key that is added while
 * it is worked on is worked on once more. Keys say which object to look at, never what has happened to it.
 */
export class KeyedQueue {
  readonly #work: Work;
  readonly #options: QueueOptions;
  /** When each key was added, monotonic milliseconds. */
  readonly #waiting: Readonly<Record<Urgency, Map<string, number>>> = { edit: new Map(), resync: new Map() };
  readonly #running = new Map<string, { again: Urgency | undefined; done: Promise<void>; since: number }>();
  readonly #hanging = new Set<string>();
  readonly #failures = new Map<string, number>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #closed = false;
  #isNextDue = false;

  constructor(work: Work, options: QueueOptions) {
    this.#work = work;
    this.#options = options;
  }

  /** Keys that wait for a worker. */
  get depth(): number {
    return this.#waiting.edit.size + this.#waiting.resync.size;
  }

  /** Since when each worker is at it, monotonic milliseconds. */
  get active(): readonly number[] {
    return [...this.#running.values()].map(({ since }) => since);
  }

  /** Keys whose work has not ended in time, and may never end. */
  get hanging(): readonly string[] {
    return [...this.#hanging];
  }

  add(key: string, urgency: Urgency = 'edit'): void {
    if (this.#closed) return;
    const running = this.#running.get(key);
    if (running) {
      if (running.again !== 'edit') running.again = urgency;
      return;
    }
    this.#forget(key);
    const { edit, resync } = this.#waiting;
    if (edit.has(key) || (urgency === 'resync' && resync.has(key))) return;
    const since = resync.get(key);
    resync.delete(key);
    this.#waiting[urgency].set(key, since ?? performance.now());
    if (since === undefined) this.#options.observer?.added();
    this.#next();
  }

  /** Takes no more keys; resolves when those that are being worked on are done. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    for (const waiting of Object.values(this.#waiting)) waiting.clear();
    await Promise.all([...this.#running.values()].map(({ done }) => done));
  }

  #next(): void {
    const { workers = Number.POSITIVE_INFINITY, observer } = this.#options;
    while (!this.#closed && this.#running.size < workers) {
      const waiting = this.#waiting.edit.size > 0 ? this.#waiting.edit : this.#waiting.resync;
      const [first] = waiting;
      if (!first) return;
      const [key, added] = first;
      waiting.delete(key);
      const since = performance.now();
      observer?.started(since - added);
      const entry = { again: undefined, done: Promise.resolve(), since };
      this.#running.set(key, entry);
      entry.done = this.#run(key, entry);
    }
  }

  async #run(key: string, entry: { readonly again: Urgency | undefined; readonly since: number }): Promise<void> {
    let failure: unknown;
    let again: number | undefined;
    const late = this.#watch(key);
    try {
      again = await this.#work(key, this.#failures.get(key) ?? 0);
      this.#failures.delete(key);
    } catch (error) {
      failure = error ?? new Error('nothing was said');
    }
    this.#options.observer?.ended(performance.now() - entry.since, failure);
    clearTimeout(late);
    this.#hanging.delete(key);
    this.#running.delete(key);
    if (failure !== undefined) this.#retry(key, failure);
    else if (again !== undefined) this.#addAfter(key, again);
    if (entry.again) this.add(key, entry.again);
    this.#nextSoon();
  }

  /** Work that waits for nothing must not keep the process from its lease, its probes and what it watches. */
  #nextSoon(): void {
    if (this.#isNextDue) return;
    this.#isNextDue = true;
    setImmediate(() => {
      this.#isNextDue = false;
      this.#next();
    });
  }

  #watch(key: string): NodeJS.Timeout | undefined {
    const { timeoutMs, hangs } = this.#options;
    if (timeoutMs === undefined) return undefined;
    return setTimeout(() => {
      this.#hanging.add(key);
      hangs?.(key);
    }, timeoutMs).unref();
  }

  #retry(key: string, error: unknown): void {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    const wait = Math.min(this.#options.maxMs, this.#options.firstMs * 2 ** failures);
    this.#options.failed(key, error, wait);
    if (this.#closed) return;
    this.#options.observer?.retried();
    this.#addAfter(key, wait);
  }

  #addAfter(key: string, ms: number): void {
    if (this.#closed) return;
    this.#forget(key);
    this.#timers.set(
      key,
      setTimeout(() => this.add(key), Math.min(Math.max(0, ms), longestTimerMs)),
    );
  }

  /** There is no need to try again later. */
  #forget(key: string): void {
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
  }
}
