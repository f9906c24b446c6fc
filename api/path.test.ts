import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatPath, parsePath, valueAt } from './path.ts';

describe('formatPath', () => {
  it.each([
    [[], ''],
    [['spec', 'versions', 0, 'uri'], 'spec.versions[0].uri'],
    [['metadata', 'labels', 'app.kubernetes.io/name'], 'metadata.labels[app.kubernetes.io/name]'],
    [['spec', 'max-size'], 'spec.max-size'],
    [['a', '0'], 'a["0"]'],
    [['a', ''], 'a[""]'],
    [['a', 'x]y"\n'], 'a["x]y\\"\\n"]'],
    [[0, 'a'], '[0].a'],
  ])('%j is %s', (path, text) => expect(formatPath(path)).toBe(text));

  it('is undone by parsePath', () => {
    const path = fc.array(fc.oneof(fc.string({ unit: 'binary' }), fc.nat()));
    fc.assert(
      fc.property(path, (parts) => {
        expect(parsePath(formatPath(parts))).toEqual(parts);
      }),
    );
  });
});

describe('valueAt', () => {
  it.each([
    [{ a: [1, { b: 2 }] }, ['a', 1, 'b'], 2],
    [{ a: 1 }, [], { a: 1 }],
    [{ a: 1 }, ['a', 'b'], undefined],
    [{}, ['constructor'], undefined],
    [null, ['a'], undefined],
  ])('of %j at %j is %j', (value, path, found) => expect(valueAt(value, path)).toEqual(found));
});
