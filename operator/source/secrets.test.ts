import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { loadPaths } from './load.ts';
import { parseLocal } from './local.ts';
import { readSecret } from './secrets.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'levada-secrets-'));
});
afterEach(() => rm(folder, { recursive: true }));

const base64 = (text: string) => Buffer.from(text).toString('base64');
const manifest = (more: object) => ({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'mq' }, ...more });
const model =
  'apiVersion: levada.dev/v1alpha1\nkind: ModelDeployment\nmetadata: { name: m }\nspec:\n  versions: [{ name: v1, uri: file:///m }]\n';

async function load(files: Record<string, string | Uint8Array>) {
  for (const [name, content] of Object.entries({ 'model.yaml': model, ...files })) {
    await writeFile(join(folder, name), content);
  }
  const loaded = await loadPaths([folder]);
  const lines = loaded.problems.map(({ file, line, column, path, message, code }) => {
    const shown = message.replaceAll(`${relative(process.cwd(), folder)}/`, '');
    return `${relative(folder, file)}:${line}:${column} ${path}: ${shown} (${code})`;
  });
  return { ...loaded, lines, secrets: Object.fromEntries(loaded.secrets) };
}

describe('readSecret', () => {
  it.each<[string, object, Record<string, string>]>([
    ['base64', { data: { a: base64('é\n') } }, { a: 'é\n' }],
    ['base64 in lines', { data: { a: 'aHVu\r\ndGVy\n' } }, { a: 'hunter' }],
    ['base64 whose last bits say nothing', { data: { a: 'YR==' } }, { a: 'a' }],
    ['text as it is', { stringData: { a: ' YQ== ' } }, { a: ' YQ== ' }],
    ['text before base64', { data: { a: base64('x'), b: base64('y') }, stringData: { a: 'z' } }, { a: 'z', b: 'y' }],
    ['nothing for a value', { data: { a: null, b: '' }, stringData: { c: null } }, { a: '', b: '', c: '' }],
    ['nothing at all', { data: null }, {}],
    ['a byte order mark', { data: { a: base64('\ufeffx') } }, { a: '\ufeffx' }],
    [
      'keys that objects have',
      { stringData: JSON.parse('{"__proto__": "x", "constructor": "y"}') as object },
      JSON.parse('{"__proto__": "x", "constructor": "y"}') as Record<string, string>,
    ],
  ])('takes %s', (_, more, expected) => {
    const { name, values, problems, binary } = readSecret(manifest(more));
    expect({ name, problems, binary }).toEqual({ name: 'default/mq', problems: [], binary: [] });
    expect(Object.entries(values)).toEqual(Object.entries(expected));
  });

  it('takes any text, in base64 and as it is', () => {
    const text = fc.string({ unit: 'binary' });
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(readSecret(manifest({ data: { a: base64(a) }, stringData: { b } })).values).toEqual({ a, b });
      }),
    );
  });

  it('knows what is not text, unless text stands for it', () => {
    const data = { a: Buffer.from([0xff, 0xfe]).toString('base64'), b: 'gA==' };
    const { values, binary, problems } = readSecret(manifest({ data, stringData: { b: 'x' } }));
    expect({ values, binary, problems }).toEqual({ values: { b: 'x' }, binary: ['a'], problems: [] });
  });

  it.each<[string, object, string[]]>([
    ['no name', { metadata: {} }, ['metadata.name: required, but missing']],
    ['no metadata', { metadata: null }, ['metadata.name: required, but missing']],
    [
      'a name that is none',
      { metadata: { name: 'A b' } },
      ['metadata.name: found "A b"; allowed: lower-case letters, digits and -, in words between dots'],
    ],
    [
      'a namespace that is none',
      { metadata: { name: 'a', namespace: 7 } },
      ['metadata.namespace: found a number; allowed: lower-case letters, digits and -, in words between dots'],
    ],
    ['text for data', { data: 'hunter2' }, ['data: found text; allowed: a map']],
    ['a list for stringData', { stringData: ['hunter2'] }, ['stringData: found a list; allowed: a map']],
    ...['hunter2!', 'aHVudGVyMg', 'aHVu dGVy', 'aHVudGVyMg=', 'aHVu====', '_-8='].map(
      (text): [string, object, string[]] => [
        `the base64 ${JSON.stringify(text)}`,
        { data: { a: text } },
        ['data.a: found text; allowed: base64, with its ='],
      ],
    ),
    [
      'a number for base64',
      { data: { 'ca.crt': 7331 } },
      ['data[ca.crt]: found a number; allowed: base64, with its ='],
    ],
    ['a number for text', { stringData: { a: 7331 } }, ['stringData.a: found a number; allowed: text: quote it']],
    ['true for text', { stringData: { a: true } }, ['stringData.a: found a boolean; allowed: text: quote it']],
    [
      'a key that is none',
      { stringData: { 'a b': 'hunter2' } },
      ['stringData["a b"]: found the key "a b"; allowed: letters, digits, -, _ and ., at most 253'],
    ],
  ])('refuses %s', (_, more, expected) => {
    const { problems } = readSecret(manifest(more));
    expect(problems.map(({ path, message }) => `${path}: ${message}`)).toEqual(expected);
  });
});

