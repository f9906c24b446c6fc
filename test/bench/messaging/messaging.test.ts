import { expect, test } from 'vitest';
import { bodyBytes, orderBody } from './clients/body.ts';
import { timingOf } from './consumers.ts';
import { halfLoad } from './latency.ts';

const output = (lines: string[], average: string) =>
  [
    'id: test, starting consumer #0',
    'time           received       consumer latency',
    ...lines,
    'test stopped (Consumer reached message limit)',
    'sending rate avg: 0 msg/s',
    `receiving rate avg: ${average} msg/s`,
  ].join('\n');

test("PerfTest's warm-up is the whole seconds that have taken the warm-up's messages", () => {
  const lines = ['1.000s      10000 msg/s           0/0/0/0/0 µs', '2.000s      40,000 msg/s           0/0/0/0/0 µs'];
  const slow = timingOf(output(lines, '25000'), { total: 100_000, warmUp: 20_000 }, [1, 2, 3.5]);
  expect(slow).toEqual({ count: 50_000, seconds: 2, cpu: 1.5 });
  const quick = timingOf(output(lines, '25,000'), { total: 100_000, warmUp: 5_000 }, [1, 2, 3.5]);
  expect(quick).toEqual({ count: 90_000, seconds: 3, cpu: 2.5 });
});

test('one that is through before it is warm is timed whole', () => {
  expect(timingOf(output([], '50000'), { total: 40_000, warmUp: 5_000 }, [0.7])).toEqual({
    ...{ count: 40_000, seconds: 0.8, cpu: 0.7 },
  });
  const line = '1.000s      39000 msg/s           0/0/0/0/0 µs';
  const nearly = timingOf(output([line], '40000'), { total: 40_000, warmUp: 5_000 }, [0.7, 0.8]);
  expect(nearly).toMatchObject({ count: 40_000, seconds: 1 });
});

test('PerfTest without a rate is no figure', () => {
  expect(() => timingOf('Exception in thread main', { total: 1, warmUp: 0 }, [])).toThrow('Exception in thread main');
});

test('half load: each message goes in and out', () => {
  expect(halfLoad([30_000], [60_000])).toBe(10_000);
  expect(halfLoad([10_000, 20_000, 90_000], [20_000])).toBe(5_000);
});

test('all bodies are equally long', () => {
  for (const n of [0, 9, 12_345, 219_999]) {
    for (const due of [0, 81_234_567_890]) expect(orderBody(n, due)).toHaveLength(bodyBytes);
  }
});
