import { expect, it } from 'vitest';
import { isApplied } from './applied.ts';

it.for([
  ['more is there: defaults, status', { a: 1 }, { a: 1, b: 2 }, true],
  ['another value', { a: 1 }, { a: 2 }, false],
  ['a field that is missing', { a: 1 }, {}, false],
  ['deep inside a list', { list: [{ name: 'x', v: 1 }] }, { list: [{ name: 'x', v: 1, w: 2 }] }, true],
  ['an entry that is missing', { list: [1, 2] }, { list: [1] }, false],
  ['an entry too many', { list: [1] }, { list: [1, 2] }, false],
  ['another order', { list: [1, 2] }, { list: [2, 1] }, false],
  ['an empty object that the API server leaves out', { emptyDir: {} }, {}, true],
  ['what is undefined is not wanted', { a: undefined }, {}, true],
  [
    'quantities in another form',
    { limits: { cpu: '1000m', memory: '1024Mi' } },
    { limits: { cpu: '1', memory: '1Gi' } },
    true,
  ],
  ['a number as a quantity', { requests: { cpu: 2 } }, { requests: { cpu: '2' } }, true],
  ['another quantity', { limits: { cpu: '1100m' } }, { limits: { cpu: '1' } }, false],
  ['no quantity', { limits: { cpu: '1' } }, { limits: {} }, false],
  ['labels are no quantities', { labels: { version: '1' } }, { labels: { version: '1.0' } }, false],
  ['a label more in a selector', { selector: { app: 'x' } }, { selector: { app: 'x', tier: 'y' } }, false],
  ['a label more elsewhere', { labels: { app: 'x' } }, { labels: { app: 'x', tier: 'y' } }, true],
  ['a list where a value is', { a: [1] }, { a: 1 }, false],
] as const)('%s', ([, wanted, found, expected]) => {
  expect(isApplied(wanted, found)).toBe(expected);
});