describe('a Secret beside resources', () => {
  it('is known by namespace and name, and is no resource', async () => {
    const { secrets, lines, notes, resources } = await load({
      'a.yaml': `apiVersion: v1\nkind: Secret\nmetadata: { name: mq }\nstringData: { uri: amqp://h }\n---\napiVersion: v1\nkind: Secret\nmetadata: { name: mq, namespace: shop }\ndata: { a: YQ== }\n`,
      'b.json': JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [manifest({ metadata: { name: 'other' } })] }),
    });
    expect({ lines, notes, resources: resources.length }).toEqual({ lines: [], notes: [], resources: 1 });
    expect(secrets).toEqual({ 'default/mq': { uri: 'amqp://h' }, 'shop/mq': { a: 'a' }, 'default/other': {} });
  });

  it('that is wrong is a problem with its place, and shows nothing', async () => {
    const { lines, secrets } = await load({
      'a.yaml':
        'apiVersion: v1\nkind: Secret\nmetadata: { name: mq }\ndata:\n  uri: hunter2!\n  ca.crt: YQ==\nstringData:\n  port: 5672\n---\napiVersion: v1\nkind: Secret\nmetadata: {}\nstringData: { a: x }\n',
    });
    expect(lines).toEqual([
      'a.yaml:5:8 data.uri: found text; allowed: base64, with its = (InvalidValue)',
      'a.yaml:8:9 stringData.port: found a number; allowed: text: quote it (InvalidType)',
      'a.yaml:12:1 metadata.name: required, but missing (MissingField)',
    ]);
    expect(secrets).toEqual({ 'default/mq': { 'ca.crt': 'a' } });
  });

  it('that is there twice is a problem of the second', async () => {
    const { lines, secrets } = await load({
      'a.yaml': JSON.stringify(manifest({ stringData: { a: '1' } })),
      'b.yaml': `kind: Secret\napiVersion: v1\nmetadata:\n  namespace: default\n  name: mq\nstringData: { a: '2' }\n`,
    });
    expect(lines).toEqual([
      'b.yaml:5:9 metadata.name: the name Secret default/mq (also in a.yaml) is used twice; allowed: names that differ (DuplicateName)',
    ]);
    expect(secrets).toEqual({ 'default/mq': { a: '1' } });
  });

  it('leaves out what is not text, and says so', async () => {
    const { lines, notes, secrets } = await load({ 'a.json': JSON.stringify(manifest({ data: { jks: '/+4=' } })) });
    expect(lines).toEqual([]);
    expect(notes).toEqual([
      `${relative(process.cwd(), join(folder, 'a.json'))}: ignored: jks of the Secret default/mq, which is not text`,
    ]);
    expect(secrets).toEqual({ 'default/mq': {} });
  });
});

