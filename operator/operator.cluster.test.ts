/** The operator against a real API server; only the kubelet is stood in for. */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorCodeOf, LevadaError } from '../api/errors.ts';
import type { Condition } from '../api/v1alpha1/common.ts';
import { type ControlPlane, startControlPlane } from '../hack/cluster.ts';
import { clientOf, installKinds, onCluster } from '../test/support/cluster.ts';
import { installGateway, removeGateway } from '../test/support/gateway.ts';
import { StandInKubelet } from '../test/support/kubelet.ts';
import { allow, allowIn, operatorRules, type Rule, RunningOperator, without } from '../test/support/operator.ts';
import { OperatorProcess } from '../test/support/operator-process.ts';
import { fixture, irisModel } from '../test/support/up.ts';
import { until } from '../test/support/wait.ts';

import { appliedAnnotation, childTypes, eventPipelines, modelDeployments } from './drivers/kubernetes/types.ts';
import type { KubeClient } from './engine/client.ts';
import { leases } from './engine/elector.ts';
import { OperatorMetrics } from './engine/metrics.ts';
import { pathOf, type StoredObject } from './engine/objects.ts';

interface Live extends StoredObject {
  readonly spec: { readonly versions: readonly object[] };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly stableVersion?: string;
    readonly url?: string;
    readonly conditions: readonly Condition[];
  };
}

interface Lease extends StoredObject {
  readonly spec?: { readonly holderIdentity?: string };
}

const namespace = 'default';
const uriOf = (path: string) => `file://${path}`;

