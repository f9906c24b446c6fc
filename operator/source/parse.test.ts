import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { apiVersion } from '../../api/contract/names.ts';
import { checkSet, isForeign, parseResource } from './parse.ts';

const version = { name: 'v1', uri: 'file:///models/iris/1' };
const iris = (spec: object = {}, metadata: object = {}) => ({
  apiVersion,
  kind: 'ModelDeployment',
  metadata: { name: 'iris', ...metadata },
  spec: { versions: [version], ...spec },
});
const parsed = (name: string, versions: string[], namespace?: string) => {
  const entries = versions.map((entry) => ({ ...version, name: entry }));
  return parseResource(iris({ versions: entries, serve: versions[0] }, { name, ...(namespace && { namespace }) }))
    .resource!;
};

/** `path: message (Code)` of every problem. */
const problems = (value: unknown) =>
  parseResource(value).problems.map(({ path, message, code }) => `${path}: ${message} (${code})`);

describe('parseResource', () => {
  it('fills defaults in', () => {
    expect(parseResource(iris())).toEqual({
      resource: iris({ batching: { maxBatchSize: 64, maxDelay: '0s' }, replicas: 1 }),
      problems: [],
    });
  });

  it('keeps metadata that only the API server knows', () => {
    const metadata = { uid: 'u', resourceVersion: '7', managedFields: [], creationTimestamp: null };
    expect(parseResource(iris({}, metadata)).resource?.metadata).toEqual({ name: 'iris', ...metadata });
  });

  const manifest = 'a map with apiVersion, kind, metadata and spec';
  it.each<[string, unknown, string[]]>([
    ['nothing', null, [`: found null; allowed: ${manifest} (NotAResource)`]],
    ['text', 'iris', [`: found "iris"; allowed: ${manifest} (NotAResource)`]],
    ['a list', [iris()], [`: found a list of 1; allowed: ${manifest} (NotAResource)`]],
    [
      'no apiVersion',
      { kind: 'ModelDeployment' },
      [`apiVersion: found nothing; allowed: ${apiVersion} (NotAResource)`],
    ],
    ['no kind', { apiVersion }, ['kind: found nothing; allowed: ModelDeployment (NotAResource)']],
    [
      'another version',
      { ...iris(), apiVersion: 'levada.dev/v2' },
      [`apiVersion: found "levada.dev/v2 ModelDeployment"; allowed: ${apiVersion} ModelDeployment (UnknownKind)`],
    ],
    [
      'another kind',
      { ...iris(), kind: 'Model' },
      [`kind: found "${apiVersion} Model"; allowed: ${apiVersion} ModelDeployment (UnknownKind)`],
    ],
    [
      'an unknown field',
      { ...iris(), extra: 1 },
      ['extra: unknown field `extra`; allowed: apiVersion, kind, metadata, spec, status (UnknownField)'],
    ],
    [
      'a slip',
      iris({ versions: [{ ...version, sha265: 'x' }] }),
      [
        'spec.versions[0].sha265: unknown field `sha265`; allowed: name, uri, sha256 (did you mean sha256?) (UnknownField)',
      ],
    ],
    [
      'missing fields',
      { apiVersion, kind: 'ModelDeployment' },
      ['metadata: required, but missing (MissingField)', 'spec: required, but missing (MissingField)'],
    ],
    [
      'wrong types',
      iris({ versions: {}, replicas: '2', serve: 1, classNames: ['a', true], batching: null }),
      [
        'spec.versions: found a map; allowed: a list (InvalidType)',
        'spec.replicas: found "2" (a string); allowed: an integer (InvalidType)',
        'spec.serve: found 1; allowed: a string (InvalidType)',
        'spec.classNames[1]: found true; allowed: a string (InvalidType)',
        'spec.batching: found nothing (null); allowed: a map (InvalidType)',
      ],
    ],
    [
      'values out of bounds',
      iris({ replicas: 0, classNames: [], batching: { maxBatchSize: 1025 } }),
      [
        'spec.replicas: found 0; allowed: at least 1 (InvalidValue)',
        'spec.classNames: found an empty list; allowed: at least 1 entry (InvalidValue)',
        'spec.batching.maxBatchSize: found 1025; allowed: at most 1024 (InvalidValue)',
      ],
    ],
    [
      'integers beyond what a double holds',
      iris({ replicas: 1e20 }),
      ['spec.replicas: found 100000000000000000000; allowed: at most 1000 (InvalidValue)'],
    ],
    [
      'formats',
      iris({ versions: [{ ...version, name: 'V1', sha256: 'abc' }] }),
      [
        'spec.versions[0].name: found "V1"; allowed: lower-case letters, digits and -, from and to a letter or digit (InvalidValue)',
        'spec.versions[0].sha256: found "abc"; allowed: exactly 64 characters, text that matches ^[0-9a-f]{64}$ (InvalidValue)',
      ],
    ],
    [
      'a choice of types',
      iris({ resources: { limits: { 'nvidia.com/gpu': 0.5 } } }),
      ['spec.resources.limits[nvidia.com/gpu]: found 0.5; allowed: an integer or a string (InvalidType)'],
    ],
    [
      'keys that are too long',
      iris({ resources: { limits: { ['x'.repeat(200)]: 1 } } }),
      [
        `spec.resources.limits.${'x'.repeat(200)}: found the key "${'x'.repeat(79)}…; allowed: at most 128 characters (InvalidValue)`,
      ],
    ],
  ])('refuses %s', (_, value, expected) => expect(problems(value)).toEqual(expected));

  it('reports rules beside what the schema says, in the order of the document, each field once', () => {
    const versions = [{ name: 'v1' }, version, { ...version, name: 'v2' }];
    const value = iris({ serve: 'v3', versions, batching: { maxDelay: '5s', maxBatchSize: 0 }, extra: 1 });
    expect(problems(value)).toEqual([
      'spec.versions[0].uri: required, but missing (MissingField)',
      'spec.versions[1].name: the name "v1" is used twice; allowed: names that differ (DuplicateName)',
      'spec.serve: found "v3"; allowed: a version that is declared (v1, v1, v2) (ServeUnknown)',
      'spec.batching.maxDelay: found "5s"; allowed: at most 1s (InvalidValue)',
      'spec.batching.maxBatchSize: found 0; allowed: at least 1 (InvalidValue)',
      'spec.extra: unknown field `extra`; allowed: versions, serve, classNames, classNamesFrom, batching, replicas, resources (UnknownField)',
    ]);
  });

  it('says what the user wrote where kubectl takes it for something else', () => {
    const source = new Map([['name', 'yes'], ['replicas', '0o10000'], ['classNames', '~']]); // biome-ignore format: a table
    const value = iris({ versions: [{ ...version, name: true }], replicas: 4096, classNames: [null] });
    const { problems: found } = parseResource(value, (path) =>
      source.get(String(path.findLast((part) => source.has(String(part))))),
    );
    expect(found.map(({ message }) => message)).toEqual([
      'found yes (a boolean for kubectl: quote it); allowed: a string',
      'found 0o10000 (4096 for kubectl); allowed: at most 1000',
      'found ~ (null for kubectl: quote it); allowed: a string',
    ]);
  });

  it('never throws, and has a resource or problems, never both', () => {
    const junk = fc.jsonValue();
    const near = fc.record(
      { versions: junk, serve: junk, batching: junk, resources: junk, classNames: junk },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          junk,
          near.map(iris),
          fc.record({ metadata: junk, spec: junk }).map((rest) => ({ ...iris(), ...rest })),
        ),
        (value) => {
          const { resource, problems: found } = parseResource(value);
          expect(resource === undefined).toBe(found.length > 0);
          expect(new Set(found.map(({ path, code }) => `${path} ${code}`)).size).toBe(found.length);
        },
      ),
    );
  });
});