describe('secrets of levada.local.yaml', () => {
  it('are texts, variables and files', async () => {
    await writeFile(join(folder, 'ca.pem'), 'PEM\n');
    const secrets = {
      mq: { uri: 'amqp://h', password: { env: 'MQ_PASSWORD' }, 'ca.crt': { file: 'ca.pem' } },
      'shop/mq.two': { empty: { env: 'EMPTY' }, absolute: { file: join(folder, 'ca.pem') } },
    };
    const environment = { MQ_PASSWORD: 'hunter2', EMPTY: '' };
    expect(parseLocal({ secrets }, folder, () => undefined, environment)).toMatchObject({
      problems: [],
      local: {
        secrets: {
          'default/mq': { uri: 'amqp://h', password: 'hunter2', 'ca.crt': 'PEM\n' },
          'shop/mq.two': { empty: '', absolute: 'PEM\n' },
        },
      },
      files: [join(folder, 'ca.pem'), join(folder, 'ca.pem')],
    });
  });

  it('stand in for a manifest, and their files are watched once, and are read as resources if they are some', async () => {
    const { lines, secrets, files, resources } = await load({
      'a.json': JSON.stringify(manifest({ stringData: { a: 'cluster', b: 'b' } })),
      'levada.local.yaml': 'secrets: { mq: { a: { file: value }, b: { file: model.yaml } } }',
      value: 'laptop',
    });
    expect(lines).toEqual([]);
    expect(secrets).toEqual({ 'default/mq': { a: 'laptop', b: model } });
    expect(files.map((file) => relative(folder, file)).toSorted()).toEqual(['', 'a.json', 'levada.local.yaml', 'model.yaml', 'value']); // biome-ignore format: one line
    expect(resources).toHaveLength(1);
  });

  it('are read anew each time', async () => {
    const files = { 'levada.local.yaml': 'secrets: { mq: { a: { file: value } } }' };
    expect((await load({ ...files, value: 'one' })).secrets).toEqual({ 'default/mq': { a: 'one' } });
    expect((await load({ ...files, value: 'two' })).secrets).toEqual({ 'default/mq': { a: 'two' } });
  });

  it('whose variables or files are missing are problems with their place; a file that may come is watched', async () => {
    await mkdir(join(folder, 'dir'));
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    const { lines, secrets, files } = await load({
      'levada.local.yaml': [
        'secrets:',
        '  mq:',
        '    a: { env: LEVADA_TEST_NOT_SET }',
        '    b: { file: none }',
        '    c: { file: dir }',
        '    d: { file: pipe }',
        '    e: { file: latin1 }',
        '    f: { file: large }',
        '    g: { file: latin1/x }',
        '    h: { file: "a\\0" }',
      ].join('\n'),
      latin1: new Uint8Array([0x68, 0xe9]),
      large: 'x'.repeat(1024 * 1024 + 1),
    });
    expect(lines).toEqual([
      'levada.local.yaml:3:5 secrets.mq.a: the environment variable LEVADA_TEST_NOT_SET is not set (LocalFileInvalid)',
      'levada.local.yaml:4:5 secrets.mq.b: none: no such file or folder (LocalFileInvalid)',
      'levada.local.yaml:5:5 secrets.mq.c: dir: not a regular file (LocalFileInvalid)',
      'levada.local.yaml:6:5 secrets.mq.d: pipe: not a regular file (LocalFileInvalid)',
      'levada.local.yaml:7:5 secrets.mq.e: latin1: not UTF-8 (LocalFileInvalid)',
      'levada.local.yaml:8:5 secrets.mq.f: large: 1048577 bytes; at most 1048576 are read (LocalFileInvalid)',
      'levada.local.yaml:9:5 secrets.mq.g: latin1/x: a part of the path is not a folder (LocalFileInvalid)',
      'levada.local.yaml:10:5 secrets.mq.h: a\0: a zero byte in the name (LocalFileInvalid)',
    ]);
    expect(secrets).toEqual({});
    expect(files).toContain(join(folder, 'none'));
  });

  const value = 'text in quotes, { env: NAME } or { file: PATH }';
  it.each<[string, string, string[]]>([
    ['text for all', 'hunter2', ['1:10 secrets: found text; allowed: a map (InvalidType)']],
    ['a list', '[hunter2]', ['1:1 secrets: found a list; allowed: a map (InvalidType)']],
    ['text for a Secret', '{ mq: hunter2 }', ['1:16 secrets.mq: found text; allowed: a map (InvalidType)']],
    ['a number', '{ mq: { a: 7331 } }', [`1:21 secrets.mq.a: found a number; allowed: ${value} (InvalidType)`]],
    ['a boolean', '{ mq: { a: yes } }', [`1:21 secrets.mq.a: found a boolean; allowed: ${value} (InvalidType)`]],
    ['nothing', '{ mq: { a: } }', [`1:18 secrets.mq.a: found nothing; allowed: ${value} (InvalidType)`]],
    ['a list of values', '{ mq: { a: [hunter2] } }', [`1:18 secrets.mq.a: found a list; allowed: ${value} (InvalidType)`]],
    ['another map', '{ mq: { a: { evn: hunter2 } } }', [`1:18 secrets.mq.a: found a map of something else; allowed: ${value} (InvalidType)`]],
    ['both', '{ mq: { a: { env: A, file: hunter2 } } }', [`1:18 secrets.mq.a: found a map of something else; allowed: ${value} (InvalidType)`]],
    ['a number for a name', '{ mq: { a: { env: 7 } } }', [`1:18 secrets.mq.a: found a map of something else; allowed: ${value} (InvalidType)`]],
    ['an empty name', '{ mq: { a: { env: "" } } }', [`1:18 secrets.mq.a: found a map of something else; allowed: ${value} (InvalidType)`]],
    [
      'names that are none',
      '{ A: { a: hunter2 }, a/b/c: { a: hunter2 } }',
      [
        '1:12 secrets.A: found the key "A"; allowed: NAME or NAMESPACE/NAME, of lower-case letters, digits, - and . (InvalidValue)',
        '1:31 secrets[a/b/c]: found the key "a/b/c"; allowed: NAME or NAMESPACE/NAME, of lower-case letters, digits, - and . (InvalidValue)',
      ],
    ],
    [
      'a key that is none',
      '{ mq: { "a b": hunter2 } }',
      ['1:25 secrets.mq["a b"]: found the key "a b"; allowed: letters, digits, -, _ and ., at most 253 (InvalidValue)'],
    ],
    [
      'one Secret by two names',
      '{ mq: { a: hunter2 }, default/mq: { a: hunter3 } }',
      ['1:32 secrets[default/mq]: the Secret default/mq is here twice: keep one of the two (LocalFileInvalid)'],
    ],
  ])('refuses %s', async (_, text, expected) => {
    const { lines, secrets } = await load({ 'levada.local.yaml': `secrets: ${text}` });
    expect(lines).toEqual(expected.map((line) => `levada.local.yaml:${line}`));
    expect(secrets).toEqual({});
  }); // biome-ignore format: one line a row

  it('of two files that differ are a problem that shows neither', async () => {
    await mkdir(join(folder, 'other'));
    await writeFile(join(folder, 'other/levada.local.yaml'), 'secrets: { mq: { a: hunter3 } }');
    await writeFile(join(folder, 'other/m.yaml'), model.replace('name: m ', 'name: two '));
    await load({ 'levada.local.yaml': 'secrets: { mq: { a: hunter2 } }' });
    const { problems } = await loadPaths([folder, join(folder, 'other')]);
    expect(problems.map(({ path, message, line }) => [line, path, message])).toEqual([
      [1, 'secrets[default/mq]', 'default/mq has other values by another levada.local.yaml'],
    ]);
  });
});

