/** A model that is fetched under `levada up`: with a Secret that comes later, once, and never another one. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { predict } from '../support/http.ts';
import { file, type Handler, Origin } from '../support/origin.ts';
import { iris, irisModel, Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';

const token = 't-4711';
const guarded =
  (bytes: Uint8Array): Handler =>
  (req, res, count) => {
    if (req.headers.authorization === `Bearer ${token}`) file(bytes, '"1"')(req, res, count);
    else res.writeHead(401).end();
  };

test('a model is fetched with its Secret, resolved, and served; another one behind its URI is not taken', async () => {
  await using workspace = await Workspace.create();
  await using origin = await Origin.start(guarded(await readFile(irisModel(2))));
  const uri = `${origin.url}/iris.onnx`;
  const versions = [{ name: 'v1', uri, secretRef: { name: 'models' } }];
  await workspace.write('res/iris.json', iris({ versions, serve: 'v1' }));
  await workspace.write('res/levada.local.yaml', '{}\n');
  const up = await workspace.up();
  const ready = async () => (await workspace.get()).status?.conditions.find(({ type }) => type === 'Ready');
  await until('it waits for its Secret', async () => (await ready())?.reason === 'SecretNotFound');
  await workspace.write('res/levada.local.yaml', `secrets:\n  models:\n    token: wrong\n`);
  await until('it is refused', async () => (await ready())?.reason === 'ArtifactDenied');
  await workspace.write('res/levada.local.yaml', `secrets:\n  models:\n    token: ${token}\n`);
  await until('it serves', async () => (await ready())?.status === 'True');
  const { status, services } = await workspace.get();
  expect(await predict(services['iris'])).toEqual({ prediction: 2, version: 'v1' });
  expect(status?.versions[0]?.resolved).toEqual({ uri, digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) });

  // New processes take what was resolved.
  origin.answer(guarded(await readFile(irisModel(1))));
  const count = origin.asked.length;
  const before = up.output.length;
  await workspace.write('res/iris.json', iris({ versions, serve: 'v1', batching: { maxBatchSize: 7 } }));
  await up.says('model loaded', { from: before });
  await until('it serves again', async () => (await ready())?.status === 'True');
  expect(await predict(services['iris'])).toEqual({ prediction: 2, version: 'v1' });
  expect(origin.asked).toHaveLength(count);

  // And where that is gone, no other one.
  const digest = status?.versions[0]?.resolved?.digest.replace('sha256:', '') ?? '';
  await workspace.write(join('.levada/models', digest, 'model.onnx'), 'gone');
  await workspace.write('res/iris.json', iris({ versions, serve: 'v1', batching: { maxBatchSize: 8 } }));
  await until('the other one is refused', async () => (await ready())?.reason === 'ArtifactChanged');
  expect(await predict(services['iris'])).toEqual({ prediction: 2, version: 'v1' });
  expect(up.output).not.toContain(token);
}, 300_000);