describe('isForeign', () => {
  it.each<[unknown, boolean]>([
    [{ apiVersion: 'v1', kind: 'Secret' }, true],
    [{ apiVersion: 'apps/v1', kind: 'Deployment' }, true],
    [{ apiVersion, kind: 'ModelDeployment' }, false],
    [{ apiVersion: 'levada.dev/v9', kind: 'X' }, false],
    [{ apiVersion: 'v1' }, false],
    [{ kind: 'Secret' }, false],
    [null, false],
  ])('%j: %s', (value, expected) => expect(isForeign(value)).toBe(expected));
});

describe('checkSet', () => {
  const found = (...resources: Array<ReturnType<typeof parsed>>) =>
    checkSet(resources).map(
      ({ resource, problem }) => `${resources.indexOf(resource)} ${problem.path}: ${problem.message} (${problem.code})`,
    );

  it('takes names that differ, and one name in two namespaces', () => {
    expect(found(parsed('iris', ['v1', 'v2']), parsed('iris', ['v1'], 'other'), parsed('wine', ['v1']))).toEqual([]);
  });

  it('refuses one name twice, with `default` where no namespace is named', () => {
    expect(found(parsed('iris', ['v1']), parsed('iris', ['v2'], 'default'))).toEqual([
      '1 metadata.name: the name default/iris is used twice; allowed: names that differ (DuplicateName)',
    ]);
  });

  it('refuses a model that has the name of a version Service, in either order', () => {
    const message = (found: string, other: string) =>
      `default/${found} would make the Service iris-v1, which default/${other} makes already (NameConflict)`;
    expect(found(parsed('iris', ['v1']), parsed('iris-v1', ['a']))).toEqual([
      `1 metadata.name: ${message('iris-v1', 'iris')}`,
    ]);
    expect(found(parsed('iris-v1', ['a']), parsed('iris', ['v0', 'v1']))).toEqual([
      `1 spec.versions[1].name: ${message('iris', 'iris-v1')}`,
    ]);
  });

  it('refuses two versions that make one Service', () => {
    expect(found(parsed('iris', ['v1-a']), parsed('iris-v1', ['a']))).toEqual([
      '1 spec.versions[0].name: default/iris-v1 would make the Service iris-v1-a, which default/iris makes already (NameConflict)',
    ]);
  });
});
