import { describe, expect, test } from 'vitest';
import type { Tensor, TensorInfo } from '../tensors.ts';
import { allFinite, blameFor, budgetMs, fitOf, hasTimeForBoth, lessFinite, misfit } from './rules.ts';

const info = (name: string, shape: number[], datatype: TensorInfo['datatype'] = 'FP32'): TensorInfo => ({
  name,
  shape,
  datatype,
});
const tensor = (values: number[], shape = [values.length, 1]): Tensor => ({
  datatype: 'FP32',
  shape,
  data: Float32Array.from(values),
});

test.each([
  // remaining, stable's p99, budget
  [30_000, 0, 15_000],
  [400, 0, 200],
  [30_000, 1, 250],
  [30_000, 80, 250],
  [30_000, 100, 300],
  [400, 100, 200],
  [30_000, 20_000, 15_000],
])('of %d ms that are left, with a p99 of %d ms: %d ms', (remaining, p99, expected) => {
  expect(budgetMs(remaining, p99)).toBe(expected);
});

test.each([
  // remaining, stable's p99
  [20, 12, false],
  [23.9, 12, false],
  [24, 12, true],
  [20, 0, true],
])('of %d ms that are left, with a p99 of %d ms, there is time for both: %s', (remaining, p99, expected) => {
  expect(hasTimeForBoth(remaining, p99)).toBe(expected);
});

test.each([
  [undefined, 'candidate'],
  ['InferenceFailed', 'client'],
  ['OutputNotFinite', 'client'],
  ['InvalidInput', 'client'],
  ['QueueFull', 'unclear'],
  ['DeadlineExceeded', 'unclear'],
  ['ModelNotReady', 'unclear'],
] as const)('the stable version says %s: the fault is %s', (code, expected) => {
  expect(blameFor(code)).toBe(expected);
});

describe('whether a version can stand in for the stable one', () => {
  const stable = {
    inputs: [info('a', [-1, 2]), info('b', [-1, 3])],
    outputs: [info('y', [-1]), info('z', [-1, 4])],
  };

  test('in any order, with fewer inputs and more outputs', () => {
    const other = { inputs: [info('b', [-1, 3])], outputs: [info('z', [-1, 4]), info('extra', []), info('y', [-1])] };
    expect(fitOf(stable, other)).toEqual({ inputs: [1], outputs: [2, 0] });
  });

  test('free dimensions may be fixed on one side', () => {
    const other = { inputs: [info('a', [1, 2])], outputs: [info('y', [1]), info('z', [-1, -1])] };
    expect(fitOf(stable, other)).toEqual({ inputs: [0], outputs: [0, 1] });
  });

  test.each([
    ['an input more', { ...stable, inputs: [info('c', [-1])] }, 'input c is on one side only'],
    ['an output less', { ...stable, outputs: [info('y', [-1])] }, 'output z is on one side only'],
    [
      'another datatype',
      { ...stable, inputs: [info('a', [-1, 2], 'FP64')] },
      'input a is FP64 on one side, FP32 on the other',
    ],
    [
      'another width',
      { ...stable, outputs: [info('y', [-1]), info('z', [-1, 5])] },
      'output z is [-1,4] on one side, [-1,5] on the other',
    ],
    [
      'another rank',
      { ...stable, outputs: [info('y', [-1, 1]), info('z', [-1, 4])] },
      'output y is [-1] on one side, [-1,1] on the other',
    ],
  ])('not with %s', (_name, other, expected) => {
    expect(fitOf(stable, other)).toBe(expected);
  });
});

test.each([
  [[tensor([1, 2])], [info('y', [-1, 1])], 2, undefined],
  [[tensor([1, 2])], [info('y', [-1, 1])], undefined, undefined],
  [[tensor([1, 2])], [info('y', [-1, 1])], 1, 'y has the shape [2,1] instead of [-1,1]'],
  [[tensor([1, 2])], [info('y', [-1, 2])], 2, 'y has the shape [2,1] instead of [-1,2]'],
  [[tensor([1, 2], [2])], [info('y', [-1, 1])], 2, 'y has the shape [2] instead of [-1,1]'],
  [[tensor([1, 2])], [info('y', [-1, -1])], 2, undefined],
  [[tensor([1])], [info('y', [1, 1])], 5, undefined],
  [[tensor([1])], [info('y', [1, 1], 'INT64')], 1, 'y is FP32 instead of INT64'],
  [[tensor([1])], [], 1, '1 tensors instead of 0'],
])('misfit %#', (tensors, infos, rows, expected) => {
  expect(misfit(tensors, infos, rows)).toBe(expected);
});

test('NaN and infinities count where the stable version has a number', () => {
  const [nan, inf] = [Number.NaN, Number.POSITIVE_INFINITY];
  expect(allFinite([tensor([1, 2]), { datatype: 'BYTES', shape: [1], data: ['NaN'] }])).toBe(true);
  expect(allFinite([tensor([1]), tensor([1, inf])])).toBe(false);
  expect(lessFinite([tensor([1, nan])], [tensor([1, 2])])).toBe(true);
  expect(lessFinite([tensor([inf, 1])], [tensor([1, nan])])).toBe(true);
  expect(lessFinite([tensor([1, nan])], [tensor([5, inf])])).toBe(false);
  expect(lessFinite([tensor([1, nan])], [tensor([5])])).toBe(true);
  expect(lessFinite([tensor([1, 2])], [tensor([nan, nan])])).toBe(false);
});
