/** examples/ci/release.sh: from a model's file to a version that serves, in a Git repository of its own. */
import { execFile, spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import { readYaml } from '../../operator/source/yaml.ts';
import { features, predict } from '../support/http.ts';
import { root, Workspace } from '../support/up.ts';

const script = join(root, 'examples/ci/release.sh');
const missing = ['git', 'sh', 'awk'].find((command) => spawnSync(command, ['--version']).error !== undefined);
const skipped = missing ? ` (skipped: ${missing} is not in PATH)` : '';

const digest = '3efbe3f66a54ae44bd5291437775b93fb256ae160378547c57b0a32e8963ada5';
const first = `apiVersion: levada.dev/v1alpha1
kind: ModelDeployment
metadata:
  name: iris
spec:
  versions:                # newest first
  # the forest
  - name: v1
    uri: file:///models/iris/1
  classNames: [setosa, versicolor, virginica]
  rollout:
    interval: 1s
    steps: [{ weight: 50 }]
    promotionHold: 0s
    gates: []
`;
const second = first
  .replace('  versions:', '  serve: "v2"\n  versions:')
  .replace('  - name: v1', `  - { name: "v2", uri: "file:///models/iris/2", sha256: "${digest}" }\n  - name: v1`);
/** What the model at `models/iris/2` is to answer. */
const cases = (label: number) => ({
  cases: [
    {
      inputs: [{ name: 'X', shape: [1, 4], datatype: 'FP32', data: features }],
      outputs: [{ name: 'label', shape: [1], datatype: 'INT64', data: [label] }],
    },
  ],
});

interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function finish(
  command: string,
  args: readonly string[],
  cwd: string,
  env: Record<string, string> = {},
): Promise<Finished> {
  return new Promise((resolve) => {
    execFile(command, args, { cwd, env: { ...process.env, ...env } }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr });
    });
  });
}

/** A repository with the first version of iris, committed. */
async function repository() {
  const ws = await Workspace.create();
  const own = { GIT_CONFIG_GLOBAL: ws.path('gitconfig'), GIT_CONFIG_NOSYSTEM: '1' };
  const git = async (...args: string[]) => (await finish('git', args, ws.folder, own)).stdout.trim();
  await ws.write('gitconfig', '[user]\n\tname = CI\n\temail = ci@example.com\n[init]\n\tdefaultBranch = main\n');
  await ws.write('res/iris.yaml', first);
  await ws.write('right.json', cases(2));
  await ws.write('wrong.json', cases(1));
  await git('init');
  await git('add', 'res');
  await git('commit', '-m', 'iris');
  const env = { ...own, LEVADA: `${process.execPath} ${join(root, 'cli/main.ts')}` };
  const release = (args: readonly string[], more: Record<string, string> = {}) =>
    finish(script, ['res/iris.yaml', ...args], ws.folder, { ...env, ...more });
  const file = () => readFile(ws.path('res/iris.yaml'), 'utf8');
  return { ws, git, release, file };
}

const withModel = ['v2', 'file:///models/iris/2', '--model', 'models/iris/2', '--cases'];

