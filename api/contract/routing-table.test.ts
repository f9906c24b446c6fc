import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { routingTable } from './routing-table.schema.ts';
import { canonicalJson, type RoutingTable } from './routing-table.ts';

const table: RoutingTable = {
  resource: 'default/iris',
  generation: 7,
  stable: { version: 'v1' },
  candidate: { version: 'v2', weight: 12.5 },
  match: [{ header: { 'x-beta': 'true' }, version: 'v3' }],
  sticky: { header: 'x-user-id' },
  shadow: { version: 'v3', percent: 10 },
  addresses: { v2: ['tcp://iris-v2.default.svc:8082', 'tcp://[fd00::1]:8082'], v3: ['tcp://10.0.0.7:8082'] },
  salt: 'v1/v2',
};

describe('a routing table', () => {
  test('with everything, and with next to nothing', () => {
    expect(routingTable.parse(table)).toEqual(table);
    const least = { resource: 'a/b', generation: 1, stable: { version: 'v1' }, addresses: {}, salt: '' };
    expect(routingTable.parse(least)).toEqual(least);
    const { candidate: _, ...others } = table;
    const split = [
      { version: 'v1', weight: 33.3 },
      { version: 'v2', weight: 66.7 },
    ];
    expect(routingTable.parse({ ...others, split }).split).toEqual(split);
  });

  test.each([
    ['no namespace', { resource: 'iris' }, 'resource'],
    ['generation 0', { generation: 0 }, 'generation'],
    ['a weight over 100', { candidate: { version: 'v2', weight: 101 } }, 'candidate'],
    ['the stable version as its own candidate', { candidate: { version: 'v1', weight: 1 } }, 'candidate'],
    ['the stable version as its own shadow', { shadow: { version: 'v1', percent: 1 } }, 'shadow'],
    [
      'a candidate and a split',
      {
        split: [
          { version: 'v1', weight: 50 },
          { version: 'v2', weight: 50 },
        ],
      },
      'split',
    ],
    ['a header in upper case', { sticky: { header: 'X-User' } }, 'sticky'],
    ['a rule without headers', { match: [{ header: {}, version: 'v2' }] }, 'match'],
    ['a version without an address', { shadow: { version: 'v9', percent: 1 } }, 'addresses'],
    ['an address of another form', { addresses: { v2: ['http://iris-v2:8082'], v3: ['tcp://a:1'] } }, 'addresses'],
    ['an address that hides another host', { addresses: { v2: ['tcp://a:1@b:2'], v3: ['tcp://a:1'] } }, 'addresses'],
    ['a field that nobody knows', { weights: {} }, ''],
  ])('is refused: %s', (_name, parts, path) => {
    const { error } = routingTable.safeParse({ ...table, ...parts });
    expect(error?.issues.map((issue) => String(issue.path[0] ?? ''))).toContain(path);
  });

  test.each([
    ['not to 100', [40, 50]],
    ['to more than 100', [60, 50]],
  ])('is refused: a split that sums %s', (_name, [a, b]) => {
    const { candidate: _, ...others } = table;
    const split = [
      { version: 'v1', weight: a },
      { version: 'v2', weight: b },
    ];
    expect(routingTable.safeParse({ ...others, split }).success).toBe(false);
  });
});

describe('what is signed', () => {
  test('has one form', () => {
    expect(canonicalJson({ b: [1.5, { d: null, c: 'é' }], a: true, z: undefined })).toBe(
      '{"a":true,"b":[1.5,{"c":"é","d":null}]}',
    );
  });

  test('is the same whatever way the document took, and differs when anything in it does', () => {
    fc.assert(
      fc.property(fc.jsonValue({ depthSize: 'medium' }), fc.jsonValue(), (value, other) => {
        const text = canonicalJson(value);
        expect(canonicalJson(JSON.parse(JSON.stringify(value, null, 2)))).toBe(text);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        const differs = !isDeepStrictEqual(JSON.parse(JSON.stringify(other)), JSON.parse(JSON.stringify(value)));
        expect(canonicalJson(other) !== text).toBe(differs);
      }),
    );
  });
});
