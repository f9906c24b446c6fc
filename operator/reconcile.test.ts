import { expect, it } from 'vitest';
import type { ModelDeployment, ModelDeploymentStatus } from '../api/v1alpha1/model-deployment.ts';
import type { Resource, ResourceStatus } from '../api/v1alpha1/resource.ts';
import { until } from '../test/support/wait.ts';
import { memoryDriver } from './drivers/memory/driver.ts';
import { KeyedQueue } from './engine/queue.ts';
import { iris } from './plan/model/testing.ts';
import { reconcile } from './reconcile.ts';

const key = 'default/iris';

/** One resource, kept right by the queue, as `levada up` and the operator do it. */
function control(isBad: (path: string) => boolean) {
  let resource: ModelDeployment | undefined;
  const written: ModelDeploymentStatus[] = [];
  const failures: unknown[] = [];
  const store = {
    get: async () => resource && { resource, problems: [] },
    neighbours: async () => ({ models: [], pipelines: {} }),
    async writeStatus(_: Resource, status: ResourceStatus) {
      written.push(status as ModelDeploymentStatus);
      if (resource) resource = { ...resource, status: status as ModelDeploymentStatus };
    },
  };
  const driver = memoryDriver((path) => (isBad(path) ? { code: 'ModelInvalid', message: path } : undefined));
  let time = Date.UTC(2030, 0, 1);
  const now = () => {
    time += 1_000;
    return new Date(time);
  };
  const queue = new KeyedQueue(() => reconcile(key, store, driver, now), {
    firstMs: 1,
    maxMs: 1,
    failed: (_, error) => failures.push(error),
  });
  driver.watch((owner) => queue.add(owner));
  return {
    written,
    failures,
    driver,
    reconcile: () => reconcile(key, store, driver, now),
    edit(next: ModelDeployment | undefined) {
      resource = next && { ...next, ...(resource?.status && { status: resource.status }) };
      queue.add(key);
    },
    ready: () => resource?.status?.conditions.find(({ type }) => type === 'Ready'),
    stable: () => resource?.status?.stableVersion,
  };
}

it('comes to what is wanted, and then writes and applies nothing more', async () => {
  const { edit, ready, stable, written, driver, reconcile: again, failures } = control(() => false);
  edit(iris());
  await until('v1 serves', () => ready()?.status === 'True');
  edit(iris({ serve: 'v2' }, 2));
  await until('v2 serves', () => stable() === 'v2' && ready()?.status === 'True');
  const before = await driver.observe(key);
  expect(Object.keys(before.units)).toEqual(['iris-v2']);
  const count = written.length;
  for (let i = 0; i < 3; i++) await again();
  expect(written).toHaveLength(count);
  expect(await driver.observe(key)).toEqual(before);
  expect(failures).toEqual([]);
});

it('says that it is ready only of the generation that is', async () => {
  const { edit, ready, written } = control((path) => path === '/models/2');
  edit(iris());
  await until('v1 serves', () => ready()?.status === 'True');
  edit(iris({ batching: { maxBatchSize: 1 } }, 2));
  await until('the edit is taken up', () => ready()?.observedGeneration === 2 && ready()?.status === 'True');
  const first = written.find(({ observedGeneration }) => observedGeneration === 2);
  expect(first?.conditions.find(({ type }) => type === 'Ready')?.status).toBe('False');
  edit(iris({ serve: 'v2' }, 3));
  await until('v2 has failed', () => ready()?.reason === 'ModelInvalid');
  expect(written.every(({ stableVersion }, i) => stableVersion === 'v1' || i < 3)).toBe(true);
});

it('removes everything of a resource that is gone', async () => {
  const { edit, ready, driver } = control(() => false);
  edit(iris());
  await until('v1 serves', () => ready()?.status === 'True');
  edit(undefined);
  await until('nothing is there', async () => Object.keys((await driver.observe(key)).units).length === 0);
  expect(await driver.observe(key)).toEqual({ units: {}, fronts: {} });
});
