import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { KeyedQueue, type QueueOptions } from './queue.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Work that ends when it is told to, and a record of what happened. */
function setUp(options: Partial<QueueOptions> = {}) {
  const started: string[] = [];
  const open = new Map<string, { resolve: () => void; reject: (error: Error) => void }>();
  const failures: Array<[string, string, number]> = [];
  const work = (key: string) =>
    new Promise<undefined>((resolve, reject) => {
      expect(open.has(key), `two workers of ${key}`).toBe(false);
      started.push(key);
      open.set(key, { resolve: () => resolve(undefined), reject });
    });
  const queue = new KeyedQueue(work, {
    firstMs: 100,
    maxMs: 400,
    failed: (key, error, nextMs) => failures.push([key, String(error), nextMs]),
    ...options,
  });
  const end = async (key: string, error?: string) => {
    const entry = open.get(key);
    open.delete(key);
    if (error === undefined) entry?.resolve();
    else entry?.reject(new Error(error));
    await vi.advanceTimersByTimeAsync(0);
  };
  return { queue, started, failures, end };
}

describe('KeyedQueue', () => {
  it('lets the process do other things between keys, also where no work waits for anything', async () => {
    vi.useRealTimers();
    const keys = 100;
    let done = 0;
    const doneAt: number[] = [];
    const queue = new KeyedQueue(async () => void done++, { firstMs: 1, maxMs: 1, workers: 4, failed: () => {} });
    const look = () => {
      doneAt.push(done);
      if (done < keys) setImmediate(look);
    };
    setImmediate(look);
    for (let i = 0; i < keys; i++) queue.add(String(i), 'resync');
    await vi.waitFor(() => expect(doneAt.at(-1)).toBe(keys));
    const steps = doneAt.map((count, i) => count - (doneAt[i - 1] ?? 0));
    expect(Math.max(...steps)).toBeLessThanOrEqual(8);
  });

  it('tells its work how often in a row the key has failed', async () => {
    const told: number[] = [];
    const fails = [true, true, false, true, false];
    const work = async (_: string, failures: number) => {
      told.push(failures);
      if (fails[told.length - 1]) throw new Error('no');
      return told.length < fails.length ? 1 : undefined;
    };
    const queue = new KeyedQueue(work, { firstMs: 1, maxMs: 1, failed: () => {} });
    queue.add('a');
    await vi.advanceTimersByTimeAsync(100);
    expect(told).toEqual([0, 1, 2, 0, 1]);
  });

  it('works on a key once, however often it is added meanwhile, and then once more', async () => {
    const { queue, started, end } = setUp();
    for (let i = 0; i < 5; i++) queue.add('a');
    expect(started).toEqual(['a']);
    await end('a');
    expect(started).toEqual(['a', 'a']);
    await end('a');
    expect(started).toEqual(['a', 'a']);
    queue.add('a');
    expect(started).toEqual(['a', 'a', 'a']);
    await end('a');
  });

  it('tells which keys take longer than they may, and gives them to nobody else', async () => {
    const { queue, started, end } = setUp({ timeoutMs: 1_000 });
    queue.add('a');
    await vi.advanceTimersByTimeAsync(600);
    queue.add('b');
    await vi.advanceTimersByTimeAsync(600);
    queue.add('a');
    expect(queue.hanging).toEqual(['a']);
    expect(started).toEqual(['a', 'b']);
    await end('a');
    expect(queue.hanging).toEqual([]);
    expect(started).toEqual(['a', 'b', 'a']);
    await end('a');
    await end('b');
  });

  it('works on a key again after the time that it asks for, unless something comes before', async () => {
    const started: number[] = [];
    const queue = new KeyedQueue(
      async () => {
        started.push(Date.now());
        return started.length < 4 ? 1_000 : undefined;
      },
      { firstMs: 100, maxMs: 400, failed: () => {} },
    );
    const begin = Date.now();
    queue.add('a');
    await vi.advanceTimersByTimeAsync(1_500);
    queue.add('a'); // at 1,500: the next is at 2,500, not at 2,000
    await vi.advanceTimersByTimeAsync(10_000);
    expect(started.map((time) => time - begin)).toEqual([0, 1_000, 1_500, 2_500]);
    await queue.close();
  });

  it('works on different keys at the same time', async () => {
    const { queue, started, end } = setUp();
    queue.add('a');
    queue.add('b');
    expect(started).toEqual(['a', 'b']);
    await end('b');
    await end('a');
  });

  it('tries what fails again, later and later up to a limit, and from the beginning after a success', async () => {
    const { queue, started, failures, end } = setUp();
    queue.add('a');
    for (const wait of [100, 200, 400, 400]) {
      const count = started.length;
      await end('a', 'no');
      expect(failures.at(-1)).toEqual(['a', 'Error: no', wait]);
      await vi.advanceTimersByTimeAsync(wait - 1);
      expect(started).toHaveLength(count);
      await vi.advanceTimersByTimeAsync(1);
      expect(started).toHaveLength(count + 1);
    }
    await end('a');
    queue.add('a');
    await end('a', 'no');
    expect(failures.at(-1)).toEqual(['a', 'Error: no', 100]);
  });

  it('does not wait with a key that is added anew, and tries it once', async () => {
    const { queue, started, end } = setUp();
    queue.add('a');
    await end('a', 'no');
    queue.add('a');
    expect(started).toHaveLength(2);
    await end('a');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(started).toHaveLength(2);
  });

  it('drops the second try where the key was added while it failed, and has succeeded since', async () => {
    const { queue, started, end } = setUp();
    queue.add('a');
    queue.add('a');
    await end('a', 'no');
    expect(started).toHaveLength(2);
    await end('a');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(started).toHaveLength(2);
  });

  it('does not hold up other keys by one that fails', async () => {
    const { queue, started, end } = setUp();
    queue.add('a');
    await end('a', 'no');
    queue.add('b');
    await end('b');
    expect(started).toEqual(['a', 'b']);
    await vi.advanceTimersByTimeAsync(100);
    expect(started).toEqual(['a', 'b', 'a']);
    await end('a');
  });

  it('has no more workers than it may, and sees to what has changed before what is only looked at again', async () => {
    const observer = { added: vi.fn(), started: vi.fn(), ended: vi.fn(), retried: vi.fn() };
    const { queue, started, end } = setUp({ workers: 2, observer });
    for (const key of ['a', 'b', 'c', 'd']) queue.add(key, 'resync');
    expect([queue.depth, queue.active.length]).toEqual([2, 2]);
    queue.add('e');
    queue.add('d');
    queue.add('c', 'resync');
    queue.add('a', 'resync');
    expect(started).toEqual(['a', 'b']);
    for (const key of ['a', 'b', 'e', 'd', 'c', 'a']) await end(key);
    expect(started).toEqual(['a', 'b', 'e', 'd', 'c', 'a']);
    expect([queue.depth, queue.active.length]).toEqual([0, 0]);
    expect(observer.added).toHaveBeenCalledTimes(6);
    expect(observer.started).toHaveBeenCalledTimes(6);
    expect(observer.ended).toHaveBeenCalledTimes(6);
    expect(observer.retried).not.toHaveBeenCalled();
  });

  it('when it is closed, ends what it is at and takes nothing more', async () => {
    const { queue, started, end } = setUp();
    queue.add('waits');
    await end('waits', 'no');
    queue.add('a');
    queue.add('a');
    let closed = false;
    const closing = queue.close().then(() => {
      closed = true;
    });
    queue.add('b');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(closed).toBe(false);
    await end('a', 'no');
    await closing;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(started).toEqual(['waits', 'a']);
  });
});
