/** A rollout on a cluster, under load from a pod: a good version takes over, one that dies goes back, no request fails. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import { Namespace } from '../support/e2e.ts';
import { root } from '../support/up.ts';
import { until } from '../support/wait.ts';

const example = await readFile(join(root, 'examples/iris/iris.yaml'), 'utf8');
const rollout = {
  interval: '1s',
  steps: [
    { weight: 5, hold: '5s' },
    { weight: 25, hold: '5s' },
    { weight: 50, hold: '5s' },
    { weight: 100, hold: '5s' },
  ],
  promotionHold: '5s',
};

it('takes over step by step, and goes back from a version that dies', async () => {
  await using namespace = await Namespace.create();
  await namespace.claim('iris', 'examples/iris/models');
  await namespace.restrict();
  await namespace.startClient();
  const resource = parse(example.replaceAll('file:///models/iris/', 'pvc://iris/')) as { spec: object };
  await namespace.apply([{ ...resource, spec: { ...resource.spec, rollout } }]);
  await namespace.says('modeldeployment/iris', 'Ready', 'True Serving');
  const load = await namespace.load('http://iris', 8);
  const patch = (spec: object) =>
    namespace.kubectl('patch', 'modeldeployment', 'iris', '--type=merge', '-p', JSON.stringify({ spec }));
  const comesTo = (what: string, check: (status: NonNullable<ModelDeployment['status']>) => boolean) =>
    until(
      what,
      async () => {
        const { status } = await namespace.get<ModelDeployment>('modeldeployment', 'iris');
        return status && check(status) && status;
      },
      { timeoutMs: 240_000 },
    );

  const began = Date.now();
  await patch({ serve: 'v2' });
  const weights = new Set<number>();
  await comesTo('v2 is promoted for good', ({ rollout: now, stableVersion }) => {
    weights.add(now?.appliedWeight ?? 0);
    return stableVersion === 'v2' && now?.phase === 'Stable';
  });
  console.log(`e2e: v2 was promoted in ${((Date.now() - began) / 1000).toFixed(1)} s`);
  expect([...weights]).toEqual(expect.arrayContaining([5, 25, 50]));

  // Back to v1 as a new version, whose pods die one after the other.
  await patch({ serve: 'v1', rollout: { ...rollout, steps: [{ weight: 25, hold: '1h' }] } });
  await comesTo('v1 has its share', ({ rollout: now }) => now?.appliedWeight === 25);
  const back = await comesTo('it has gone back', ({ rollout: now }) => {
    if (now?.phase === 'RolledBack') return true;
    const pods = ['delete', 'pod', '-l', 'levada.dev/version=v1', '--grace-period=0', '--force', '--wait=false'];
    namespace.kubectl(...pods).catch(() => {}); // none is there at the moment
    return false;
  });
  expect(back.lastRollback).toMatchObject({ version: 'v1', gate: 'errorRate' });
  expect(back.stableVersion).toBe('v2');
  const result = await load.stop();
  console.log(`e2e: ${JSON.stringify(result)}`);
  expect(result).toMatchObject({ wrong: 0, failed: 0, samples: [] });
  const events = await namespace.kubectl('get', 'events', '-o', 'jsonpath={.items[*].reason}');
  for (const reason of ['RolloutStarted', 'StepStarted', 'Promoted', 'RolledBack']) expect(events).toContain(reason);
});
