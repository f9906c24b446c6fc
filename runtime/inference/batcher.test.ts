import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { errorCodeOf } from '../../api/errors.ts';
import { Batcher, type BatchPolicy } from './batcher.ts';
import type { RunResult } from './onnx.ts';
import type { Tensor } from './tensors.ts';

// The batcher takes any function as its model: here one whose runs the test ends when it likes. Real models run in
// http.test.ts and load.test.ts.

const tensor = (values: readonly number[], width = 1): Tensor => ({
  datatype: 'FP64',
  shape: [values.length / width, width],
  data: Float64Array.from(values),
});
const valuesOf = (t: Tensor | undefined): number[] => [...((t?.data ?? []) as Float64Array)];
const doubled = ([input]: readonly Tensor[]): RunResult => ({
  outputs: [{ ...(input as Tensor), data: (input!.data as Float64Array).map((v) => v * 2) }],
  ms: 1,
  cpuMs: 1,
});

interface Held {
  inputs: readonly Tensor[];
  finish(): void;
  fail(error: Error): void;
}

/** A batcher whose runs wait until the test ends them. */
function held(policy: Partial<BatchPolicy> = {}) {
  const runs: Held[] = [];
  const observed: number[] = [];
  let arrived: (() => void)[] = [];
  const run = (inputs: readonly Tensor[]) =>
    new Promise<RunResult>((resolve, reject) => {
      runs.push({ inputs, finish: () => resolve(doubled(inputs)), fail: reject });
      for (const wake of arrived.splice(0)) wake();
    });
  const batcher = new Batcher(
    run,
    { joinable: true, maxBatchSize: 4, maxDelayMs: 0, maxQueuedRows: 100, ...policy },
    { run: (rows) => observed.push(rows) },
  );
  arrived = [];
  return {
    batcher,
    runs,
    observed,
    /** Resolves with run number `index`, once it has started. */
    async started(index: number): Promise<Held> {
      while (!runs[index]) await new Promise<void>((resolve) => arrived.push(resolve));
      return runs[index] as Held;
    },
  };
}

function ask(batcher: Batcher, values: readonly number[], { width = 1, deadline = Number.POSITIVE_INFINITY } = {}) {
  let withdraw = () => {};
  let calls = 0;
  const answer = new Promise<number[]>((resolve, reject) => {
    withdraw = batcher.submit([tensor(values, width)], values.length / width, deadline, (error, outputs, row) => {
      calls++;
      if (error) reject(error);
      else resolve(valuesOf(outputs[0]).slice(row * width, row * width + values.length));
    });
  });
  answer.catch(() => {}); // each test looks at it itself, perhaps later
  return { answer, withdraw, calls: () => calls };
}

