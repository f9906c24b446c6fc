import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Datatype } from '../../inference/tensors.ts';
import { inferBody, outputValue } from './tensors.ts';

const signature = (datatype: Datatype, shape: number[], name = 'X') => ({
  model: 'fraud',
  version: 'v1',
  inputs: [{ name, datatype, shape }],
});
const tensorOf = (datatype: Datatype, shape: number[], value: unknown) =>
  inferBody(signature(datatype, shape), { X: value });
const expected = (datatype: Datatype, shape: number[], data: string) =>
  `{"inputs":[{"name":"X","datatype":"${datatype}","shape":[${shape}],"data":[${data}]}]}`;

test.each<[Datatype, number[], unknown, number[], string]>([
  ['FP32', [-1, 4], [5.1, 3.5, 1.4, -0], [1, 4], '5.1,3.5,1.4,-0.0'],
  ['FP32', [1, 2], [1, 2], [1, 2], '1,2'],
  ['FP32', [-1], 7, [1], '7'],
  ['FP32', [1], 7, [1], '7'],
  ['FP32', [-1, 1], 7, [1, 1], '7'],
  ['FP32', [-1, 1], [7], [1, 1], '7'],
  ['FP32', [-1, -1], [1, 2, 3], [1, 3], '1,2,3'],
  ['FP32', [-1, -1], 7, [1, 1], '7'],
  [
    'FP32',
    [-1, 2, 3],
    [
      [1, 2, 3],
      [4, 5, 6],
    ],
    [1, 2, 3],
    '1,2,3,4,5,6',
  ],
  ['FP32', [-1, -1, 2], [[1, 2]], [1, 1, 2], '1,2'],
  ['FP32', [], 7, [], '7'],
  ['FP32', [4], [1, 2, 3, 4], [4], '1,2,3,4'],
  [
    'FP32',
    [2, 2],
    [
      [1, 2],
      [3, 4],
    ],
    [2, 2],
    '1,2,3,4',
  ],
  ['FP16', [-1, 2], [65_504, 1e-9], [1, 2], '65504,1e-9'],
  ['FP64', [-1, 1], 1e308, [1, 1], '1e+308'],
  ['BOOL', [-1, 2], [true, false], [1, 2], 'true,false'],
  ['INT8', [-1, 3], [-128, 127, -0], [1, 3], '-128,127,0'],
  ['UINT32', [-1, 1], 4_294_967_295, [1, 1], '4294967295'],
  [
    'INT64',
    [-1, 3],
    [2 ** 53 - 1, '9223372036854775807', '-9223372036854775808'],
    [1, 3],
    '9007199254740991,9223372036854775807,-9223372036854775808',
  ],
  ['UINT64', [-1, 1], '18446744073709551615', [1, 1], '18446744073709551615'],
  ['BYTES', [-1, 2], ['a"b', '中'], [1, 2], '"a\\"b","中"'],
  ['BYTES', [-1, 1], 'web', [1, 1], '"web"'],
])('%s %j takes %j', (datatype, shape, value, sent, data) => {
  expect(tensorOf(datatype, shape, value)).toBe(expected(datatype, sent, data));
});