onCluster(() => {
  let plane: ControlPlane;
  let admin: KubeClient;
  let kubelet: StandInKubelet;
  beforeAll(async () => {
    plane = await startControlPlane();
    admin = clientOf(plane, plane.admin);
    await installKinds(admin);
    plane.startControllers(['deployment-controller', 'replicaset-controller', 'garbage-collector-controller']);
    const lease = { apiVersion: leases.apiVersion, kind: leases.kind, metadata: { name: 'levada', namespace } };
    await admin.call({ method: 'POST', path: pathOf(leases, { namespace }), body: lease });
    kubelet = new StandInKubelet(admin);
    await kubelet.start();
  });
  afterAll(async () => {
    await kubelet.close();
    await admin.close();
    await plane.remove();
  });

  const apply = (name: string, paths: readonly string[], spec: object = {}) =>
    admin.apply<Live>(
      modelDeployments,
      {
        metadata: { namespace, name },
        spec: {
          versions: paths.map((path, i) => ({ name: `v${i + 1}`, uri: uriOf(path) })),
          serve: `v${paths.length}`,
          ...spec,
        },
      } as unknown as StoredObject,
      { fieldManager: 'kubectl' },
    );
  const read = (name: string) => admin.get<Live>(modelDeployments, { namespace, name });
  const condition = ({ status }: Live, type: string) => status?.conditions.find((one) => one.type === type);
  const says = (name: string, type: string, text: string) =>
    until(
      `${name}: ${type} is ${text}`,
      async () => {
        const live = await read(name);
        const found = condition(live, type);
        const isNow = found?.observedGeneration === live.metadata.generation;
        return isNow && `${found?.status} ${found?.reason}` === text && live;
      },
      { seen: () => '' },
    );
  async function remove(name: string): Promise<void> {
    const path = pathOf(modelDeployments, { namespace, name });
    await admin.call({ method: 'DELETE', path, body: { propagationPolicy: 'Foreground' } });
    await until('it is gone', () =>
      read(name).then(
        () => false,
        () => true,
      ),
    );
  }
  /** Names of its children, by kind. */
  async function childrenOf(name: string): Promise<string[]> {
    const lists = Object.values(childTypes).map(async (type) => {
      const path = pathOf(type, { namespace });
      const { items } = await admin.call<{ items: StoredObject[] }>({ method: 'GET', path }).catch((error: unknown) => {
        // HTTPRoutes are not everywhere.
        if (errorCodeOf(error) !== 'ClusterNotFound') throw error;
        return { items: [] };
      });
      return items
        .filter(({ metadata }) => metadata.ownerReferences?.some((owner) => owner.name === name))
        .map(({ metadata }) => `${type.kind} ${metadata.name.replace(/-[0-9a-f]{8,}$/, '')}`);
    });
    return (await Promise.all(lists)).flat().toSorted();
  }
  const events = async (name: string) => {
    const path = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
    const { items } = await admin.call<{
      items: Array<{ reason: string; type: string; regarding: { name: string } }>;
    }>({ method: 'GET', path });
    return items.filter(({ regarding }) => regarding.name === name).map(({ type, reason }) => `${type} ${reason}`);
  };

  it('serves what is applied, changes with it, says so, and then writes nothing', async () => {
    await using running = new RunningOperator(clientOf(plane, plane.admin));
    await apply('iris', [irisModel(1)]);
    const live = await says('iris', 'Ready', 'True Serving');
    expect(live.status).toMatchObject({
      observedGeneration: 1,
      stableVersion: 'v1',
      url: 'http://iris.default.svc',
    });
    expect(await childrenOf('iris')).toEqual([
      'ConfigMap iris-v1',
      'Deployment iris-v1',
      'Service iris',
      'Service iris-v1',
    ]);
    const [pod] = kubelet.endpoints(namespace, { 'levada.dev/model': 'iris' });
    expect((await fetch(`${pod}/v2/models/iris`)).status).toBe(200);
    await apply('iris', [irisModel(1), irisModel(2)]);
    await says('iris', 'Ready', 'True Serving');
    await until('only the new one is left', async () => (await childrenOf('iris')).length === 4);
    expect(await childrenOf('iris')).toContain('Deployment iris-v2');
    await until(
      'it is told',
      async () => (await events('iris')).filter((one) => one === 'Normal Serving').length >= 2,
      {
        seen: () => running.log.join('\n'),
      },
    );
    // Looked at again and again, nothing changes.
    const { metadata } = await read('iris');
    await running.operator.close();
    const metrics = new OperatorMetrics();
    const counted = clientOf(plane, plane.admin, undefined, (method, code) => metrics.requested(method, code));
    await using again = new RunningOperator(counted, { metrics, resyncMs: 100 });
    await until('it leads', () => again.operator.leads);
    const shown = await until('it has looked many times', async () => {
      const text = await metrics.registry.metrics();
      const done = /controller_runtime_reconcile_total\{controller="levada",result="success"\} (\d+)/.exec(text)?.[1];
      return Number(done) >= 20 && text;
    });
    expect((await read('iris')).metadata.resourceVersion).toBe(metadata.resourceVersion);
    expect(shown).toContain('leader_election_master_status{name="default/levada"} 1');
    expect(shown).toMatch(/rest_client_requests_total\{method="GET",code="200"\} [1-9]/);
    // A lease is put.
    expect(shown).not.toMatch(/rest_client_requests_total\{method="(PATCH|POST|DELETE)"/);
    await remove('iris');
    await until('its children are gone', async () => (await childrenOf('iris')).length === 0);
    await until('its process ends', () => kubelet.pids(namespace, 'iris-v2').length === 0);
  });

  it('says why a model does not load, and goes on with the one before', async () => {
    await using _ = new RunningOperator(clientOf(plane, plane.admin));
    await apply('bad', [irisModel(1)]);
    await says('bad', 'Ready', 'True Serving');
    await apply('bad', [irisModel(1), join(fixture('garbage'), 'model.onnx')]);
    const live = await says('bad', 'Ready', 'False ModelInvalid');
    expect(condition(live, 'Serving')?.status).toBe('True');
    expect(condition(live, 'Stalled')?.status).toBe('True');
    expect(live.status?.stableVersion).toBe('v1');
    await until('an event says so', async () => (await events('bad')).includes('Warning ModelInvalid'));
    await remove('bad');
  });

  it('lays a podTemplate over its pods; what the API server refuses is said, and nothing of it is applied', async () => {
    await using _ = new RunningOperator(clientOf(plane, plane.admin));
    const template = async () => {
      const deployment = await admin.get<StoredObject & { spec: { template: { spec: object } } }>(
        childTypes.Deployment,
        { namespace, name: 'laid-v1' },
      );
      return deployment.spec.template.spec;
    };
    const tolerations = [{ key: 'gpu', operator: 'Exists' }];
    const container = { name: 'model-server', env: [{ name: 'OMP_NUM_THREADS', value: '1' }] };
    // The API server keeps the null: it takes a field away.
    const spec = { tolerations, enableServiceLinks: null, containers: [container] };
    await apply('laid', [irisModel(1)], { podTemplate: { spec }, serviceAccountName: 'default' });
    await says('laid', 'Ready', 'True Serving');
    const before = await template();
    expect(before).toMatchObject({ tolerations, serviceAccountName: 'default' });
    expect(before).not.toHaveProperty('enableServiceLinks');
    expect(before).toMatchObject({ containers: [{ env: container.env, command: expect.arrayContaining(['node']) }] });

    for (const [wrong, said] of [
      [{ tolerations: [{ key: 'gpu', operator: 'Sometimes' }] }, 'spec.template.spec.tolerations[0].operator'],
      [{ toleration: [] }, '.spec.template.spec.toleration: field not declared in schema'],
    ] as const) {
      await apply('laid', [irisModel(1)], { podTemplate: { spec: wrong }, replicas: 2 });
      const live = await says('laid', 'Accepted', 'False PodTemplateRefused');
      expect(condition(live, 'Accepted')?.message).toContain(said);
      expect(['Ready', 'Stalled', 'Serving'].map((type) => condition(live, type)?.status)).toEqual([
        'False',
        'True',
        'True',
      ]);
      expect(await template()).toEqual(before);
    }
    const command = [{ name: 'model-server', command: ['sh'] }];
    await apply('laid', [irisModel(1)], { podTemplate: { spec: { containers: command } } });
    const live = await says('laid', 'Accepted', 'False PodTemplateProtected');
    expect(condition(live, 'Accepted')?.message).toMatch(/^spec\.podTemplate\.spec\.containers\[0\]\.command: /);
    expect(await template()).toEqual(before);

    await apply('laid', [irisModel(1)]);
    await says('laid', 'Ready', 'True Serving');
    expect(await template()).not.toHaveProperty('tolerations');
    await remove('laid');
  });

  describe('from outside', () => {
    const routes = childTypes.HTTPRoute;
    const httpRoute = { parentRefs: [{ name: 'public' }], hostnames: ['iris.example.com'] };

    it('an Ingress leads to the front while that is asked for', async () => {
      await using _ = new RunningOperator(clientOf(plane, plane.admin));
      const ingress = { host: 'iris.example.com', className: 'nginx', tlsSecretName: 'iris-tls' };
      await apply('outside', [irisModel(1)], { expose: { ingress } });
      await says('outside', 'Ready', 'True Serving');
      expect(await childrenOf('outside')).toContain('Ingress outside');
      await apply('outside', [irisModel(1)]);
      await until('it is gone', async () => !(await childrenOf('outside')).includes('Ingress outside'));
      await remove('outside');
    });

    it('what is no longer asked for goes from an Ingress; what others have added to it stays', async () => {
      await using _ = new RunningOperator(clientOf(plane, plane.admin));
      type Ingress = StoredObject & { readonly spec: { readonly rules: Array<{ readonly host: string }> } };
      const place = { namespace, name: 'fewer' };
      const read = () => admin.get<Ingress>(childTypes.Ingress, place);
      const host = 'iris.example.com';
      const all = { className: 'nginx', tlsSecretName: 'iris-tls', annotations: { 'example.com/a': '1', b: '2' } };
      await apply('fewer', [irisModel(1)], { expose: { ingress: { host, ...all } } });
      await says('fewer', 'Ready', 'True Serving');
      expect((await read()).metadata.annotations).toMatchObject(all.annotations);
      expect((await read()).spec).toMatchObject({ ingressClassName: 'nginx', tls: [{ secretName: 'iris-tls' }] });
      const edited = {
        metadata: { annotations: { note: 'kept' } },
        spec: { rules: [{ host: 'edited.example.com' }] },
      };
      const path = pathOf(childTypes.Ingress, place);
      await admin.call({ method: 'PATCH', path, contentType: 'application/merge-patch+json', body: edited });
      await until('the host is put right', async () => (await read()).spec.rules[0]?.host === host);
      await apply('fewer', [irisModel(1)], { expose: { ingress: { host, annotations: { b: '2' } } } });
      const { spec, metadata } = await until('it has less', async () => {
        const live = await read();
        return !('tls' in live.spec) && live;
      });
      expect(spec).not.toHaveProperty('ingressClassName');
      expect(metadata.annotations).toEqual({
        b: '2',
        note: 'kept',
        [appliedAnnotation]: expect.stringMatching(/^[0-9a-f]{16}$/),
      });
      await remove('fewer');
    });

    it('where the cluster has no HTTPRoute, that is said and all else is made; with it, it goes on', async () => {
      await using running = new RunningOperator(clientOf(plane, plane.admin));
      await apply('routed', [irisModel(1)], { expose: { httpRoute } });
      const live = await says('routed', 'Ready', 'False KindMissing');
      expect(condition(live, 'Ready')?.message).toContain('no HTTPRoute (gateway.networking.k8s.io/v1)');
      await says('routed', 'Serving', 'True Serving');
      expect(running.operator.isReady).toBe(true);
      expect(running.log.join('\n')).not.toContain('a watch has failed');

      await installGateway(admin);
      await says('routed', 'Ready', 'True Serving');
      const route = await admin.get<StoredObject & { spec: object }>(routes, { namespace, name: 'routed' });
      expect(route.spec).toMatchObject({
        ...httpRoute,
        rules: [{ backendRefs: [{ name: 'routed', port: 80, weight: 1 }] }],
      });
      // What was deleted by hand is made anew: it is watched.
      await admin.call({ method: 'DELETE', path: pathOf(routes, { namespace, name: 'routed' }) });
      await until('it is made anew', async () => {
        const again = await admin.get(routes, { namespace, name: 'routed' }).catch(() => undefined);
        return again !== undefined && again.metadata.uid !== route.metadata.uid;
      });

      await removeGateway(admin);
      await says('routed', 'Ready', 'False KindMissing');
      await until('nothing is watched that is not there', () => running.operator.isReady);
      await apply('routed', [irisModel(1)]);
      await says('routed', 'Ready', 'True Serving');
      await remove('routed');
    });
  });

  it('an image that cannot be had is said, and goes away with a better one', async () => {
    {
      await using _ = new RunningOperator(clientOf(plane, plane.admin), { image: 'missing:1' });
      await apply('image', [irisModel(1)]);
      const live = await says('image', 'Ready', 'False ImageUnavailable');
      expect(condition(live, 'Ready')?.message).toContain('missing:1');
    }
    await using _ = new RunningOperator(clientOf(plane, plane.admin));
    await says('image', 'Ready', 'True Serving');
    await remove('image');
  });

  describe('rights', async () => {
    const rules = await operatorRules();
    /** What a ModelDeployment makes here: of HTTPRoutes this cluster knows nothing. */
    const made = 'deployments deployments/scale services configmaps poddisruptionbudgets ingresses'.split(' ');
    const writes = ['create', 'patch', 'delete'];
    const all = rules.flatMap(({ apiGroups, resources, verbs }) =>
      resources
        .filter((resource) => made.includes(resource))
        .flatMap((resource) =>
          verbs.filter((verb) => writes.includes(verb)).map((verb) => [apiGroups[0] ?? '', resource, verb] as const),
        ),
    );
    const few = ['deployments patch', 'deployments create', 'services patch', 'configmaps create', 'ingresses create'];
    // Each takes seconds: `npm run prove -- operator` has them all.
    const told = process.env['LEVADA_PROVE']
      ? all
      : all.filter(([, resource, verb]) => few.includes(`${resource} ${verb}`));

    it('of all that it makes there are some', () => {
      expect(new Set(all.map(([, resource]) => resource))).toEqual(new Set(made));
    });

    it.for(told)('without %s %s %s a condition names it; with it, it goes on', async ([group, resource, verb]) => {
      const isDelete = verb === 'delete';
      const name = `no-${resource.replace('/', '-')}-${verb}`;
      await allow(admin, isDelete ? rules : without(rules, resource, verb));
      await using running = new RunningOperator(clientOf(plane, plane.nobody));
      await apply(name, [irisModel(1)], { replicas: 2, expose: { ingress: { host: 'iris.example.com' } } });
      if (isDelete) {
        await says(name, 'Ready', 'True Serving');
        await allow(admin, without(rules, resource, verb));
        await apply(name, [irisModel(1), irisModel(2)]);
      }
      const live = await says(name, 'Ready', 'False ClusterForbidden');
      expect(condition(live, 'Ready')?.message).toContain(
        `cannot ${verb} resource "${resource}" in API group "${group}"`,
      );
      expect(condition(live, 'Reconciling')?.status).toBe('True');
      expect(condition(live, 'Stalled')?.status).toBe('False');
      await allow(admin, rules);
      await says(name, 'Ready', 'True Serving');
      expect(running.log.join('\n')).toContain(`cannot ${verb}`);
      await remove(name);
    });
  });

  describe('several namespaces', () => {
    const places = [namespace, 'gone'];
    /** Rights in one namespace alone, as the chart gives them with `watchNamespaces`. */
    const kept = async () => {
      await allow(admin, []);
      const rules = await operatorRules();
      await allowIn(admin, namespace, rules);
      return rules;
    };

    it('one that is gone keeps the others from nothing; when it is there, it is looked after as well', async () => {
      const rules = await kept();
      await using running = new RunningOperator(clientOf(plane, plane.nobody), { namespaces: places });
      await until('it leads', () => running.operator.leads, { seen: () => running.log.join('\n') });
      expect(running.operator.isReady).toBe(true);
      await apply('among', [irisModel(1)]);
      await says('among', 'Ready', 'True Serving');
      await until('it is logged again and again', () => {
        const lines = running.log.filter((line) => /cannot list .*"modeldeployments".*"gone"/.test(line));
        return lines.length > 2;
      });
      await admin.call({ method: 'POST', path: '/api/v1/namespaces', body: { metadata: { name: 'gone' } } });
      const there = { namespace: 'gone', name: 'there' };
      const spec = { versions: [{ name: 'v1', uri: uriOf(irisModel(1)) }] };
      const model = { metadata: there, spec } as unknown as StoredObject;
      await admin.apply(modelDeployments, model, { fieldManager: 'kubectl' });
      const isMade = () =>
        admin.get(childTypes.Service, there).then(
          () => true,
          () => false,
        );
      // Of what cannot be listed nothing is known: nothing is made over it.
      await allowIn(admin, 'gone', without(rules, 'deployments', 'list'));
      const refused = (line: string) =>
        line.includes('"key":"ModelDeployment/gone/there"') && line.includes('cannot list');
      await until('it says what it cannot list', () => running.log.some(refused));
      expect(await isMade()).toBe(false);
      await allowIn(admin, 'gone', rules);
      await until('it is made', isMade);
      // The right to it goes with its namespace.
      await allowIn(admin, 'gone', []);
      await apply('among', [irisModel(1), irisModel(2)]);
      await says('among', 'Ready', 'True Serving');
      await remove('among');
    });

    it('with none of them there, it waits for one', async () => {
      await kept();
      await allowIn(admin, namespace, [(await operatorRules())[0] as Rule]);
      await using running = new RunningOperator(clientOf(plane, plane.nobody), { namespaces: ['gone-1', 'gone-2'] });
      await until('it has tried often', () => running.log.length > 30);
      expect([running.operator.isReady, running.operator.leads]).toEqual([false, false]);
    });
  });

  it('one of two leads; when it ends the other one goes on at once', async () => {
    const first = new RunningOperator(clientOf(plane, plane.admin), { lease: { namespace, name: 'levada' } });
    await until('the first one leads', () => first.operator.leads);
    await using second = new RunningOperator(clientOf(plane, plane.admin), {
      lease: { namespace, name: 'levada', retryMs: 500 },
    });
    await apply('two', [irisModel(1)]);
    await says('two', 'Ready', 'True Serving');
    expect(second.operator.leads).toBe(false);
    const asked = performance.now();
    await first.operator.close();
    expect(await first.ended).toBe('closed');
    await until('the second one leads', () => second.operator.leads);
    expect(performance.now() - asked).toBeLessThan(10_000);
    await apply('two', [irisModel(1), irisModel(2)]);
    await says('two', 'Ready', 'True Serving');
    await remove('two');
  });

  describe('handed over', () => {
    const holder = async () =>
      (await admin.get<Lease>(leases, { namespace, name: 'levada' })).spec?.holderIdentity ?? '';
    const hold = (holderIdentity: string) =>
      admin.call({
        method: 'PATCH',
        path: pathOf(leases, { namespace, name: 'levada' }),
        body: { spec: { holderIdentity, leaseDurationSeconds: 1 } },
        contentType: 'application/merge-patch+json',
      });

    it('one whose copies are behind does not take the Lease, also where nobody has it', async () => {
      const client = clientOf(plane, plane.admin);
      const watch = client.watch.bind(client);
      let isAway = true;
      let asked = 0;
      client.watch = async function* <T extends StoredObject>(...[type, place, options]: Parameters<typeof watch>) {
        if (isAway && type.kind === 'Pod') {
          asked++;
          throw new LevadaError('ClusterUnavailable', { detail: 'a test' });
        }
        yield* watch<T>(type, place, options);
      };
      await using running = new RunningOperator(client, { lease: { namespace, name: 'levada', retryMs: 20 } });
      await until('it has tried to watch', () => asked > 10);
      expect(running.operator.leads).toBe(false);
      expect(await holder()).toBe('');
      isAway = false;
      await until('it leads', () => running.operator.leads);
    });

    it('one that has lost the Lease looks at nothing any more, also not at what has failed', async () => {
      const client = clientOf(plane, plane.admin);
      const really = client.apply.bind(client);
      let refused = 0;
      client.apply = (type, ...rest) => {
        if (type.kind !== 'Deployment') return really(type, ...rest);
        refused++;
        return Promise.reject(new LevadaError('ClusterUnavailable', { detail: 'a test' }));
      };
      await using first = new RunningOperator(client);
      await apply('lost', [irisModel(1)]);
      await until('it has failed', () => refused > 1);
      await hold('somebody');
      expect(await first.ended).toBe('lost');
      const before = first.log.length;
      await using second = new RunningOperator(clientOf(plane, plane.admin));
      await until('the second one leads', () => second.operator.leads);
      await says('lost', 'Ready', 'True Serving');
      // At most what was under way has ended since.
      expect(first.log.slice(before).filter((line) => line.includes('"key"')).length).toBeLessThan(2);
      await remove('lost');
    });

    it('the Lease is given back when the looks at brokers that are under way have ended', async () => {
      const client = clientOf(plane, plane.admin);
      const get = client.get.bind(client);
      const { promise: isLetGo, resolve: letGo } = Promise.withResolvers<void>();
      let [isHeld, held] = [false, 0];
      const isIdle = async () => {
        const shown = await running.metrics.registry.metrics();
        return /^controller_runtime_active_workers\{[^}]*\} 0$/m.test(shown);
      };
      client.get = async (type, ...rest) => {
        // What a worker asks goes on: it is the looks at brokers that are to be under way.
        if (isHeld && type.kind === 'Secret' && (await isIdle())) {
          held++;
          await isLetGo;
        }
        return await get(type, ...rest);
      };
      const broker = { namespace, name: 'no-broker' };
      const running = new RunningOperator(client, { broker, lookMs: 50 });
      const source = { name: 'api', emits: 'order.created', http: { path: '/orders/' } };
      const step = { name: 'check', consumes: ['order.created'], http: { url: 'http://checks.example.com/' } };
      const place = { namespace, name: 'held' };
      const spec = { sources: [source], steps: [step] };
      const pipeline = { metadata: place, spec } as unknown as StoredObject;
      await admin.apply(eventPipelines, pipeline, { fieldManager: 'kubectl' });
      await until('it says that there is no Secret', async () => {
        const { status } = await admin.get<Live>(eventPipelines, place);
        return status?.conditions.some(({ reason }) => reason === 'SecretNotFound');
      });
      isHeld = true;
      await until('it looks, and no worker does', async () => held > 0 && (await isIdle()));
      const closing = running.operator.close();
      // Giving it back takes two requests.
      for (let i = 0; i < 20; i++) expect(await holder()).toMatch(/^test-/);
      letGo();
      await closing;
      expect(await holder()).toBe('');
      await admin.call({ method: 'DELETE', path: pathOf(eventPipelines, place) });
      await admin.call({
        method: 'PATCH',
        path: pathOf(eventPipelines, place),
        body: { metadata: { finalizers: null } },
        contentType: 'application/merge-patch+json',
      });
    });
  });

  it('an API server that is started again is watched again', async () => {
    // As long as nobody else leads.
    const lease = { namespace, name: 'levada', leaseMs: 90_000, renewMs: 80_000, retryMs: 200 };
    await using running = new RunningOperator(clientOf(plane, plane.admin), { lease });
    await apply('restart', [irisModel(1)]);
    await says('restart', 'Ready', 'True Serving');
    await plane.stopServer();
    await until('it is noticed', () => !running.operator.isReady);
    await plane.startServer();
    await until('it watches', () => running.operator.isReady);
    await apply('restart', [irisModel(1), irisModel(2)]);
    await says('restart', 'Ready', 'True Serving');
    await remove('restart');
  });

  describe('killed', () => {
    const table = { interval: '1s', steps: [{ weight: 50 }], gates: [], promotionHold: '0s' };
    const ways: Array<[way: string, spec: object, beside: string[]]> = [
      ['switch', {}, []],
      ['rollout', { rollout: table }, ['ConfigMap']],
    ];
    it.each(ways)(
      'in a %s, after any of its writes, the next one comes to the same',
      {
        timeout: 900_000,
      },
      async (way, spec, beside) => {
        const children = [...beside, 'ConfigMap', 'Deployment', 'Service', 'Service'];
        /** Both versions, one after the other. @param killAt number of the write after which it dies; it is started again */
        const run = async (name: string, killAt: number): Promise<number> => {
          await using operator = await OperatorProcess.start(plane, admin, killAt);
          try {
            await apply(name, [irisModel(1)], spec);
            await says(name, 'Ready', 'True Serving');
            await apply(name, [irisModel(1), irisModel(2)], spec);
            await says(name, 'Ready', 'True Serving');
            const kinds = async () => (await childrenOf(name)).map((one) => one.split(' ')[0]);
            await until(`${name}: only the new version is left`, async () =>
              isDeepStrictEqual(await kinds(), children),
            );
            if (killAt > 0) await until(`${name}: it was killed`, () => operator.wasKilled());
            await says(name, 'Ready', 'True Serving');
            expect(await childrenOf(name)).toContain(`Deployment ${name}-v2`);
            return operator.proxy.writes;
          } finally {
            await operator.end('SIGKILL');
            await remove(name);
          }
        };
        const writes = await run(`${way}-whole`, 0);
        expect(writes).toBeGreaterThan(8);
        // Each takes seconds: `npm run prove -- operator` has them all, any other run three, from a place drawn anew.
        const every = process.env['LEVADA_PROVE'] ? 1 : Math.ceil(writes / 3);
        const first = 1 + Math.floor(Math.random() * every);
        for (let killAt = first; killAt < writes; killAt += every) await run(`${way}-${killAt}`, killAt);
      },
    );

    it('on SIGTERM it gives the lease back and ends', async () => {
      const holder = async () => {
        const { spec } = await admin.get<Lease>(leases, { namespace, name: 'levada' });
        return spec?.holderIdentity ?? '';
      };
      await using operator = await OperatorProcess.start(plane, admin, 0);
      await until('it leads', async () => (await holder()) !== '');
      expect(await operator.end('SIGTERM')).toBe(0);
      expect(await holder()).toBe('');
    });
  });
});
