import { LevadaError, messageOf } from '../../api/errors.ts';
import type { RunResult } from './onnx.ts';
import { concatRows, rows, type Tensor } from './tensors.ts';

/** How the model can be run; found out when it is loaded. */
export interface BatchPolicy {
  /** Whether rows of different requests may share a run: all first dimensions are free, and a probe has agreed. */
  readonly joinable: boolean;
  readonly maxBatchSize: number;
  readonly maxDelayMs: number;
  /** Rows that wait at most. */
  readonly maxQueuedRows: number;
}

export interface BatchObserver {
  /** After each run: rows in it, and milliseconds it took. */
  run(rows: number, ms: number): void;
}

/**
 * Gets the outputs of the whole run, and which rows of them are the request's; or the error.
 *
 * @param at when the run had ended, on the clock of `performance.now()`: one look at it for all requests of a run
 */
export type Done = (error: LevadaError | undefined, outputs: readonly Tensor[], row: number, at: number) => void;

interface Item {
  readonly inputs: readonly Tensor[];
  readonly rows: number;
  /** Requests with one key may share a run. */
  readonly key: string;
  readonly submitted: number;
  readonly deadline: number;
  done: Done | undefined;
}

type Run = (inputs: readonly Tensor[]) => Promise<RunResult>;

/** How far a deadline may be overrun. A timer for each request would cost more than the sweep. */
const sweepMs = 20;

/**
 * Joins all requests that one turn of the event loop brings into one run of the model. While a run is under way,
 * requests wait for the next; runs never overlap.
 *
 * If a joined run fails, each of its requests is run alone, so that only the guilty one gets the error.
 */
export class Batcher {
  readonly #run: Run;
  readonly #policy: BatchPolicy;
  readonly #observer: BatchObserver;
  #queue: Item[] = [];
  #inFlight: readonly Item[] = [];
  #queuedRows = 0;
  #busy = false;
  #scheduled = false;
  #runStarted = 0;
  #delay: NodeJS.Timeout | undefined;
  #sweep: NodeJS.Timeout | undefined;
  #idle: (() => void)[] = [];

  constructor(run: Run, policy: BatchPolicy, observer: BatchObserver) {
    this.#run = run;
    this.#policy = policy;
    this.#observer = observer;
  }

  /** Whether a run may hold rows of several requests. */
  get joinable(): boolean {
    return this.#policy.joinable;
  }

  get queuedRows(): number {
    return this.#queuedRows;
  }

  /** Milliseconds since the run that is under way has started; 0 when none is. */
  get runningMs(): number {
    return this.#busy ? performance.now() - this.#runStarted : 0;
  }

  /**
   * Queues a request of `count` rows; `done` is called exactly once, later.
   *
   * @param deadline on the clock of `performance.now()`, milliseconds
   * @returns a function that withdraws the request, e.g. because the caller has gone
   * @throws LevadaError QueueFull
   */
  submit(inputs: readonly Tensor[], count: number, deadline: number, done: Done): () => void {
    const { maxBatchSize, maxQueuedRows, joinable } = this.#policy;
    if (this.#queuedRows > 0 && this.#queuedRows + count > maxQueuedRows) {
      throw new LevadaError('QueueFull', { found: this.#queuedRows, limit: maxQueuedRows });
    }
    if (joinable && count > maxBatchSize) return this.#submitParts(inputs, count, deadline, done);
    const item = this.#enqueue(inputs, count, deadline, done);
    return () => {
      item.done = undefined;
    };
  }

  #enqueue(inputs: readonly Tensor[], count: number, deadline: number, done: Done): Item {
    const key = this.#policy.joinable ? rowKey(inputs) : '';
    const item: Item = { inputs, rows: count, key, submitted: performance.now(), deadline, done };
    this.#queue.push(item);
    this.#queuedRows += count;
    this.#sweep ??= setInterval(() => this.#expire(), sweepMs).unref();
    this.#schedule();
    return item;
  }

  /** Resolves when nothing is queued and nothing runs. */
  idle(): Promise<void> {
    if (!this.#busy && this.#queue.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /**
   * One request that is larger than a batch: run in parts, answered when all are there. The next part queues when the
   * one before is done, so that smaller requests get their turn between two parts.
   */
  #submitParts(inputs: readonly Tensor[], count: number, deadline: number, done: Done): () => void {
    const { maxBatchSize } = this.#policy;
    const parts: (readonly Tensor[])[] = [];
    const submitted = performance.now();
    let item: Item;
    const next = (from: number) => {
      const to = Math.min(count, from + maxBatchSize);
      const part = inputs.map((tensor) => rows(tensor, from, to));
      item = this.#enqueue(part, to - from, deadline, (error, outputs, row, at) => {
        if (error?.code === 'DeadlineExceeded') return done(deadlineError(submitted, at), [], 0, at);
        if (error) return done(error, [], 0, at);
        parts.push(outputs.map((tensor) => rows(tensor, row, row + to - from)));
        if (to < count) return next(to);
        let joined: Tensor[];
        try {
          joined = (parts[0] ?? []).map((_, i) => concatRows(parts.map((p) => p[i] as Tensor)));
        } catch (thrown) {
          return done(inferenceError(thrown), [], 0, at);
        }
        done(undefined, joined, 0, at);
      });
    };
    next(0);
    return () => {
      item.done = undefined;
    };
  }

