import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { apiVersion } from '../../api/contract/names.ts';
import { checkSet, isForeign, parseResource, servicesOf } from './parse.ts';
import { readYaml } from './yaml.ts';

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
    ['no kind', { apiVersion }, ['kind: found nothing; allowed: ModelDeployment, EventPipeline (NotAResource)']],
    [
      'another version',
      { ...iris(), apiVersion: 'levada.dev/v2' },
      [
        `apiVersion: found "levada.dev/v2 ModelDeployment"; allowed: ${apiVersion} ModelDeployment or EventPipeline (UnknownKind)`,
      ],
    ],
    [
      'another kind',
      { ...iris(), kind: 'Model' },
      [`kind: found "${apiVersion} Model"; allowed: ${apiVersion} ModelDeployment or EventPipeline (UnknownKind)`],
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
        'spec.versions[0].sha265: unknown field `sha265`; allowed: name, uri, sha256, secretRef (did you mean sha256?) (UnknownField)',
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
      'spec.extra: unknown field `extra`; allowed: versions, serve, rollout, split, match, sticky, shadow, classNames, classNamesFrom, batching, replicas, resources, serviceAccountName, podTemplate, expose (UnknownField)',
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
    const part = fc.record(
      {
        name: junk,
        emits: junk,
        consumes: junk,
        http: junk,
        model: junk,
        fanout: junk,
        retry: junk,
        idempotency: junk,
      },
      { requiredKeys: [] },
    );
    const parts = fc.oneof(junk, fc.array(part));
    const nearPipeline = fc
      .record({ events: junk, sources: parts, steps: parts })
      .map((spec) => ({ apiVersion, kind: 'EventPipeline', metadata: { name: 'orders' }, spec }));
    fc.assert(
      fc.property(
        fc.oneof(
          junk,
          near.map(iris),
          nearPipeline,
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

/** `line:column path: message (Code)` of every problem of a pipeline; lines count from where `spec:` is 0. */
function pipelineProblems(spec: string): string[] {
  const head = `apiVersion: ${apiVersion}\nkind: EventPipeline\nmetadata: { name: orders }\nspec:\n`;
  const { documents, problems: syntax } = readYaml(head + spec);
  const found = documents.flatMap(({ value, sourceOf, locate }) =>
    parseResource(value, sourceOf).problems.map((problem) => ({ ...problem, ...locate(problem) })),
  );
  return [...syntax, ...found].map(
    ({ line, column, path, message, code }) => `${line - 4}:${column} ${path}: ${message} (${code})`,
  );
}

const pipelineStep = (step: string) =>
  pipelineProblems(
    `  sources: [{ name: api, emits: a, http: { path: / } }]\n  steps:\n  - name: s\n    consumes: [a]\n${step.replace(/^/gm, '    ')}\n`,
  );

describe('an EventPipeline in YAML', () => {
  it('is taken, with words quoted', () => {
    const spec = `
  events: { "on": {}, 'no': { schema: { type: object, properties: { yes: { const: off } } } } }
  sources:
  - { name: "on", emits: "on", http: { path: /, assign: { y: "{% $uuid() %}" } } }
  steps:
  - { name: "1", consumes: ["on"], when: 'yes', http: { url: http://h, timeout: 1m } }
`;
    expect(pipelineProblems(spec.replace('y: "{%', '"y": "{%').replace('yes:', '"yes":'))).toEqual([]);
  });

  const word = (word: string, kind = 'a boolean') => `found ${word} (${kind} for kubectl: quote it); allowed: a string`;
  it('says what words are to kubectl', () => {
    const spec = `
  sources:
  - name: on
    emits: yes
    http: { path: / }
  steps:
  - { name: no, consumes: [off, 1.10, ~, 2030-01-01], http: { url: http://h }, emits: [y] }
`;
    expect(pipelineProblems(spec)).toEqual([
      `3:11 spec.sources[0].name: ${word('on')} (InvalidType)`,
      `4:12 spec.sources[0].emits: ${word('yes')} (InvalidType)`,
      `7:13 spec.steps[0].name: ${word('no')} (InvalidType)`,
      `7:28 spec.steps[0].consumes[0]: ${word('off')} (InvalidType)`,
      `7:33 spec.steps[0].consumes[1]: ${word('1.10', 'a number')} (InvalidType)`,
      `7:39 spec.steps[0].consumes[2]: ${word('~', 'null')} (InvalidType)`,
      `7:88 spec.steps[0].emits[0]: ${word('y')} (InvalidType)`,
    ]);
  });

  it('says what keys are to kubectl', () => {
    const spec = `
  events:
    on: {}
    1.0: {}
  sources: [{ name: api, emits: a, http: { path: /, assign: { y: 1 } } }]
  steps: [{ name: s, consumes: [a], http: { url: http://h } }]
`;
    const key = (found: string) => word(`the key ${found}`);
    expect(pipelineProblems(spec)).toEqual([
      `3:5 spec.events.on: ${key('on')} (InvalidType)`,
      `4:5 spec.events[1.0]: ${word('the key 1.0', 'a number')} (InvalidType)`,
      `5:63 spec.sources[0].http.assign.y: ${key('y')} (InvalidType)`,
    ]);
  });

  const quoted = "found text that begins with %; allowed: quoted text, and so are expressions: '{% … %}'";
  const oneOf = 'exactly one of http, model, transform, fanout, publish, container';
  const duration = 'a duration such as 500ms, 10s or 1h30m (units: ms, s, m, h, d)';
  const url = 'an http or https URL without user, password and fragment, its odd characters escaped';
  it.each<[string, string, string[]]>([
    ['an expression without quotes', 'transform: {% $ %}', [`5:17 : not valid YAML: ${quoted} (YamlSyntax)`]],
    [
      'one word where a list belongs',
      'http: { url: http://h }\nemits: on',
      ['6:12 spec.steps[0].emits: found on (true for kubectl); allowed: a list (InvalidType)'],
    ],
    [
      'one type where a list belongs',
      'http: { url: http://h }\nemits: a',
      ['6:12 spec.steps[0].emits: found "a" (a string); allowed: a list (InvalidType)'],
    ],
    [
      'yes as a condition',
      'when: yes\nhttp: { url: http://h }',
      [`5:11 spec.steps[0].when: ${word('yes')} (InvalidType)`],
    ],
    [
      'a word where a number belongs',
      'http: { url: http://h }\nconcurrency: off',
      ['6:18 spec.steps[0].concurrency: found off (false for kubectl); allowed: an integer (InvalidType)'],
    ],
    [
      'a duration without a unit',
      'http: { url: http://h, timeout: 10 }',
      [`5:37 spec.steps[0].http.timeout: ${word('10', 'a number')} (InvalidType)`],
    ],
    [
      'a duration in words',
      'http: { url: http://h, timeout: 5 minutes }',
      [`5:37 spec.steps[0].http.timeout: found "5 minutes"; allowed: ${duration} (InvalidValue)`],
    ],
    [
      'a duration as on a clock',
      'http: { url: http://h, timeout: 1:30 }',
      [`5:37 spec.steps[0].http.timeout: found "1:30"; allowed: ${duration} (InvalidValue)`],
    ],
    [
      'a duration out of bounds',
      'http: { url: http://h }\nidempotency: { retention: 91d }',
      ['6:31 spec.steps[0].idempotency.retention: found "91d"; allowed: 1s to 90d (InvalidValue)'],
    ],
    [
      'an expression that is not wrapped',
      'transform: total\nemits: [e]',
      ['5:16 spec.steps[0].transform: found "total"; allowed: an expression inside {% … %} (InvalidValue)'],
    ],
    [
      'a type with a wildcard',
      'http: { url: http://h }\nemits: ["order.*"]',
      [
        '6:13 spec.steps[0].emits[0]: found "order.*"; allowed: a type of event: letters, digits, _ and -, in words between dots (InvalidValue)',
      ],
    ],
    [
      'a map that is not indented',
      'http:\nurl: http://h',
      [
        '5:5 spec.steps[0].http: found nothing (null); allowed: a map (InvalidType)',
        '6:5 spec.steps[0].url: unknown field `url`; allowed: name, consumes, when, http, model, transform, fanout, publish, container, emits, retry, idempotency, concurrency, group, resources, serviceAccountName, podTemplate (UnknownField)',
      ],
    ],
    [
      'two members of a step',
      'http: { url: http://h }\ntransform: "{% $ %}"\nemits: [e]',
      [`3:5 spec.steps[0]: found http and transform; allowed: ${oneOf} (NotOneMember)`],
    ],
    ['no member of a step', 'when: a', [`3:5 spec.steps[0]: found none of them; allowed: ${oneOf} (NotOneMember)`]],
    [
      'a transform that emits nothing',
      'transform: "{% $ %}"',
      ['3:5 spec.steps[0].emits: found nothing; allowed: exactly one type (InvalidValue)'],
    ],
    [
      'a url with a password, without showing it',
      'http: { url: "http://user:secret@h/?a=b" }',
      [`5:18 spec.steps[0].http.url: found "http://…@h/?a=b"; allowed: ${url} (InvalidValue)`],
    ],
    [
      'a field that is almost right',
      'http: { url: http://h, timout: 1s }',
      [
        '5:28 spec.steps[0].http.timout: unknown field `timout`; allowed: url, timeout (did you mean timeout?) (UnknownField)',
      ],
    ],
    [
      'a queue that an expression names',
      'publish: { queue: "{% q %}" }',
      [
        '5:23 spec.steps[0].publish.queue: found "{% q %}"; allowed: a name without {%: it is no expression (InvalidValue)',
      ],
    ],
    [
      "a queue that is Levada's own",
      'publish: { queue: levada.lost }',
      [
        '5:23 spec.steps[0].publish.queue: found "levada.lost"; allowed: a name that does not begin with levada. (InvalidValue)',
      ],
    ],
    [
      'a routing key with an expression inside of text',
      'publish: { exchange: e, routingKey: "a.{% b %}" }',
      [
        '5:41 spec.steps[0].publish.routingKey: found "a.{% b %}"; allowed: an expression inside {% … %} as a whole, or text without {% (InvalidValue)',
      ],
    ],
    [
      'a routing key for a queue',
      'publish: { queue: q, routingKey: k }',
      ['5:38 spec.steps[0].publish.routingKey: found "k"; allowed: beside exchange only (InvalidValue)'],
    ],
    [
      'publish that emits',
      'publish: { queue: q }\nemits: [e]',
      ['6:5 spec.steps[0].emits: found a list of 1; allowed: no types: publish emits nothing (InvalidValue)'],
    ],
    [
      'a group of the name of a source',
      'http: { url: http://h }\ngroup: api',
      ['6:12 spec.steps[0].group: the name "api" is used twice; allowed: names that differ (DuplicateName)'],
    ],
  ])('refuses %s', (_, step, expected) => expect(pipelineStep(step)).toEqual(expected));

  it('keeps null where JSON of any form belongs', () => {
    const http = { path: '/', assign: { a: null }, response: { body: null } };
    const steps = [{ name: 's', consumes: ['a'], http: { url: 'http://h' } }];
    const spec = { sources: [{ name: 'api', emits: 'a', http }], steps };
    const { resource } = parseResource({ apiVersion, kind: 'EventPipeline', metadata: { name: 'orders' }, spec });
    expect(resource?.spec).toMatchObject({ sources: [{ http }] });
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

  it('refuses a part of a pipeline that would make a Service of another resource', () => {
    const spec = {
      sources: [
        { name: 'v1', emits: 'a', http: { path: '/' } },
        { name: 'v2', emits: 'a', event: { pipeline: 'p', type: 'a' } },
      ],
      steps: [
        { name: 's', consumes: ['a'], http: { url: 'http://h' } },
        { name: 'box', consumes: ['a'], container: { image: 'i' } },
      ],
    };
    const pipeline = parseResource({ apiVersion, kind: 'EventPipeline', metadata: { name: 'iris' }, spec }).resource!;
    expect(servicesOf(pipeline)).toEqual([
      { service: 'iris-v1', path: 'spec.sources[0].name' },
      { service: 'iris-box', path: 'spec.steps[1].name' },
    ]);
    const model = parsed('iris', ['v1', 'v2', 'box', 's']);
    expect(checkSet([model, pipeline]).map(({ problem: { path, code } }) => `${path} ${code}`)).toEqual([
      'spec.sources[0].name NameConflict',
      'spec.steps[1].name NameConflict',
    ]);
  });
});