describe('joining', () => {
  test('one turn brings one run, in order, and each request gets its rows', async () => {
    const { batcher, started, observed } = held();
    const requests = [[1], [2, 3], [4]].map((values) => ask(batcher, values));
    const run = await started(0);
    expect(run.inputs[0]?.shape).toEqual([4, 1]);
    expect(valuesOf(run.inputs[0])).toEqual([1, 2, 3, 4]);
    run.finish();
    expect(await Promise.all(requests.map((r) => r.answer))).toEqual([[2], [4, 6], [8]]);
    await batcher.idle();
    expect(observed).toEqual([4]);
  });

  test('no run is larger than maxBatchSize; runs do not overlap', async () => {
    const { batcher, runs, started } = held();
    const requests = [1, 2, 3, 4, 5, 6].map((value) => ask(batcher, [value]));
    (await started(0)).finish();
    await requests[3]!.answer;
    expect(runs.map(({ inputs }) => valuesOf(inputs[0]))).toEqual([[1, 2, 3, 4]]);
    (await started(1)).finish();
    expect(await requests[5]!.answer).toEqual([12]);
    expect(valuesOf(runs[1]!.inputs[0])).toEqual([5, 6]);
  });

  test('a request that does not fit lets smaller ones behind it pass, and comes next', async () => {
    const { batcher, runs, started } = held();
    const [a, b, c] = [ask(batcher, [1, 2, 3]), ask(batcher, [4, 5]), ask(batcher, [6])];
    (await started(0)).finish();
    await Promise.all([a.answer, c.answer]);
    (await started(1)).finish();
    expect(await b.answer).toEqual([8, 10]);
    expect(runs.map(({ inputs }) => valuesOf(inputs[0]))).toEqual([
      [1, 2, 3, 6],
      [4, 5],
    ]);
  });

  test('requests of different row shapes run apart', async () => {
    const { batcher, runs, started } = held();
    const [a, b, c] = [ask(batcher, [1]), ask(batcher, [2, 3], { width: 2 }), ask(batcher, [4])];
    (await started(0)).finish();
    await Promise.all([a.answer, c.answer]);
    (await started(1)).finish();
    expect(await b.answer).toEqual([4, 6]);
    expect(runs.map(({ inputs }) => inputs[0]?.shape)).toEqual([
      [2, 1],
      [1, 2],
    ]);
  });

  test('a model whose rows cannot be joined gets each request alone, however large', async () => {
    const { batcher, runs, started } = held({ joinable: false });
    const requests = [ask(batcher, [1, 2, 3, 4, 5, 6]), ask(batcher, [7])];
    (await started(0)).finish();
    (await started(1)).finish();
    expect(await Promise.all(requests.map((r) => r.answer))).toEqual([[2, 4, 6, 8, 10, 12], [14]]);
    expect(runs.map(({ inputs }) => inputs[0]?.shape[0])).toEqual([6, 1]);
  });

  test('maxDelay waits for more, and a full batch ends the wait', async () => {
    const { batcher, runs, started } = held({ maxDelayMs: 600_000 });
    const first = ask(batcher, [1]);
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    expect(runs).toHaveLength(0);
    const rest = [2, 3, 4].map((value) => ask(batcher, [value]));
    (await started(0)).finish();
    expect(await first.answer).toEqual([2]);
    expect(await rest[2]!.answer).toEqual([8]);
  });

  test('maxDelay ends by itself', async () => {
    const { batcher, started } = held({ maxDelayMs: 30 });
    const start = performance.now();
    const { answer } = ask(batcher, [1]);
    (await started(0)).finish();
    expect(await answer).toEqual([2]);
    expect(performance.now() - start).toBeGreaterThanOrEqual(29);
  });

  test('a wait for more is pointless where nothing can be joined', async () => {
    const { batcher, started } = held({ joinable: false, maxDelayMs: 600_000 });
    const { answer } = ask(batcher, [1]);
    (await started(0)).finish();
    expect(await answer).toEqual([2]);
  });
});

