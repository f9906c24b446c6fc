import { describe, expect, it } from 'vitest';
import { plainScalar } from './scalar.ts';

/** What k8s.io/apimachinery's decoder, which kubectl uses, makes of `a: TEXT`; v0.34.4. */
const asKubectl: ReadonlyArray<readonly [text: string, value: unknown]> = [
  ...['', '~', 'null', 'Null', 'NULL'].map((text) => [text, null] as const),
  ...['yes', 'Yes', 'YES', 'y', 'Y', 'on', 'On', 'ON', 'true', 'True', 'TRUE'].map((text) => [text, true] as const),
  ...['no', 'No', 'NO', 'n', 'N', 'off', 'Off', 'OFF', 'false', 'False', 'FALSE'].map((text) => [text, false] as const),
  ...['nULL', 'yEs', 'tRUE', 't', 'f'].map((text) => [text, text] as const),
  ['0', 0],
  ['-0', 0],
  ['+1', 1],
  ['-12', -12],
  ['0777', 511],
  ['-0777', -511],
  ['08', 8],
  ['0o17', 15],
  ['0O17', 15],
  ['0x1F', 31],
  ['0X1f', 31],
  ['-0x10', -16],
  ['0x', '0x'],
  ['0b11', 3],
  ['-0b11', -3],
  ['0b2', '0b2'],
  ['1_000', 1000],
  ['1_', 1],
  ['_1', '_1'],
  ['0x_1', 1],
  ['18446744073709551615', 18446744073709552000],
  ['18446744073709551616', 18446744073709552000],
  ['-9223372036854775808', -9223372036854776000],
  ['0xffffffffffffffff', 18446744073709552000],
  ['0xffffffffffffffffff', '0xffffffffffffffffff'],
  ['07777777777777777777777777', 7.777777777777778e24],
  ['1.5', 1.5],
  ['.5', 0.5],
  ['5.', 5],
  ['-.5', -0.5],
  ['1e3', 1000],
  ['1E-2', 0.01],
  ['1e', '1e'],
  ['1e999', '1e999'],
  ['1_0.5', 10.5],
  ['.1_0', 0.1],
  ['._5', '._5'],
  ['685_230.15', 685230.15],
  ...['1:30', '190:20:30', '2020-01-01', '2020-01-01T10:00:00Z', '1234-5'].map((text) => [text, text] as const),
  ...['v1', '1.0.0', '10m', '1Gi', '=', '<', '<<', 'Infinity', 'NaN', 'file:///x'].map((text) => [text, text] as const),
];

describe('plainScalar', () => {
  it.each(asKubectl)('%s is %j', (text, value) => expect(plainScalar(text)).toStrictEqual(value));

  it.each(['.nan', '.NaN', '.NAN', '.inf', '-.Inf', '+.INF'])('%s is a number that JSON does not have', (text) => {
    expect(Number.isFinite(plainScalar(text))).toBe(false);
  });
});
