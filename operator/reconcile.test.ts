import { expect, it } from 'vitest';
import { rolloutCommand } from '../api/contract/names.ts';
import { LevadaError, type Problem, problem } from '../api/errors.ts';
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
  const told: string[] = [];
  const problems: Problem[] = [];
  const failures: unknown[] = [];
  const store = {
    get: async () => resource && { resource, problems },
    neighbours: async () => ({ models: [], pipelines: {} }),
    tell: async (_: Resource, events: readonly { reason: string }[]) =>
      void told.push(...events.map(({ reason }) => reason)),
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
  const queue = new KeyedQueue((_, failed) => reconcile(key, store, driver, now, { failures: failed }), {
    firstMs: 1,
    maxMs: 1,
    failed: (_, error) => failures.push(error),
  });
  driver.watch((owner) => queue.add(owner));
  return {
    written,
    told,
    failures,
    problems,
    current: () => resource,
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

it.each([
  { code: 'ObjectTaken', again: true, stalled: 'False', reconciling: 'True' },
  { code: 'ClusterRefused', again: false, stalled: 'True', reconciling: 'False' },
] as const)('$code: says what could not be applied, and whether it is tried again', async (row) => {
  const { edit, ready, reconcile: look, driver, current } = control(() => false);
  edit(iris());
  await until('v1 serves', () => ready()?.status === 'True');
  const { apply } = driver;
  driver.apply = async () => {
    throw new LevadaError(row.code, { kind: 'Service', name: 'iris', owner: 'somebody', what: 'it', detail: 'no' });
  };
  const failed = await look().then(
    () => false,
    () => true,
  );
  expect(failed).toBe(row.again);
  expect(ready()).toMatchObject({ status: 'False', reason: row.code });
  const of = (type: string) => current()?.status?.conditions.find((one) => one.type === type)?.status;
  expect([of('Serving'), of('Stalled'), of('Reconciling')]).toEqual(['True', row.stalled, row.reconciling]);
  driver.apply = apply;
  await look();
  expect(ready()).toMatchObject({ status: 'True' });
});

it('says what only the driver can tell is wrong, applies nothing of it, and does not try again', async () => {
  const { edit, ready, current, driver } = control(() => false);
  edit(iris());
  await until('v1 serves', () => ready()?.status === 'True');
  const before = await driver.observe(key);
  driver.check = async () => [problem('PodTemplateRefused', 'spec.podTemplate', { detail: 'no such field' })];
  edit(iris({ serve: 'v2' }, 2));
  await until('it is refused', () => ready()?.reason === 'PodTemplateRefused');
  expect(ready()?.message).toMatch(/^spec\.podTemplate: .*: no such field\. /);
  const of = (type: string) => current()?.status?.conditions.find((one) => one.type === type)?.status;
  expect([of('Accepted'), of('Stalled'), of('Serving')]).toEqual(['False', 'True', 'True']);
  expect(await driver.observe(key)).toEqual(before);
  delete driver.check;
  edit(iris({ serve: 'v2' }, 3));
  await until('v2 serves', () => ready()?.status === 'True');
  expect(of('Accepted')).toBe('True');
});

/** v2 on its way, with half of the requests. */
async function halfWay() {
  const story = control(() => false);
  const rollout = { steps: [{ weight: 50, hold: '1h' }] };
  story.edit(iris({ rollout }));
  await until('v1 serves', () => story.ready()?.status === 'True');
  story.edit(iris({ rollout, serve: 'v2' }, 2));
  const weight = async () => (await story.driver.observe(key)).routing?.acknowledged[0]?.weight;
  await until('v2 has its half', async () => (await weight()) === 50);
  const abort = () => {
    const { metadata, ...edited } = iris({ rollout, serve: 'v2' }, 3);
    const id = story.current()?.status?.rollout?.id;
    story.edit({ ...edited, metadata: { ...metadata, annotations: { [rolloutCommand]: `abort/${id}` } } });
  };
  return { ...story, abort, weight };
}

it('a candidate goes back also while pods are refused, which run on as they are; and is looked at again', async () => {
  const { driver, abort, weight, ready, current, told, reconcile: look } = await halfWay();
  const { units } = await driver.observe(key);
  driver.check = async () => [problem('PodTemplateRefused', 'spec.podTemplate', { detail: 'no such field' })];
  expect(await look()).toBeGreaterThan(0);
  abort();
  await until('it has gone back', async () => (await weight()) === 0 || (await weight()) === undefined);
  await until('that is said', () => told.includes('Aborted'));
  expect(current()?.status?.rollout).toMatchObject({ phase: 'Aborted', weight: 0 });
  expect(ready()?.reason).toBe('PodTemplateRefused');
  expect((await driver.observe(key)).units).toEqual(units);
});

it('a refused first deployment makes nothing', async () => {
  const { driver, edit, ready } = control(() => false);
  driver.check = async () => [problem('PodTemplateRefused', 'spec.podTemplate', { detail: 'no such field' })];
  edit(iris({ rollout: {} }));
  await until('it is refused', () => ready()?.reason === 'PodTemplateRefused');
  expect(await driver.observe(key)).toEqual({ units: {}, fronts: {} });
});

it('a rollout that could not be applied is said once, and looked at again whatever has failed', async () => {
  const { driver, abort, current, told, reconcile: look } = await halfWay();
  const { apply } = driver;
  driver.apply = async () => {
    throw new LevadaError('ClusterRefused', { what: 'it', detail: 'no' });
  };
  expect(await look()).toBeGreaterThan(0);
  abort();
  await until('that is said', () => told.includes('Aborted'));
  expect(current()?.status?.rollout?.phase).toBe('Aborted');
  await look();
  driver.apply = apply;
  await look();
  expect(told.filter((reason) => reason === 'Aborted')).toHaveLength(1);
});

it('what passes by itself is tried again, and not worth a status', async () => {
  const { edit, ready, written, reconcile: look, driver } = control(() => false);
  edit(iris());
  await until('v1 serves', () => ready()?.status === 'True');
  const count = written.length;
  driver.apply = async () => {
    throw new LevadaError('ClusterUnavailable', { detail: 'a test' });
  };
  await expect(look()).rejects.toMatchObject({ code: 'ClusterUnavailable' });
  expect(written).toHaveLength(count);
});

it('what passes by itself and has not by its third failure is said once, of the generation that it keeps from being so', async () => {
  const { edit, ready, written, current, driver, failures } = control(() => false);
  edit(iris());
  await until('v1 serves', () => ready()?.status === 'True');
  const { apply } = driver;
  let port = 50_000;
  driver.apply = async () => {
    throw new LevadaError('ClusterUnavailable', { detail: `failed calling webhook: from port ${port++}` });
  };
  const count = written.length;
  edit(iris({ serve: 'v2' }, 2));
  await until('it has failed often', () => failures.length >= 6);
  expect(written).toHaveLength(count + 1);
  expect(ready()).toMatchObject({ status: 'False', reason: 'ClusterUnavailable', observedGeneration: 2 });
  expect(ready()?.message).toContain('from port 50002');
  const of = (type: string) => current()?.status?.conditions.find((one) => one.type === type)?.status;
  expect([of('Serving'), of('Stalled'), of('Reconciling')]).toEqual(['True', 'False', 'True']);
  driver.apply = apply;
  await until('v2 serves', () => ready()?.status === 'True');
});

it.each(['ClusterRefused', 'ClusterQuotaExceeded'] as const)(
  '%s that names another request each time is said once, and anew where it says something else',
  async (code) => {
    const { edit, ready, written, reconcile: look, driver } = control(() => false);
    edit(iris());
    await until('v1 serves', () => ready()?.status === 'True');
    let request = 0xbeef10;
    let why = 'a policy';
    driver.apply = async () => {
      request += 7;
      throw new LevadaError(code, { what: 'a Deployment', detail: `${why} (request ${request.toString(16)}-4)` });
    };
    const count = written.length;
    for (let i = 0; i < 3; i++) await look().catch(() => {});
    expect(ready()).toMatchObject({ status: 'False', reason: code });
    expect(written).toHaveLength(count + 1);
    why = 'another one';
    await look().catch(() => {});
    expect(written).toHaveLength(count + 2);
    expect(ready()?.message).toContain('another one');
  },
);

it('what is refused for good is looked at again after ten minutes: nobody tells of a policy that was mended', async () => {
  const { edit, ready, reconcile: look, driver } = control(() => false);
  edit(iris());
  await until('v1 serves', () => ready()?.status === 'True');
  driver.apply = async () => {
    throw new LevadaError('ClusterRefused', { what: 'a Deployment', detail: 'a policy' });
  };
  expect(await look()).toBe(600_000);
});

it('pods that are refused in other words each time are said once', async () => {
  const { edit, ready, written, reconcile: look, driver } = control(() => false);
  edit(iris());
  await until('v1 serves', () => ready()?.status === 'True');
  let request = 1;
  driver.check = async () => [
    problem('PodTemplateRefused', 'spec.podTemplate', { detail: `no (request ${request++})` }),
  ];
  const count = written.length;
  for (let i = 0; i < 3; i++) await look();
  expect(ready()).toMatchObject({ status: 'False', reason: 'PodTemplateRefused' });
  expect(written).toHaveLength(count + 1);
});

it('says what is wrong with a resource that is stored and cannot be understood, and leaves what ran', async () => {
  const { edit, ready, current, driver, problems } = control(() => false);
  edit(iris());
  await until('v1 serves', () => ready()?.status === 'True');
  const before = await driver.observe(key);
  problems.push(problem('UnknownField', 'spec.ury', { found: 'ury', allowed: 'versions', hint: '' }));
  edit(iris({}, 2));
  await until('it is refused', () => ready()?.reason === 'UnknownField');
  expect(ready()).toMatchObject({ status: 'False', observedGeneration: 2 });
  expect(ready()?.message).toMatch(/^spec\.ury: /);
  const of = (type: string) => current()?.status?.conditions.find((one) => one.type === type)?.status;
  expect([of('Accepted'), of('Stalled'), of('Serving')]).toEqual(['False', 'True', 'True']);
  expect(await driver.observe(key)).toEqual(before);
});

it('removes everything of a resource that is gone', async () => {
  const { edit, ready, driver } = control(() => false);
  edit(iris());
  await until('v1 serves', () => ready()?.status === 'True');
  edit(undefined);
  await until('nothing is there', async () => Object.keys((await driver.observe(key)).units).length === 0);
  expect(await driver.observe(key)).toEqual({ units: {}, fronts: {} });
});
