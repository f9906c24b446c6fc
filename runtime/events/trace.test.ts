import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { childSpan, parseTraceparent } from './trace.ts';

const traceId = '0af7651916cd43dd8448eb211c80319c';
const parentId = 'b7ad6b7169203331';
const valid = `00-${traceId}-${parentId}-01`;

test.each<[string, boolean | undefined]>([
  [valid, true],
  [` ${valid} `, true],
  [`00-${traceId}-${parentId}-00`, false],
  [`00-${traceId}-${parentId}-03`, true],
  [`cc-${traceId}-${parentId}-01`, true],
  [`cc-${traceId}-${parentId}-01-what-the-future-will-be-like`, true],
  [`cc-${traceId}-${parentId}-01.what`, undefined],
  [`${valid}-more`, undefined],
  [`ff-${traceId}-${parentId}-01`, undefined],
  [`00-${'0'.repeat(32)}-${parentId}-01`, undefined],
  [`00-${traceId}-${'0'.repeat(16)}-01`, undefined],
  [valid.toUpperCase(), undefined],
  [`00-${traceId}-${parentId}`, undefined],
  [`0-${traceId}-${parentId}-01`, undefined],
  [`00-${traceId}x-${parentId}-01`, undefined],
  [valid.replaceAll('-', '.'), undefined],
  ['', undefined],
])('%j is a traceparent, sampled: %j', (text, sampled) => {
  expect(parseTraceparent(text)).toEqual(sampled === undefined ? undefined : { traceId, parentId, sampled });
});

test('a child is another span of the same trace, and keeps the decision about samples', () => {
  const random = (count: number) => new Uint8Array(count).fill(0xab);
  expect(childSpan({ traceparent: valid, tracestate: 'a=1,b=2' }, random)).toEqual({
    traceparent: `00-${traceId}-abababababababab-01`,
    tracestate: 'a=1,b=2',
  });
  expect(childSpan({ traceparent: `cc-${traceId}-${parentId}-00-x` }, random)).toEqual({
    traceparent: `00-${traceId}-abababababababab-00`,
  });
});

test('without a valid parent there is a new trace, and no tracestate of another one', () => {
  for (const traceparent of [undefined, 'nonsense', `ff-${traceId}-${parentId}-01`]) {
    const first = childSpan({ traceparent, tracestate: 'a=1' }, randomBytes);
    const second = childSpan({ traceparent, tracestate: 'a=1' }, randomBytes);
    expect(Object.keys(first)).toEqual(['traceparent']);
    expect(parseTraceparent(first.traceparent)).toMatchObject({ sampled: true });
    expect(first.traceparent).not.toBe(second.traceparent);
  }
});

test('an id is never all zeros, whatever the source gives', () => {
  const { traceparent } = childSpan({}, (count) => new Uint8Array(count));
  expect(parseTraceparent(traceparent)).toBeDefined();
});

test('a child of a child stays in the trace', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 24, maxLength: 24 }), (bytes) => {
      const parent = childSpan({}, (count) => bytes.subarray(0, count));
      const child = childSpan(parent, randomBytes);
      expect(parseTraceparent(child.traceparent)?.traceId).toBe(parseTraceparent(parent.traceparent)?.traceId);
    }),
  );
});

test.each<[string, string | undefined]>([
  ['rojo=00f067aa0ba902b7,congo=t61rcWkgMzE', 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE'],
  [' a=1 ,, b=2 ', 'a=1,b=2'],
  ['fw529a3039@dt=FfAaBb', 'fw529a3039@dt=FfAaBb'],
  ['a=1 2', 'a=1 2'],
  [
    Array.from({ length: 32 }, (_, i) => `k${i}=v`).join(','),
    Array.from({ length: 32 }, (_, i) => `k${i}=v`).join(','),
  ],
  [Array.from({ length: 33 }, (_, i) => `k${i}=v`).join(','), undefined],
  ['a=1,a=2', undefined],
  ['A=1', undefined],
  ['a', undefined],
  ['a=', undefined],
  ['a=b=c', undefined],
  ['a=1\r\nx-injected: 1', undefined],
  ['a=ü', undefined],
  ['', undefined],
  [`a=${'x'.repeat(257)}`, undefined],
])('of tracestate %j, %j is carried', (tracestate, carried) => {
  expect(childSpan({ traceparent: valid, tracestate }, randomBytes).tracestate).toBe(carried);
});
