import { expect, test } from 'vitest';
import { type Bar, failed, judge } from './bars.ts';

const bar = (over: Partial<Bar<number>>): Bar<number> => ({
  name: 'x',
  unit: '×',
  better: 'higher',
  goal: 0.85,
  figure: (value) => ({ median: value, min: value, max: value }),
  ...over,
});
const outcome = (over: Partial<Bar<number>>, value: number) => judge([bar(over)], value)[0]?.outcome;

test('a goal without a fatal limit is only reported', () => {
  expect(outcome({}, 0.85)).toBe('PASS');
  expect(outcome({}, 0.1)).toBe('MISS');
});

test('below the fatal limit the run fails, between the two it misses', () => {
  expect(outcome({ fatal: 0.75 }, 0.86)).toBe('PASS');
  expect(outcome({ fatal: 0.75 }, 0.75)).toBe('MISS');
  expect(outcome({ fatal: 0.75 }, 0.749)).toBe('FAIL');
});

test('lower can be better', () => {
  const latency = { better: 'lower', goal: 10, fatal: 10, unit: 'ms' } as const;
  expect(outcome(latency, 10)).toBe('PASS');
  expect(outcome(latency, 10.1)).toBe('FAIL');
  expect(outcome({ better: 'lower', goal: 0, fatal: 0 }, 0)).toBe('PASS');
});

test('a figure that is not a number fails', () => {
  expect(outcome({ fatal: 0.75 }, Number.NaN)).toBe('FAIL');
});

test('what was not measured says so and fails nothing', () => {
  const verdicts = judge([bar({ figure: () => undefined, fatal: 1 })], 0);
  expect(verdicts[0]).toMatchObject({ outcome: 'not measured', fatal: 1 });
  expect(verdicts[0]).not.toHaveProperty('figure');
  expect(failed(verdicts)).toBe(false);
});

test('one failure fails the run', () => {
  expect(failed(judge([bar({}), bar({ fatal: 0.75 })], 0.8))).toBe(false);
  expect(failed(judge([bar({}), bar({ fatal: 0.75 })], 0.5))).toBe(true);
});