test.each<[Datatype, number[], unknown, string, string, string]>([
  ['FP32', [-1, 4], [1, 2, 3], 'inputs.X', 'a list of 3', 'a list of 4 (FP32 [4])'],
  ['FP32', [-1, 4], 7, 'inputs.X', '7', 'a list of 4 (FP32 [4])'],
  ['FP32', [-1, 4], null, 'inputs.X', 'null', 'a list of 4 (FP32 [4])'],
  ['FP32', [-1, 4], { a: 1 }, 'inputs.X', 'a map', 'a list of 4 (FP32 [4])'],
  [
    'FP32',
    [-1, 4],
    [1, 2, 3, 'x'],
    'inputs.X[3]',
    '"x"',
    'a finite number, at most 3.4028234663852886e+38 either way (FP32)',
  ],
  [
    'FP32',
    [-1, 2, 4],
    [
      [1, 2, 3, 4],
      [1, 2, 3, null],
    ],
    'inputs.X[1][3]',
    'null',
    'a finite number, at most',
  ],
  ['FP32', [-1, 2, 2], [[1, 2], 3], 'inputs.X[1]', '3', 'a list of 2 (FP32 [2,2])'],
  ['FP32', [-1, 2, 2], [[1, 2], [3]], 'inputs.X[1]', 'a list of 1', 'a list of 2 (FP32 [2,2])'],
  ['FP32', [-1, -1, -1], [[1, 2], [3]], 'inputs.X[1]', 'a list of 1', 'a list of 2 (FP32 [-1,-1])'],
  ['FP32', [-1, -1], [], 'inputs.X', 'an empty list', 'a list of at least one (FP32 [-1])'],
  ['FP32', [-1, 2], [[1], [2]], 'inputs.X[0]', 'a list of 1', 'a finite number'],
  ['FP32', [-1], [7], 'inputs.X', 'a list of 1', 'a finite number'],
  ['FP32', [-1, 1], [1, 2], 'inputs.X', 'a list of 2', 'a list of 1 (FP32 [1])'],
  ['FP32', [-1, 1], '7', 'inputs.X[0]', '"7"', 'a finite number'],
  ['FP32', [-1, 1], true, 'inputs.X[0]', 'true', 'a finite number'],
  ['FP32', [-1, 1], Number.NaN, 'inputs.X[0]', 'NaN', 'a finite number'],
  ['FP32', [-1, 1], 3.5e38, 'inputs.X[0]', '3.5e+38', 'a finite number'],
  ['FP16', [-1, 1], 65_520, 'inputs.X[0]', '65520', 'a finite number, at most 65504 either way (FP16)'],
  ['FP64', [-1, 1], Number.POSITIVE_INFINITY, 'inputs.X[0]', 'Infinity', 'a finite number'],
  ['FP32', [4, 3], [1, 2, 3], 'inputs.X', 'a list of 3', 'a list of 4 (FP32 [4,3])'],
  ['INT8', [-1, 1], 128, 'inputs.X[0]', '128', 'a whole number, -128 to 127 (INT8)'],
  ['UINT8', [-1, 1], -1, 'inputs.X[0]', '-1', 'a whole number, 0 to 255 (UINT8)'],
  ['INT32', [-1, 1], 1.5, 'inputs.X[0]', '1.5', 'a whole number'],
  ['INT32', [-1, 1], '1', 'inputs.X[0]', '"1"', 'a whole number'],
  ['INT64', [-1, 1], 2 ** 53, 'inputs.X[0]', '9007199254740992', 'beyond 2^53 as text (INT64)'],
  ['INT64', [-1, 1], '9223372036854775808', 'inputs.X[0]', '"9223372036854775808"', 'a whole number'],
  ['INT64', [-1, 1], '1e3', 'inputs.X[0]', '"1e3"', 'a whole number'],
  ['INT64', [-1, 1], '', 'inputs.X[0]', '""', 'a whole number'],
  ['UINT64', [-1, 1], '-1', 'inputs.X[0]', '"-1"', 'a whole number, 0 to 18446744073709551615'],
  ['BOOL', [-1, 1], 1, 'inputs.X[0]', '1', 'true or false (BOOL)'],
  ['BYTES', [-1, 1], 7, 'inputs.X[0]', '7', 'text without NUL and lone surrogates (BYTES)'],
  ['BYTES', [-1, 1], 'a\0', 'inputs.X[0]', '"a\\u0000"', 'text without NUL'],
  ['BYTES', [-1, 1], 'a\ud800', 'inputs.X[0]', '"a\\ud800"', 'text without NUL'],
])('%s %j refuses %j', (datatype, shape, value, field, found, allowed) => {
  expect(() => tensorOf(datatype, shape, value)).toThrow(
    expect.objectContaining({
      code: 'ModelInputMismatch',
      params: { field, found, model: 'fraud', allowed: expect.stringContaining(allowed) as string },
    }) as Error,
  );
});

test('every input has to be there, and no other', () => {
  const two = {
    ...signature('FP32', [-1, 2], 'a'),
    inputs: ['a', 'b'].map((name) => ({ name, datatype: 'FP32' as const, shape: [-1] })),
  };
  const refusal = (params: object) => expect.objectContaining({ code: 'ModelInputMismatch', params }) as Error;
  expect(() => inferBody(two, { a: 1 })).toThrow(
    refusal({ field: 'inputs.b', found: 'nothing', model: 'fraud', allowed: 'one FP32' }),
  );
  expect(() => inferBody(two, { a: 1, b: 2, c: 3 })).toThrow(
    refusal({ field: 'inputs.c', found: 'this input', model: 'fraud', allowed: 'a, b' }),
  );
  // What every map has is no input.
  expect(() => inferBody(signature('FP32', [-1], 'toString'), {})).toThrow(refusal(expect.anything() as object));
  expect(JSON.parse(inferBody(two, { b: 2, a: 1 }))).toMatchObject({ inputs: [{ name: 'a' }, { name: 'b' }] });
});

test('what goes in as nested lists comes out as nested lists', () => {
  const matrix = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 })).chain(([rows, columns]) =>
    fc.array(fc.array(fc.integer({ min: -128, max: 127 }), { minLength: columns, maxLength: columns }), {
      minLength: rows,
      maxLength: rows,
    }),
  );
  fc.assert(
    fc.property(matrix, (value) => {
      const { inputs } = JSON.parse(tensorOf('INT8', [-1, -1, -1], value)) as {
        inputs: [{ shape: number[]; data: number[] }];
      };
      expect(inputs[0].shape).toEqual([1, value.length, value[0]?.length]);
      const { shape, data } = inputs[0];
      expect(outputValue({ name: 'Y', shape, data }, true)).toEqual(value.map((row) => row.map((n) => n + 0)));
    }),
  );
});

test.each<[number[], unknown[], boolean, unknown]>([
  [[1, 3], [1, 2, 3], true, [1, 2, 3]],
  [[1], [7], true, 7],
  [[1, 1], ['a'], true, ['a']],
  [[1, 0], [], true, []],
  [[], [7], true, 7],
  [
    [2, 2],
    [1, 2, 3, 4],
    true,
    [
      [1, 2],
      [3, 4],
    ],
  ],
  [[1, 2], [1, 2], false, [[1, 2]]],
])('an output of shape %j with %j, one row: %j, is %j', (shape, data, oneRow, value) => {
  expect(outputValue({ name: 'Y', shape, data }, oneRow)).toEqual(value);
});

test('integers that JSON rounds are text', () => {
  const data = [7n, 9_223_372_036_854_775_807n];
  expect(outputValue({ name: 'Y', shape: [1, 2], data }, true)).toEqual(['7', '9223372036854775807']);
});
