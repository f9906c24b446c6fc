import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadPaths } from './load.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'levada-load-'));
});
afterEach(() => rm(folder, { recursive: true }));

const iris = (name: string, more = '') =>
  `apiVersion: levada.dev/v1alpha1\nkind: ModelDeployment\nmetadata: { name: ${name} }\nspec:\n  versions: [{ name: v1, uri: file:///models/1 }]\n${more}`;
const foreign = 'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: db }\n';

async function write(files: Record<string, string | Uint8Array>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), content);
  }
}

const load = (...names: string[]) => loadPaths(names.map((name) => join(folder, name)));
const shown = (name: string) => relative(process.cwd(), join(folder, name));
const lines = ({ problems }: Awaited<ReturnType<typeof load>>) =>
  problems.map(({ file, line, column, path, message, code }) => {
    return `${relative(folder, file)}:${line}:${column} ${path}: ${message.replaceAll(`${shown('')}/`, '')} (${code})`;
  });

describe('loadPaths', () => {
  it('takes *.yaml, *.yml and *.json of a folder in order, not of folders in it, and notes what is not ours', async () => {
    const json = JSON.stringify({ ...{ apiVersion: 'levada.dev/v1alpha1', kind: 'ModelDeployment' }, metadata: { name: 'c' }, spec: { versions: [{ name: 'v1', uri: 'file:///c' }] } }); // biome-ignore format: one line
    await write({
      'b.yml': iris('b'),
      'a.yaml': `# c\n---\n${foreign}---\n${iris('a')}`,
      'c.json': json,
      'd.txt': '{',
      'sub/e.yaml': '{',
    });
    const loaded = await load('');
    expect(loaded.problems).toEqual([]);
    expect(loaded.resources.map(({ resource, file, line }) => [resource.metadata.name, file, line])).toEqual([
      ['a', shown('a.yaml'), 7],
      ['b', shown('b.yml'), 1],
      ['c', shown('c.json'), 1],
    ]);
    expect(loaded.notes).toEqual([`${shown('a.yaml')}: ignored: v1 ConfigMap db (not a levada.dev kind)`]);
    expect(loaded.files).toEqual(['', 'a.yaml', 'b.yml', 'c.json'].map((name) => join(folder, name)));
  });

  it('reads a file once, and a named file whatever its extension', async () => {
    await write({ 'a.yaml': iris('a'), 'b.txt': iris('b') });
    await symlink('b.txt', join(folder, 'c.yaml'));
    const loaded = await load('', 'a.yaml', 'b.txt');
    expect(loaded.resources.map(({ resource }) => resource.metadata.name)).toEqual(['a', 'b', 'b']);
    expect(lines(loaded)).toEqual([
      'b.txt:3:19 metadata.name: the name default/b is used twice; allowed: names that differ (DuplicateName)',
    ]);
  });

  it('refuses a local name that a resource has; that of a container step is for it', async () => {
    const step = 'consumes: [a], container: { image: x }, emits: [b]';
    await write({
      'a.yaml': `${iris('a')}---\napiVersion: levada.dev/v1alpha1\nkind: EventPipeline\nmetadata: { name: p }\nspec:\n  sources: [{ name: in, emits: a, http: { path: / } }]\n  steps: [{ name: s, ${step} }]\n`,
      'levada.local.yaml':
        'services:\n  p-s: { command: [x] }\n  a-v1: { command: [x] }\nhosts:\n  p-in: http://b:1\n  a: http://b:1\n',
    });
    expect(lines(await load(''))).toEqual([
      'levada.local.yaml:3:3 services.a-v1: ModelDeployment a makes a Service a-v1: choose another name (LocalFileInvalid)',
      'levada.local.yaml:5:9 hosts.p-in: EventPipeline p makes a Service p-in: choose another name (LocalFileInvalid)',
      'levada.local.yaml:6:6 hosts.a: ModelDeployment a makes a Service a: choose another name (LocalFileInvalid)',
    ]);
  });

  it('reads levada.local.yaml beside every path as settings', async () => {
    await write({
      'one/levada.local.yaml': 'mounts: { /models: ./here }',
      'one/a.yaml': iris('a'),
      'two/levada.local.yaml': 'mounts:\n  /models: ./here\n  /other: ../x\n',
      'two/b.yaml': iris('b'),
      'three/levada.local.yaml': 'mounts: { models: x }\nservice: {}',
      'three/c.yaml': iris('c'),
    });
    expect((await load('one')).local).toMatchObject({ mounts: { '/models': join(folder, 'one/here') } });
    expect((await load('one/a.yaml')).local).toMatchObject({ mounts: { '/models': join(folder, 'one/here') } });
    const both = await load('one', 'two');
    expect(both.local.mounts).toEqual({ '/models': join(folder, 'one/here'), '/other': join(folder, 'x') });
    expect(lines(both)).toEqual([
      expect.stringMatching(
        /^two\/levada.local.yaml:2:12 mounts\[\/models\]: \/models is mounted from .* \(LocalFileInvalid\)$/,
      ),
    ]);
    expect(lines(await load('three'))).toEqual([
      expect.stringMatching(
        /^three\/levada.local.yaml:1:19 mounts.models: found the key "models"; allowed: .* \(InvalidValue\)$/,
      ),
      'three/levada.local.yaml:2:1 service: unknown field `service`; allowed: mounts, services, hosts, secrets (did you mean services?) (UnknownField)',
    ]);
  });

  it('reports every problem of every file at once, by file and place', async () => {
    await write({
      'a.yaml': `${iris('A', '  replicas: yes\n  serv: v1\n')}---\n${foreign}---\nkind: Foo\n`,
      'b.yaml': `${iris('b')}---\na: [1\n---\n${iris('c', '  replicas: 1\n  replicas: 2\n')}`,
    });
    expect(lines(await load('', 'nowhere'))).toEqual([
      'nowhere:0:0 : nowhere: no such file or folder (FileNotFound)',
      'a.yaml:3:19 metadata.name: found "A"; allowed: lower-case letters, digits and -, from a letter to a letter or digit (InvalidValue)',
      'a.yaml:6:13 spec.replicas: found yes (true for kubectl); allowed: an integer (InvalidType)',
      'a.yaml:7:3 spec.serv: unknown field `serv`; allowed: versions, serve, rollout, split, match, sticky, shadow, classNames, classNamesFrom, batching, replicas, resources, serviceAccountName, podTemplate, expose (did you mean serve?) (UnknownField)',
      'a.yaml:13:1 apiVersion: found nothing; allowed: levada.dev/v1alpha1 (NotAResource)',
      'b.yaml:8:1 : not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ] (YamlSyntax)',
      'b.yaml:15:3 spec.replicas: a key appears twice: replicas (YamlDuplicateKey)',
    ]);
  });

  it.each<[string, Record<string, string | Uint8Array>, string[], string[]]>([
    [
      'an empty folder',
      { 'x/readme.txt': '' },
      ['x'],
      ['x:0:0 : x: a folder without *.yaml, *.yml or *.json (FileNotFound)'],
    ],
    [
      'files without a resource',
      { 'a.yaml': foreign },
      ['a.yaml'],
      ['a.yaml:0:0 : a.yaml: holds no levada.dev resource (FileNotFound)'],
    ],
    [
      'a path through a file',
      { 'a.yaml': '' },
      ['a.yaml/b'],
      ['a.yaml/b:0:0 : a.yaml/b: a part of the path is not a folder (FileNotFound)'],
    ],
    [
      'files above 2 MiB',
      { 'a.yaml': '#'.repeat(2 * 1024 * 1024 + 1) },
      ['a.yaml'],
      ['a.yaml:0:0 : the file has 2097153 bytes; at most 2097152 are read (DocumentTooLarge)'],
    ],
    [
      'what is not UTF-8',
      { 'a.yaml': new Uint8Array([0x61, 0xff]) },
      ['a.yaml'],
      ['a.yaml:0:0 : not valid YAML: the file is not UTF-8 (YamlSyntax)'],
    ],
    [
      'a folder that has the name of a file',
      { 'x/a.yaml/b.txt': '' },
      ['x'],
      ['x/a.yaml:0:0 : x/a.yaml: a folder, where a file is wanted (FileNotFound)'],
    ],
  ])('refuses %s', async (_, files, names, expected) => {
    await write(files);
    expect(lines(await load(...names))).toEqual(expected);
  });
});