describe.skipIf(missing)(`a release from CI${skipped}`, () => {
  it('checks, declares, commits, and follows the version until it serves', async () => {
    const { ws, git, release, file } = await repository();
    await using _ = ws;
    const up = await ws.up();
    await up.says('takes the traffic. http');
    await git('init', '--bare', '--quiet', 'origin.git');
    const done = await release([...withModel, 'right.json'], {
      WAIT: '5m',
      PUSH: `${ws.path('origin.git')} HEAD:main`,
    });
    expect(done, done.stderr + up.output).toMatchObject({ code: 0 });
    expect(done.stdout).toMatch(
      /^ok {3}cases\[0\] \(1 row\)\nall 1 case agree\n1 resource is valid\nModelDeployment iris: /,
    );
    expect(await file()).toBe(second);
    expect(await git('log', '--format=%s', '--name-only')).toBe(
      'iris: serve v2\n\nres/iris.yaml\niris\n\nres/iris.yaml\nres/levada.local.yaml',
    );
    expect(await git('--git-dir', 'origin.git', 'log', '-1', '--format=%s', 'main')).toBe('iris: serve v2');
    expect(await predict((await ws.get()).services['iris'])).toEqual({ prediction: 2, version: 'v2' });
    expect((await ws.get()).status?.rollout).toMatchObject({ phase: 'Stable', stable: 'v2' });
    // The job is run again, as people do.
    const again = await release([...withModel, 'right.json'], { WAIT: '5m' });
    expect(again).toMatchObject({ code: 0 });
    expect(again.stderr).toMatch(/^res\/iris\.yaml serves v2 already\n/);
    expect(await git('rev-list', '--count', 'HEAD')).toBe('2');
    await up.interrupt();
  });

  it.each<[string, string[], says: RegExp]>([
    ['a model that answers otherwise', [...withModel, 'wrong.json'], /FAIL cases\[0\]/],
    ['a model that is not there', ['v2', 'file:///models/iris/2', '--model', 'models/iris/3'], /ArtifactNotFound/],
    ['a uri that is none', ['v2', 'models/iris/2'], /res\/iris\.yaml:9:\d+: spec\.versions\[0\]\.uri: /],
    ['a version that is there', ['v1', 'file:///models/iris/2'], /DuplicateName/],
    ['a bucket without credentials', ['v2', 's3://models/iris.onnx'], /secretRef.*MissingField/],
  ])('leaves the file, and commits nothing: %s', async (_name, args, says) => {
    const { ws, git, release, file } = await repository();
    await using _ = ws;
    const { code, stdout, stderr } = await release(args, { WAIT: '5m' });
    expect({ code, said: stdout + stderr }).toEqual({ code: 1, said: expect.stringMatching(says) });
    expect(await file()).toBe(first);
    expect(await git('rev-list', '--count', 'HEAD')).toBe('1');
    expect(await git('status', '--porcelain', 'res')).toBe('');
  });

  it('keeps the indent of the list, other versions and `serve`, and names a Secret', async () => {
    const { ws, git, release } = await repository();
    await using _ = ws;
    const indented = 'versions:\n    - {name: v1, uri: "file:///models/iris/1"}\n  serve: v1 # for now\n';
    await ws.write('res/iris.yaml', first.replace(/versions:[\s\S]*?(?= {2}classNames)/, indented));
    expect(await release(['3', 's3://models/iris.onnx', '--secret', 'models'])).toMatchObject({ code: 0 });
    const [document] = readYaml(await git('show', 'HEAD:res/iris.yaml')).documents;
    expect((document!.value as ModelDeployment).spec).toMatchObject({
      versions: [
        { name: '3', uri: 's3://models/iris.onnx', secretRef: { name: 'models' } },
        { name: 'v1', uri: 'file:///models/iris/1' },
      ],
      serve: '3',
    });
  });

  it('refuses what it cannot edit, and wrong usage', async () => {
    const { ws, release, file } = await repository();
    await using _ = ws;
    const flow = first.replace(/versions:[\s\S]*?(?= {2}classNames)/, 'versions: [{ name: v1, uri: "file:///m/1" }]\n');
    await ws.write('res/iris.yaml', flow);
    const refused = await release(['v2', 'file:///models/iris/2']);
    expect(refused).toMatchObject({ code: 1, stderr: 'res/iris.yaml has no `versions:` with an entry a line\n' });
    expect(await file()).toBe(flow);
    await ws.write('res/iris.yaml', `${first}---\n${first.replace('name: iris', 'name: rose')}`);
    const two = await release(['v2', 'file:///models/iris/2']);
    expect(two).toMatchObject({
      code: 1,
      stderr: 'res/iris.yaml holds more than one ModelDeployment, or something else\n',
    });
    for (const args of [['v2'], ['v2', 'file:///m/2', '--model'], ['v2', 'file:///m/2', '--cases', 'right.json']]) {
      const { code, stderr } = await release(args);
      expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('release.sh FILE VERSION URI') });
    }
  });
});
