/** examples/iris on a cluster: the same answers as on a laptop, and a switch that no request notices. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Namespace } from '../support/e2e.ts';
import { root } from '../support/up.ts';
import { until } from '../support/wait.ts';

const example = await readFile(join(root, 'examples/iris/iris.yaml'), 'utf8');
/** On a cluster the files are in a claim; what is in them is the same, and their digests say so. */
const iris = example.replaceAll('file:///models/iris/', 'pvc://iris/');

it('serves what scikit-learn answers, and switches under load', async () => {
  expect(iris.match(/pvc:\/\/iris\/[12]/g)).toHaveLength(2);
  await using namespace = await Namespace.create();
  await namespace.claim('iris', 'examples/iris/models');
  await namespace.restrict();
  await namespace.startClient();
  await namespace.apply(iris);
  await namespace.says('modeldeployment/iris', 'Ready', 'True Serving');
  const load = await namespace.load('http://iris', 16);
  let seen = load.count();
  const answers = (count: number) => until(`${count} more answers`, () => load.count() >= seen + count);
  await answers(300); // twice each row, over both protocols
  for (const serve of ['v2', 'v1', 'v2']) {
    await namespace.kubectl(
      'patch',
      'modeldeployment',
      'iris',
      '--type=merge',
      '-p',
      JSON.stringify({ spec: { serve } }),
    );
    const live = await namespace.says('modeldeployment/iris', 'Ready', 'True Serving');
    expect(live.status?.stableVersion).toBe(serve);
    seen = load.count();
    await answers(300);
  }
  const result = await load.stop();
  expect(result).toMatchObject({ wrong: 0, failed: 0, samples: [] });
  expect(result.versions['v1']).toBeGreaterThan(300);
  expect(result.versions['v2']).toBeGreaterThan(300);
  expect(result.telling).toBeGreaterThan(result.ok / 3);
});