  #schedule(): void {
    if (this.#busy || this.#scheduled) return;
    const { joinable, maxDelayMs, maxBatchSize } = this.#policy;
    if (joinable && maxDelayMs > 0 && this.#queuedRows < maxBatchSize) {
      this.#delay ??= setTimeout(() => this.#flushNow(), maxDelayMs);
      return;
    }
    this.#scheduled = true;
    // The end of the poll phase: every request that this turn has brought is in the queue by then.
    setImmediate(() => this.#flushNow());
  }

  #flushNow(): void {
    this.#scheduled = false;
    clearTimeout(this.#delay);
    this.#delay = undefined;
    if (!this.#busy) void this.#work();
  }

  /** Runs batches until the queue is empty. Never rejects. */
  async #work(): Promise<void> {
    this.#busy = true;
    for (;;) {
      const batch = this.#take();
      if (batch.length === 0) break;
      this.#inFlight = batch;
      await this.#runBatch(batch);
      this.#inFlight = [];
    }
    this.#busy = false;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** The next requests that share a run: the oldest, and what can join it. */
  #take(): Item[] {
    const { joinable, maxBatchSize } = this.#policy;
    const batch: Item[] = [];
    const rest: Item[] = [];
    const now = performance.now();
    let count = 0;
    for (const item of this.#queue) {
      if (!item.done || item.deadline <= now) {
        this.#queuedRows -= item.rows;
        expire(item, now);
        continue;
      }
      const first = batch[0];
      if (!first || (joinable && item.key === first.key && count + item.rows <= maxBatchSize)) {
        batch.push(item);
        count += item.rows;
      } else rest.push(item);
    }
    this.#queue = rest;
    this.#queuedRows -= count;
    return batch;
  }

  async #runBatch(batch: readonly Item[]): Promise<void> {
    const [first] = batch as [Item, ...Item[]];
    const inputs =
      batch.length === 1
        ? first.inputs
        : first.inputs.map((_, i) => concatRows(batch.map((item) => item.inputs[i] as Tensor)));
    let result: RunResult;
    this.#runStarted = performance.now();
    try {
      result = await this.#run(inputs);
      if (this.#policy.joinable) checkRows(batch, result.outputs);
    } catch (error) {
      if (batch.length > 1) {
        for (const item of batch) if (item.done) await this.#runBatch([item]);
      } else finish(first, inferenceError(error), [], 0, performance.now());
      return;
    }
    const at = performance.now();
    let row = 0;
    for (const item of batch) {
      finish(item, undefined, result.outputs, row, at);
      row += item.rows;
    }
    this.#observer.run(row, result.ms);
  }

  /** Answers what is over its deadline, also what is being run, and lets go of what nobody waits for. */
  #expire(): void {
    const now = performance.now();
    let dead = 0;
    for (const item of this.#queue) {
      if (item.deadline <= now) expire(item, now);
      if (!item.done) dead += item.rows;
    }
    for (const item of this.#inFlight) if (item.deadline <= now) expire(item, now);
    if (dead === 0) return;
    this.#queue = this.#queue.filter(({ done }) => done);
    this.#queuedRows -= dead;
  }
}

function expire(item: Item, now: number): void {
  if (item.done) finish(item, deadlineError(item.submitted, now), [], 0, now);
}

const deadlineError = (submitted: number, now: number): LevadaError =>
  new LevadaError('DeadlineExceeded', { found: Math.round(now - submitted) });

/** The probe has seen a row out for each row in, but the number may depend on the data. */
function checkRows(batch: readonly Item[], outputs: readonly Tensor[]): void {
  let count = 0;
  for (const item of batch) count += item.rows;
  for (const { shape } of outputs)
    if (shape[0] !== count) throw new Error(`it gave ${shape[0]} rows for ${count} rows of input`);
}

function inferenceError(error: unknown): LevadaError {
  if (error instanceof LevadaError) return error;
  return new LevadaError('InferenceFailed', { detail: messageOf(error).slice(0, 500) }, { cause: error });
}

function finish(item: Item, error: LevadaError | undefined, outputs: readonly Tensor[], row: number, at: number): void {
  const { done } = item;
  item.done = undefined;
  done?.(error, outputs, row, at);
}

/** Shapes without their first dimension: what has to agree for rows to be joined. */
function rowKey(inputs: readonly Tensor[]): string {
  let key = '';
  for (const { shape } of inputs) {
    for (let i = 1; i < shape.length; i++) key += `${shape[i]},`;
    key += ';';
  }
  return key;
}