test('no problem shows a value, whatever a document is', () => {
  const marked = fc.string({ maxLength: 6 }).map((text) => `Q7${text}x9`);
  const leaf = fc.oneof(marked, fc.constant(733_173_317), fc.constant(null), fc.boolean(), fc.array(marked, { maxLength: 2 }), fc.dictionary(fc.constantFrom('env', 'file', 'evn'), fc.oneof(marked, fc.constant(733_173_317)))); // biome-ignore format: one line
  const keys = fc.dictionary(fc.constantFrom('a', 'ca.crt', 'B', 'a b', '7', ''), leaf);
  const section = fc.oneof(keys, leaf);
  // The names of files and variables are shown: they are no values.
  const shown = (problems: readonly { message: string }[]) =>
    problems.filter(({ message }) => /Q7|733173317/.test(message.replace(/^the environment variable .*|^.*: (no such|a part).*/s, ''))); // biome-ignore format: one line
  fc.assert(
    fc.property(section, section, fc.dictionary(fc.constantFrom('mq', 'shop/mq', 'A'), section), (a, b, secrets) => {
      expect(shown(readSecret(manifest({ data: a, stringData: b })).problems)).toEqual([]);
      expect(shown(parseLocal({ secrets }, '/nowhere', () => '733173317', {}).problems)).toEqual([]);
      expect(shown(parseLocal({ secrets: a }, '/nowhere', () => '733173317', {}).problems)).toEqual([]);
    }),
    { numRuns: 1_000 },
  );
});
