import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { fetchedFile } from '../../../api/contract/model-uri.ts';
import type { ModelDeployment } from '../../../api/v1alpha1/model-deployment.ts';
import { type ControlPlane, startControlPlane } from '../../../hack/cluster.ts';
import { clientOf, onCluster } from '../../../test/support/cluster.ts';
import { CountingProxy } from '../../../test/support/counting-proxy.ts';
import { StandInKubelet } from '../../../test/support/kubelet.ts';
import { file, type Handler, Origin } from '../../../test/support/origin.ts';
import { fixture, irisModel, root } from '../../../test/support/up.ts';
import { until } from '../../../test/support/wait.ts';
import type { KubeClient } from '../../engine/client.ts';
import { pathOf, type ResourceType, type StoredObject } from '../../engine/objects.ts';
import type { Observed, Unit, UnitPlan } from '../../plan/units.ts';
import { driverConformance, modelUnit, serving } from '../conformance.ts';
import type { Driver } from '../driver.ts';
import { newSigningKey, signerOf } from '../routing/signing.ts';
import { Children } from './children.ts';
import { Copy } from './copies.ts';
import { ModelDriver } from './model-driver.ts';
import { childTypes, type LivePod, modelDeployments, ours, pods } from './types.ts';

// The API server and the controllers that make pods are real; only the kubelet is not.
onCluster(() => {
  let plane: ControlPlane;
  let client: KubeClient;
  let kubelet: StandInKubelet;
  beforeAll(async () => {
    plane = await startControlPlane();
    client = clientOf(plane, plane.admin);
    const crd = parse(await readFile(join(root, 'crds/levada.dev_modeldeployments.yaml'), 'utf8')) as StoredObject;
    await client.call({ method: 'POST', path: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', body: crd });
    await until('the kind is served', () =>
      client.call({ method: 'GET', path: pathOf(modelDeployments) }).then(() => true),
    );
    plane.startControllers(['deployment-controller', 'replicaset-controller', 'garbage-collector-controller']);
    for (const name of ['a', 'b']) {
      await client.call({ method: 'POST', path: '/api/v1/namespaces', body: { metadata: { name } } });
    }
    kubelet = new StandInKubelet(client);
    await kubelet.start();
  });
  afterAll(async () => {
    await kubelet.close();
    await client.close();
    await plane.remove();
  });

  const namespaces = ['default', 'a', 'b'];
  /** A resource, whose children the driver makes; it looks at nothing else of it. */
  const declare = (namespace: string, name: string) =>
    client.apply(
      modelDeployments,
      {
        metadata: { namespace, name, labels: { 'argocd.argoproj.io/instance': 'shop' } },
        spec: { versions: [{ name: 'v1', uri: 'file:///model' }] },
      } as StoredObject,
      { fieldManager: 'test' },
    );
  async function remove(namespace: string, name: string): Promise<void> {
    const path = pathOf(modelDeployments, { namespace, name });
    await client.call({ method: 'DELETE', path, body: { propagationPolicy: 'Foreground' } });
    const isGone = () =>
      client.call({ method: 'GET', path }).then(
        () => false,
        () => true,
      );
    await until('it is gone', isGone); // the garbage collector removes what it owned first
  }
  const signer = signerOf(newSigningKey());
  async function startDriver(image = 'levada:test', by = client): Promise<Driver> {
    const places = { backoff: { firstMs: 20, maxMs: 200 }, failed: () => {} };
    const owners = new Copy<ModelDeployment & StoredObject>(by, modelDeployments, places);
    const children = new Children(by, places);
    const podCopy = new Copy<LivePod>(by, pods, places, ours);
    const driver = new ModelDriver({
      ...{ client: by, owners, children, pods: podCopy, image },
      keyOf: (namespace, name) => `${namespace}/${name}`,
      pauses: { soon: 100, maybe: 500, never: 2_000 },
      signer: async () => signer,
      askSteps: async () => [],
      log: () => {},
    });
    const copies = [owners, ...children.copies, podCopy];
    await Promise.all(copies.map((copy) => copy.start()));
    return {
      observe: (owner) => driver.observe(owner),
      check: (owner, plan) => driver.check(owner, plan),
      apply: (owner, plan) => driver.apply(owner, plan),
      watch: (changed) => driver.watch(changed),
      async close() {
        await driver.close();
        await Promise.all(copies.map((copy) => copy.close()));
      },
    };
  }

  driverConformance(
    'kubernetes',
    async () => {
      for (const namespace of namespaces) await declare(namespace, 'iris');
      const driver = await startDriver();
      return {
        driver,
        good: irisModel(2),
        bad: join(fixture('garbage'), 'model.onnx'),
        badCode: 'ModelInvalid',
        pids: (unit) => namespaces.flatMap((namespace) => kubelet.pids(namespace, unit)),
        async close() {
          for (const namespace of namespaces) await remove(namespace, 'iris');
          await driver.close();
        },
      };
    },
    {
      processes: 'what runs on a cluster outlives the operator',
      confirmation: 'the API server takes the selector of a Service at once; plan moves it when its target is ready',
    },
  );

  describe('kubernetes driver, what others do', () => {
    let driver: Driver;
    const owner = 'default/iris';
    const unit = modelUnit('v1', { path: irisModel(2) });
    const at = (type: ResourceType, name: string) => ({ type, path: pathOf(type, { namespace: 'default', name }) });
    const read = <T extends StoredObject>({ path }: { path: string }) => client.call<T>({ method: 'GET', path });
    const merge = ({ path }: { path: string }, body: object) =>
      client.call({ method: 'PATCH', path, contentType: 'application/merge-patch+json', body });
    const deployment = at(childTypes.Deployment, 'iris-v1');
    const front = at(childTypes.Service, 'iris');
    const reaches = (what: string, check: (observed: Observed) => unknown) =>
      until(what, async () => check(await driver.observe(owner)));
    /** What an operator does: again, until there is nothing to do. */
    const mends = (what: string, check: () => Promise<boolean>) =>
      until(what, async () => {
        await driver.apply(owner, serving(unit));
        return check();
      });

    beforeEach(async () => {
      await declare('default', 'iris');
      driver = await startDriver();
    });
    afterEach(async () => {
      await remove('default', 'iris');
      await driver.close();
    });

    it('mends what was edited by hand, and leaves what others own', async () => {
      await driver.apply(owner, serving(unit));
      await merge(deployment, { spec: { template: { spec: { terminationGracePeriodSeconds: 1 } } } });
      await merge(front, {
        spec: { selector: { 'levada.dev/version': 'v9' } },
        metadata: { annotations: { note: 'kept' } },
      });
      await mends('both are as they were', async () => {
        const { spec } = await read<StoredObject & { spec: { template: { spec: object } } }>(deployment);
        const { spec: service } = await read<StoredObject & { spec: { selector: Record<string, string> } }>(front);
        const grace = (spec.template.spec as Record<string, unknown>)['terminationGracePeriodSeconds'];
        return grace === 40 && service.selector['levada.dev/version'] === 'v1';
      });
      expect((await read(front)).metadata.annotations).toMatchObject({ note: 'kept' });
      await merge(front, { spec: { selector: { tier: 'other' } } });
      await mends('the front leads to its pods again', async () => {
        const { spec } = await read<StoredObject & { spec: { selector: Record<string, string> } }>(front);
        return spec.selector['tier'] === undefined;
      });
      await until('there is nothing more to do', async () => !(await driver.apply(owner, serving(unit))));
    });

    it('makes anew what was deleted by hand', async () => {
      await driver.apply(owner, serving(unit));
      await reaches('it serves', ({ units }) => units['iris-v1']?.state === 'Loaded');
      const before = await read(front);
      await client.call({ method: 'DELETE', path: front.path });
      await client.call({ method: 'DELETE', path: deployment.path });
      await mends('both are there', async () => {
        const [service, made] = await Promise.all([read(front), read(deployment)]);
        return service.metadata.uid !== before.metadata.uid && made.metadata.name === 'iris-v1';
      });
      await reaches('it serves again', ({ units }) => units['iris-v1']?.state === 'Loaded');
    });

    it('takes over nothing that others have made', async () => {
      const mine = {
        metadata: { namespace: 'default', name: 'iris' },
        spec: { ports: [{ port: 80, protocol: 'TCP' }] },
      };
      await client.apply(childTypes.Service, mine as StoredObject, { fieldManager: 'kubectl' });
      await expect(driver.apply(owner, serving(unit))).rejects.toMatchObject({
        code: 'ObjectTaken',
        message: 'the Service iris is there already, and somebody else has made it',
      });
      expect((await read(front)).metadata.labels).toBeUndefined();
      await client.call({ method: 'DELETE', path: front.path });
      await until('it is made', () => driver.apply(owner, serving(unit)).then(() => true));
    });

    describe('requests of a candidate', () => {
      const table = at(childTypes.ConfigMap, 'iris-routing');
      const routing = { resource: owner, folder: '/etc/levada-routing' };
      const [v1, v2] = ['v1', 'v2'].map((version) => modelUnit(version, { path: irisModel(2), routing })) as [
        Unit,
        Unit,
      ];
      /** v1 with v2 beside it, which gets `weight` percent. */
      const shared = (weight: number): UnitPlan => ({
        units: [v1, v2],
        fronts: [{ service: 'iris', target: v1.name }],
        routing: { stable: { version: 'v1' }, candidate: { version: 'v2', weight }, salt: 'v1/v2' },
      });
      const applied = async (weight: number) => {
        await driver.apply(owner, shared(weight)).catch(() => {});
        return isDeepStrictEqual((await driver.observe(owner)).routing?.acknowledged, [{ version: 'v2', weight }]);
      };

      it('go on with an operator that begins: it asks all pods before it says who answers', async () => {
        type Told = StoredObject & { data: { 'table.json': string } };
        const before = await until('the pods of both have the table', async () => {
          if (!(await applied(50))) return undefined;
          const found = await read<Told>(table);
          return JSON.parse(found.data['table.json']).table.addresses.v2.length === 1 ? found : undefined;
        });
        await driver.close();
        driver = await startDriver();
        const { routing: found } = await driver.observe(owner);
        expect(found?.acknowledged).toEqual([{ version: 'v2', weight: 50 }]);
        expect(await driver.apply(owner, shared(50))).toBe(false);
        expect((await read<Told>(table)).data).toEqual(before.data);
      });

      it('end where its pods are refused: those that run are as they were', async () => {
        await until('the pods have half', () => applied(50));
        const { units } = await driver.observe(owner);
        const before = await Promise.all(['iris-v1', 'iris-v2'].map((name) => read(at(childTypes.Deployment, name))));
        const going = { ...shared(0), units: Object.values(units).map(({ unit }) => unit) };
        await until('the pods have nothing', async () => {
          await driver.apply(owner, going);
          return (await driver.observe(owner)).routing?.acknowledged[0]?.weight === 0;
        });
        const after = await Promise.all(['iris-v1', 'iris-v2'].map((name) => read(at(childTypes.Deployment, name))));
        const made = (all: readonly StoredObject[]) => all.map(({ metadata }) => [metadata.uid, metadata.generation]);
        expect(made(after)).toEqual(made(before));
      });

      it('begin and end, whatever cannot be made besides; the Service moves too', async () => {
        const httpRoute = { parentRefs: [{ name: 'public' }], hostnames: ['iris.example.com'] };
        const { fronts, ...rest } = shared(50);
        const exposed = { ...rest, fronts: fronts.map((front) => ({ ...front, expose: { httpRoute } })) };
        await until('the pods have half', async () => {
          await expect(driver.apply(owner, exposed)).rejects.toMatchObject({ code: 'KindMissing' });
          return (await driver.observe(owner)).routing?.acknowledged[0]?.weight === 50;
        });
        await merge(front, { spec: { selector: { 'levada.dev/version': 'v2' } } });
        // The Service of v1 alone is somebody else's now.
        const version = at(childTypes.Service, 'iris-v1');
        const { metadata } = await read(version);
        await client.call({ method: 'DELETE', path: version.path });
        await client.apply(
          childTypes.Service,
          {
            metadata: { namespace: 'default', name: 'iris-v1' },
            spec: { ports: [{ port: 80, protocol: 'TCP' }] },
          } as StoredObject,
          { fieldManager: 'kubectl' },
        );
        await until('it is refused', () =>
          driver.apply(owner, shared(0)).then(
            () => false,
            (error) => error.code === 'ObjectTaken',
          ),
        );
        expect((await read(version)).metadata.uid).not.toBe(metadata.uid);
        await until('the pods have nothing', () => applied(0));
        const { spec } = await read<StoredObject & { spec: { selector: object } }>(front);
        expect(spec.selector).toMatchObject({ 'levada.dev/version': 'v1' });
        await client.call({ method: 'DELETE', path: version.path });
      });
    });

    it('scales by a manager of its own, and copies no label of the resource', async () => {
      const two = { ...unit, replicas: 2 };
      await driver.apply(owner, serving(two));
      await reaches('both serve', ({ units }) => units['iris-v1']?.ready === 2 && units['iris-v1'].state === 'Loaded');
      const { metadata } = await read<StoredObject & { metadata: { managedFields: object[] } }>(deployment);
      const managers = metadata.managedFields as ReadonlyArray<{
        manager: string;
        subresource?: string;
        fieldsV1: object;
      }>;
      const owners = managers.filter(({ fieldsV1 }) => JSON.stringify(fieldsV1).includes('"f:replicas":{}'));
      expect(owners.filter(({ subresource }) => subresource !== 'status').map(({ manager }) => manager)).toEqual([
        'levada-scale',
      ]);
      expect(metadata.labels).not.toHaveProperty(['argocd.argoproj.io/instance']);
      expect(metadata.ownerReferences).toMatchObject([{ kind: 'ModelDeployment', name: 'iris', controller: true }]);
      await driver.apply(owner, serving(unit));
      await reaches('one serves', ({ units }) => units['iris-v1']?.ready === 1 && units['iris-v1'].state === 'Loaded');
      const budget = pathOf(childTypes.PodDisruptionBudget, { namespace: 'default', name: 'iris-v1' });
      await expect(client.call({ method: 'GET', path: budget })).rejects.toMatchObject({ code: 'ClusterNotFound' });
    });

    it('says ImageUnavailable of an image that cannot be pulled, and PodsRefused of a quota', async () => {
      await driver.close();
      driver = await startDriver('missing:1');
      await driver.apply(owner, serving(unit));
      const code = (observed: Observed) => observed.units['iris-v1']?.failure?.code;
      await reaches('it has failed', (observed) => code(observed) === 'ImageUnavailable');
      const quotas: ResourceType = { apiVersion: 'v1', kind: 'ResourceQuota', plural: 'resourcequotas' };
      const hard = { pods: '1' };
      const quota = {
        metadata: { namespace: 'default', name: 'one-pod' },
        spec: { hard },
        status: { hard, used: { pods: '1' } },
      };
      for (const subresource of [undefined, 'status'] as const) {
        const fields = subresource ? { status: quota.status } : { spec: quota.spec };
        await client.apply(quotas, { metadata: quota.metadata, ...fields } as StoredObject, {
          fieldManager: 'test',
          ...(subresource && { subresource }),
        });
      }
      await driver.close();
      driver = await startDriver();
      await driver.apply(owner, serving(unit));
      await reaches('it is refused', (observed) => code(observed) === 'PodsRefused');
      const { units } = await driver.observe(owner);
      expect(units['iris-v1']?.failure?.message).toContain('exceeded quota: one-pod');
      await client.call({ method: 'DELETE', path: pathOf(quotas, { namespace: 'default', name: 'one-pod' }) });
      await reaches('it serves', (observed) => observed.units['iris-v1']?.state === 'Loaded');
    });

    it('says PodUnreachable of pods that are ready and cannot be asked, until they can', async () => {
      await driver.apply(owner, serving(unit));
      await reaches('it serves', ({ units }) => units['iris-v1']?.state === 'Loaded');
      await driver.close();
      const path = pathOf(pods, { namespace: 'default' });
      const query = { labelSelector: 'levada.dev/model=iris' };
      const { items } = await client.call<{ items: LivePod[] }>({ method: 'GET', path, query });
      const name = items[0]?.metadata.name ?? '';
      const podIP = items[0]?.status?.podIP ?? '';
      const at = (address: string) =>
        client.call({
          method: 'PATCH',
          path: pathOf(pods, { namespace: 'default', name, subresource: 'status' }),
          contentType: 'application/merge-patch+json',
          body: { status: { podIP: address, podIPs: [{ ip: address }] } },
        });
      await at('127.0.0.2'); // nobody listens there
      driver = await startDriver();
      const failure = await until('it has failed', async () => (await driver.observe(owner)).units['iris-v1']?.failure);
      expect(failure.code).toBe('PodUnreachable');
      expect(failure.message).toContain(`pod ${name} is ready, but the operator cannot ask it at 127.0.0.2:9090`);
      await at(podIP);
      await reaches('it serves', ({ units }) => units['iris-v1']?.state === 'Loaded' && !units['iris-v1'].failure);
    });

    describe('a model that is fetched', () => {
      const secrets: ResourceType = { apiVersion: 'v1', kind: 'Secret', plural: 'secrets' };
      const password = 'p-4711';
      const authorization = `Basic ${Buffer.from(`eve:${password}`).toString('base64')}`;
      let origin: Origin;
      let models: Buffer[];
      const guarded =
        (bytes: Uint8Array): Handler =>
        (req, res, count) => {
          if (req.headers.authorization === authorization) file(bytes, undefined)(req, res, count);
          else res.writeHead(401).end();
        };
      const fetched = (config: Partial<Unit['config']> = {}) =>
        modelUnit('v1', {
          path: fetchedFile,
          source: { uri: `${origin.url}/iris.onnx`, secret: 'models' },
          ...config,
        });
      const makeSecret = (text: string) =>
        client.apply(
          secrets,
          {
            metadata: { namespace: 'default', name: 'models' },
            stringData: { username: 'eve', password: text },
          } as never,
          { fieldManager: 'test' },
        );
      const failure = (observed: Observed) => observed.units['iris-v1']?.failure;

      beforeEach(async () => {
        models = [await readFile(irisModel(1)), await readFile(irisModel(2))];
        origin = await Origin.start(guarded(models[1] as Buffer));
      });
      afterEach(async () => {
        await origin[Symbol.asyncDispose]();
        await client.call({ method: 'DELETE', path: at(secrets, 'models').path }).catch(() => {});
      });

      it('is fetched with what its Secret holds, once that is there and right; the Secret is nowhere else', async () => {
        await driver.apply(owner, serving(fetched()));
        await reaches('it says what is missing', (observed) => failure(observed)?.code === 'SecretInvalid');
        await makeSecret('wrong');
        await reaches('it says who refuses', (observed) => failure(observed)?.code === 'ArtifactDenied');
        await makeSecret(password);
        const { units } = await until('it serves', async () => {
          const observed = await driver.observe(owner);
          return observed.units['iris-v1']?.state === 'Loaded' ? observed : undefined;
        });
        expect(units['iris-v1']?.sha256).toBe(
          createHash('sha256')
            .update(models[1] as Buffer)
            .digest('hex'),
        );
        expect(JSON.stringify(units)).not.toContain(password);
        const live = await read<StoredObject & { spec: { template: object } }>(deployment);
        expect(JSON.stringify(live)).not.toMatch(new RegExp(`${password}|${Buffer.from(password).toString('base64')}`));
      });

      it('is the one that it was resolved to, also for a pod that comes later, or not at all', async () => {
        await makeSecret(password);
        await driver.apply(owner, serving(fetched()));
        await reaches('it serves', ({ units }) => units['iris-v1']?.state === 'Loaded');
        const sha256 = (await driver.observe(owner)).units['iris-v1']?.sha256 ?? '';
        const resolved = fetched({ resolvedSha256: sha256 });
        await driver.apply(owner, serving(resolved));
        origin.answer(guarded(models[0] as Buffer));
        const pods = '/api/v1/namespaces/default/pods';
        await client.call({ method: 'DELETE', path: pods, query: { labelSelector: 'levada.dev/model=iris' } });
        await reaches('the next pod is refused it', (observed) => failure(observed)?.code === 'ArtifactChanged');
        const refused = await driver.observe(owner);
        expect(refused.units['iris-v1']).toMatchObject({ state: 'Failed', ready: 0 });
        expect(failure(refused)?.message).toContain(`${origin.url}/iris.onnx is not the artifact`);
        origin.answer(guarded(models[1] as Buffer));
        await reaches('it serves again', ({ units }) => units['iris-v1']?.state === 'Loaded');
        expect((await driver.observe(owner)).units['iris-v1']).toMatchObject({ ready: 1, sha256 });
      });

      it('is refused when it is not the one that the spec names', async () => {
        await makeSecret(password);
        await driver.apply(owner, serving(fetched({ sha256: 'ab'.repeat(32) })));
        await reaches('it says so', (observed) => failure(observed)?.code === 'DigestMismatch');
      });
    });

    it('knows everything again after a restart, and has nothing to do', async () => {
      await driver.apply(owner, serving(unit));
      await reaches('it serves', ({ units }) => units['iris-v1']?.state === 'Loaded');
      const before = await driver.observe(owner);
      const { metadata } = await read(deployment);
      await driver.close();
      await using proxy = await CountingProxy.start(plane);
      const counted = clientOf(plane, plane.admin, proxy.url);
      driver = await startDriver(undefined, counted);
      await reaches('it knows', (observed) => observed.units['iris-v1']?.sha256 !== undefined);
      expect(await driver.observe(owner)).toEqual(before);
      expect(await driver.apply(owner, serving(unit))).toBe(false);
      expect((await read(deployment)).metadata.generation).toBe(metadata.generation);
      expect(proxy.seen).toEqual([]);
      await driver.close();
      await counted.close();
      driver = await startDriver();
    });
  });
});
