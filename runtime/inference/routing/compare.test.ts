import { expect, test } from 'vitest';
import type { Tensor } from '../tensors.ts';
import { differ } from './compare.ts';

const floats = (...data: number[]): Tensor => ({
  datatype: 'FP64',
  shape: [data.length],
  data: new Float64Array(data),
});
const ints = (...data: bigint[]): Tensor => ({
  datatype: 'INT64',
  shape: [data.length],
  data: new BigInt64Array(data),
});
const texts = (...data: string[]): Tensor => ({ datatype: 'BYTES', shape: [data.length], data });

test.each<[string, Tensor, Tensor, boolean]>([
  ['the same labels', ints(1n, 2n), ints(1n, 2n), false],
  ['one label of two', ints(1n, 2n), ints(1n, 3n), true],
  ['the same texts', texts('a', 'b'), texts('a', 'b'), false],
  ['another text', texts('a'), texts('b'), true],
  ['rounding', floats(0.2, 0.8), floats(0.2004, 0.7996), false],
  ['a score that is another one', floats(0.2), floats(0.202), true],
  ['a great number, by its size', floats(10_000), floats(10_009), false],
  ['a great number that is another one', floats(10_000), floats(10_011), true],
  ['no number on either side', floats(Number.NaN), floats(Number.NaN), false],
  ['no number on one side', floats(Number.NaN), floats(1), true],
  ['one infinity and the other', floats(Number.POSITIVE_INFINITY), floats(Number.NEGATIVE_INFINITY), true],
  ['more of them', floats(1), floats(1, 2), true],
  ['another datatype', floats(1), ints(1n), true],
])('%s', (_, a, b, expected) => {
  expect(differ(a, b)).toBe(expected);
  expect(differ(b, a)).toBe(expected);
});