describe('requests larger than a batch', () => {
  test('run in parts and are answered once, whole', async () => {
    const { batcher, runs, started } = held();
    const request = ask(batcher, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    for (const part of [0, 1, 2]) (await started(part)).finish();
    expect(await request.answer).toEqual([2, 4, 6, 8, 10, 12, 14, 16, 18]);
    expect(runs.map(({ inputs }) => inputs[0]?.shape[0])).toEqual([4, 4, 1]);
    expect(request.calls()).toBe(1);
  });

  test('let others in between', async () => {
    const { batcher, runs, started } = held();
    const large = ask(batcher, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    const first = await started(0);
    const small = ask(batcher, [100]);
    first.finish();
    (await started(1)).finish();
    expect(await small.answer).toEqual([200]);
    expect(runs).toHaveLength(2);
    for (const part of [2, 3]) (await started(part)).finish();
    expect(await large.answer).toHaveLength(12);
  });

  test('fail once when a part fails, and no later part runs', async () => {
    const { batcher, runs, started } = held();
    const request = ask(batcher, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    (await started(0)).finish();
    (await started(1)).fail(new Error('no'));
    await expect(request.answer).rejects.toMatchObject({ code: 'InferenceFailed' });
    await batcher.idle();
    expect([runs.length, request.calls()]).toEqual([2, 1]);
  });

  test('do not take time by the square of their size', async () => {
    const batcher = new Batcher(
      async (inputs) => doubled(inputs),
      { joinable: true, maxBatchSize: 1, maxDelayMs: 0, maxQueuedRows: 10 },
      { run: () => {} },
    );
    const values = Array.from({ length: 100_000 }, (_, i) => i);
    const start = performance.now();
    expect((await ask(batcher, values).answer).at(-1)).toBe(199_998);
    // Some 0.2 s; by the square it would be minutes.
    expect(performance.now() - start).toBeLessThan(10_000);
  });
});

describe('limits', () => {
  test('QueueFull when the rows that wait are too many; rows in a run do not count', async () => {
    const { batcher, started } = held({ maxQueuedRows: 5 });
    ask(batcher, [0, 0, 0, 0]);
    const run = await started(0);
    expect(batcher.queuedRows).toBe(0);
    const waiting = [ask(batcher, [1, 1]), ask(batcher, [1, 1, 1])];
    expect(batcher.queuedRows).toBe(5);
    await expect(ask(batcher, [1]).answer).rejects.toMatchObject({ code: 'QueueFull' });
    run.finish();
    (await started(1)).finish();
    (await started(2)).finish();
    await Promise.all(waiting.map((w) => w.answer));
    expect(batcher.queuedRows).toBe(0);
  });

  test('a request larger than the whole queue is taken when nothing waits', async () => {
    const { batcher, started } = held({ joinable: false, maxQueuedRows: 2 });
    const { answer } = ask(batcher, [1, 2, 3]);
    (await started(0)).finish();
    expect(await answer).toEqual([2, 4, 6]);
  });

  test('a deadline in the queue: answered, never run, and its place is free at once', async () => {
    const { batcher, runs, started } = held({ maxQueuedRows: 1 });
    const first = ask(batcher, [1]);
    const run = await started(0);
    const late = ask(batcher, [2], { deadline: performance.now() + 30 });
    await expect(late.answer).rejects.toMatchObject({ code: 'DeadlineExceeded' });
    expect(batcher.queuedRows).toBe(0);
    run.finish();
    await first.answer;
    await batcher.idle();
    expect(runs).toHaveLength(1);
    expect(late.calls()).toBe(1);
  });

  test('a deadline during the run: answered while the run goes on, and only once', async () => {
    const { batcher, started } = held();
    const late = ask(batcher, [1], { deadline: performance.now() + 30 });
    const patient = ask(batcher, [2]);
    const run = await started(0);
    await expect(late.answer).rejects.toMatchObject({ code: 'DeadlineExceeded' });
    expect(patient.calls()).toBe(0);
    run.finish();
    expect(await patient.answer).toEqual([4]);
    await batcher.idle();
    expect(late.calls()).toBe(1);
  });

  test('a deadline that is over before the run starts: never run', async () => {
    const { batcher, runs } = held();
    const late = ask(batcher, [1], { deadline: performance.now() - 1 });
    await expect(late.answer).rejects.toMatchObject({ code: 'DeadlineExceeded' });
    await batcher.idle();
    expect(runs).toHaveLength(0);
  });

  test('a withdrawn request is neither run nor answered, and its place becomes free', async () => {
    const { batcher, runs, started } = held({ maxQueuedRows: 2 });
    const first = ask(batcher, [1]);
    const run = await started(0);
    const gone = ask(batcher, [2, 2]);
    gone.withdraw();
    while (batcher.queuedRows > 0) await new Promise((resolve) => setImmediate(resolve));
    const next = ask(batcher, [3]);
    run.finish();
    (await started(1)).finish();
    expect(await next.answer).toEqual([6]);
    await first.answer;
    expect([runs.length, gone.calls()]).toEqual([2, 0]);
    expect(valuesOf(runs[1]!.inputs[0])).toEqual([3]);
  });

  test('idle() waits for what runs and what waits', async () => {
    const { batcher, started } = held();
    await batcher.idle();
    const first = ask(batcher, [1, 2, 3, 4]);
    const run = await started(0);
    ask(batcher, [5]);
    let idle = false;
    const ended = batcher.idle().then(() => {
      idle = true;
    });
    run.finish();
    await first.answer;
    const last = await started(1);
    expect(idle).toBe(false);
    expect(batcher.runningMs).toBeGreaterThan(0);
    last.finish();
    await ended;
    expect(batcher.runningMs).toBe(0);
  });
});

describe('failures', () => {
  const guilty = async (inputs: readonly Tensor[]): Promise<RunResult> => {
    if (valuesOf(inputs[0]).some((v) => v < 0)) throw new Error('negative');
    return doubled(inputs);
  };
  const policy: BatchPolicy = { joinable: true, maxBatchSize: 8, maxDelayMs: 0, maxQueuedRows: 10_000 };

  test('only the guilty request of a joined run fails', async () => {
    const observed: number[] = [];
    const batcher = new Batcher(guilty, policy, { run: (rows) => observed.push(rows) });
    const requests = [[1], [-2], [3, 4]].map((values) => ask(batcher, values).answer);
    expect(await Promise.allSettled(requests)).toMatchObject([
      { value: [2] },
      { reason: { code: 'InferenceFailed', message: 'the model failed on this input: negative' } },
      { value: [6, 8] },
    ]);
    expect(observed).toEqual([1, 2]);
  });

  test('a withdrawn request is not run again alone', async () => {
    const { batcher, runs, started } = held();
    const [a, b] = [ask(batcher, [1]), ask(batcher, [2])];
    const joined = await started(0);
    a.withdraw();
    joined.fail(new Error('no'));
    (await started(1)).finish();
    expect(await b.answer).toEqual([4]);
    expect(runs.map(({ inputs }) => valuesOf(inputs[0]))).toEqual([[1, 2], [2]]);
  });

  test('a run that gives another number of rows than it got is a failure, never a wrong answer', async () => {
    const positive = async ([input]: readonly Tensor[]): Promise<RunResult> => {
      const kept = valuesOf(input).filter((v) => v > 0);
      return { outputs: [tensor(kept)], ms: 1, cpuMs: 1 };
    };
    const batcher = new Batcher(positive, policy, { run: () => {} });
    const requests = [[1], [-2], [3]].map((values) => ask(batcher, values).answer);
    expect(await Promise.allSettled(requests)).toMatchObject([
      { value: [1] },
      { reason: { code: 'InferenceFailed' } },
      { value: [3] },
    ]);
  });

  test('whatever the mix, each request is answered once, with its own rows', async () => {
    const request = fc.record({
      values: fc.array(fc.integer({ min: -1, max: 1_000 }), { minLength: 1, maxLength: 20 }),
      width: fc.constantFrom(1, 2),
      turns: fc.integer({ min: 0, max: 2 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, { maxLength: 40 }),
        fc.integer({ min: 1, max: 9 }),
        fc.boolean(),
        async (mix, maxBatchSize, joinable) => {
          let most = 0;
          const batcher = new Batcher(
            guilty,
            { ...policy, maxBatchSize, joinable },
            {
              run: (rows) => {
                most = Math.max(most, rows);
              },
            },
          );
          const asked = [];
          for (const { values, width, turns } of mix) {
            for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
            const whole = values.flatMap((v) => (width === 1 ? [v] : [v, v]));
            asked.push({ whole, ...ask(batcher, whole, { width }) });
          }
          for (const { whole, answer } of asked) {
            const result = await answer.catch((error: unknown) => errorCodeOf(error));
            expect(result).toEqual(whole.some((v) => v < 0) ? 'InferenceFailed' : whole.map((v) => v * 2));
          }
          await batcher.idle();
          expect(asked.every(({ calls }) => calls() === 1)).toBe(true);
          expect(batcher.queuedRows).toBe(0);
          if (joinable) expect(most).toBeLessThanOrEqual(maxBatchSize);
        },
      ),
      { numRuns: 150 },
    );
  });
});
