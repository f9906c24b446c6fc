import { rm } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { predict, request } from '../support/http.ts';
import { startLoad } from '../support/load.ts';
import { modelServers, noProcesses } from '../support/processes.ts';
import { iris, irisModel, type Running, Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';

const file = 'res/iris.yaml';
const refused = 'the edit is refused as a whole; what ran goes on running';

async function started(workspace: Workspace): Promise<Running> {
  await workspace.write(file, iris());
  const up = await workspace.up();
  await up.says('takes the traffic. http');
  return up;
}

describe('edits while levada up runs', () => {
  it('moves the traffic when `serve` changes, and back', async () => {
    await using ws = await Workspace.create();
    const up = await started(ws);
    const { services } = await ws.get();
    await ws.write(file, iris({ serve: 'v2' }));
    await up.says('Version v2 is loaded and takes the traffic');
    expect(await predict(services['iris'])).toEqual({ prediction: 2, version: 'v2' });
    const now = await ws.get();
    expect(now.services['iris']).toBe(services['iris']);
    expect(now.status).toMatchObject({ observedGeneration: 2, stableVersion: 'v2' });
    await until('v1 has gone', async () => (await ws.get()).services['iris-v1'] === undefined);
    const from = up.output.length;
    await ws.write(file, iris({ serve: 'v1' }));
    await up.says('Version v1 is loaded and takes the traffic', { from });
    expect(await predict(services['iris'])).toEqual({ prediction: 1, version: 'v1' });
    // Remembered while it was away.
    expect((await ws.get()).services['iris-v1']).toBe(services['iris-v1']);
    await up.interrupt();
  });

  const two = `${JSON.stringify(iris({ serve: 'v2' }))}\n---\n${JSON.stringify(iris({ serve: 'v9' }, 'other'))}\n`;
  it.each<[string, string | object, RegExp]>([
    ['an unknown field', iris({ serve: 'v2', replica: 2 }), /iris\.yaml:\d+:\d+: spec\.replica: .*\(UnknownField\)/],
    ['YAML syntax', 'apiVersion: [\n', /iris\.yaml:\d+:\d+: .*\(YamlSyntax\)/],
    ['one bad document of two', two, /iris\.yaml:\d+:\d+: spec\.serve: .*\(ServeUnknown\)/],
    [
      'another uri of a declared version',
      iris({
        serve: 'v2',
        versions: [
          { name: 'v1', uri: 'file:///models/iris/2' },
          { name: 'v2', uri: 'file:///models/iris/2' },
        ],
      }),
      /iris\.yaml:\d+:\d+: spec\.versions\[0\]\.uri: .*\(VersionImmutable\)/,
    ],
    [
      'another sha256 of a declared version',
      iris({
        serve: 'v2',
        versions: [
          { name: 'v1', uri: 'file:///models/iris/1', sha256: '0'.repeat(64) },
          { name: 'v2', uri: 'file:///models/iris/2' },
        ],
      }),
      /iris\.yaml:\d+:\d+: spec\.versions\[0\]\.sha256: .*\(VersionImmutable\)/,
    ],
  ])('refuses %s, names it, goes on, and takes the mended file', async (_, edit, said) => {
    await using ws = await Workspace.create();
    const up = await started(ws);
    await ws.write(file, edit);
    await up.says(refused);
    expect(up.output).toMatch(said);
    const { services, metadata, status } = await ws.get();
    expect(metadata.generation).toBe(1);
    expect(status).toMatchObject({ stableVersion: 'v1' });
    expect(await predict(services['iris'])).toEqual({ prediction: 1, version: 'v1' });
    await ws.write(file, iris({ serve: 'v2' }));
    await up.says('Version v2 is loaded and takes the traffic');
    await up.interrupt();
  });

  it('refuses a folder that has become empty', async () => {
    await using ws = await Workspace.create();
    const up = await started(ws);
    await rm(ws.path(file));
    await up.says(refused);
    expect(await predict((await ws.get()).services['iris'])).toEqual({ prediction: 1, version: 'v1' });
    await up.interrupt();
  });

  it.skipIf(noProcesses)(
    'replaces the process when batching or class names change, without a failed request',
    async () => {
      await using ws = await Workspace.create();
      const up = await started(ws);
      const { services } = await ws.get();
      const load = await startLoad(services['iris'] ?? '', 16);
      const pids = () => modelServers(ws.folder, 'iris-v1').map(({ pid }) => pid);
      for (const [generation, spec] of [
        { batching: { maxBatchSize: 1 } },
        { batching: { maxBatchSize: 8, maxDelay: '1ms' } },
        { batching: { maxBatchSize: 8 }, classNames: ['setosa', 'versicolor', 'virginica', 'more'] },
      ].entries()) {
        const before = pids();
        expect(before).toHaveLength(1);
        await ws.write(file, iris(spec));
        await until('another process has taken over', () => {
          const now = pids();
          return now.length === 1 && now[0] !== before[0];
        });
        await until('it is said', async () => {
          const { status } = await ws.get();
          const ready = status?.conditions.find(({ type }) => type === 'Ready');
          return ready?.observedGeneration === generation + 2 && ready.status === 'True';
        });
      }
      const result = await load.stop();
      expect(result).toMatchObject({ wrong: 0, failed: 0, samples: [] });
      expect(result.ok).toBeGreaterThan(100);
      const names = iris({ classNames: ['a', 'b', 'c'] });
      await ws.write(file, names);
      await until('the new names are in the answers', async () => {
        const { body } = await request(`${services['iris']}/predict`, '{"features":[5.9,3.2,4.8,1.8]}');
        return body.includes('"b"');
      });
      await up.interrupt();
    },
  );

  it.skipIf(noProcesses)(
    'ends the processes of a resource that is removed, and starts those of one that is new',
    async () => {
      await using ws = await Workspace.create();
      const up = await started(ws);
      await ws.write('res/rose.yaml', iris({ serve: 'v2' }, 'rose'));
      await up.says('rose: Serving');
      expect(await predict((await ws.get('rose')).services['rose'])).toEqual({ prediction: 2, version: 'v2' });
      await rm(ws.path(file));
      await until('the processes of iris are gone', () => modelServers(ws.folder, 'iris-').length === 0);
      expect((await ws.levada('get', 'iris')).code).toBe(1);
      expect(await predict((await ws.get('rose')).services['rose'])).toEqual({ prediction: 2, version: 'v2' });
      await up.interrupt();
    },
  );

  it('does not take what the version of a removed resource was resolved to for the new one', async () => {
    await using ws = await Workspace.create();
    await ws.write('res/rose.yaml', iris({}, 'rose'));
    const up = await started(ws);
    const versions = [{ name: 'v1', uri: 'file:///models/iris/2' }];
    await rm(ws.path(file));
    await until('iris is gone', async () => (await ws.levada('get', 'iris')).code === 1);
    await ws.write(file, iris({ versions }));
    await until('the new one serves', async () => (await ws.get()).status?.stableVersion === 'v1');
    expect(await predict((await ws.get()).services['iris'])).toEqual({ prediction: 2, version: 'v1' });
    await up.interrupt();
  });

  it('serves the old version although it is not declared any more, until the new one is ready', async () => {
    await using ws = await Workspace.create();
    const up = await started(ws);
    const versions = [{ name: 'v3', uri: 'file:///models/iris/3' }];
    await ws.write(file, iris({ versions, serve: 'v3' }));
    await up.says(/ArtifactNotFound: .*Version v1 goes on serving/);
    const { services, status } = await ws.get();
    expect(status).toMatchObject({ stableVersion: 'v1', versions: [{ name: 'v3', state: 'Failed' }] });
    expect(await predict(services['iris'])).toEqual({ prediction: 1, version: 'v1' });
    await ws.copy(irisModel(2), 'models/iris/3/model.onnx');
    await up.says('Version v3 is loaded and takes the traffic');
    expect(await predict(services['iris'])).toEqual({ prediction: 2, version: 'v3' });
    await up.interrupt();
  });

  it('finds the model when a mount is mended, or appears beside the file', async () => {
    await using ws = await Workspace.create();
    await rm(ws.path('res/levada.local.yaml'));
    await ws.write(file, iris());
    const up = await ws.up(file);
    await up.says('ArtifactNotFound');
    await ws.write('res/levada.local.yaml', 'mounts:\n  /models: ../nowhere\n');
    await up.says('mounts have changed');
    await ws.write('res/levada.local.yaml', 'mounts:\n  /models: ../models\n');
    await up.says('takes the traffic. http');
    await up.interrupt();
  });
});
