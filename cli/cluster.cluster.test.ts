/** Commands that ask a cluster, against a real API server. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parse } from 'yaml';
import { rolloutCommand as annotation, brokerFinalizer } from '../api/contract/names.ts';
import { kubeconfigOf } from '../hack/cluster.ts';
import { typeOf } from '../operator/drivers/kubernetes/types.ts';
import type { KubeClient } from '../operator/engine/client.ts';
import { pathOf, type StoredObject } from '../operator/engine/objects.ts';
import { clientOf, freshNamespace, onCluster } from '../test/support/cluster.ts';
import { root } from '../test/support/up.ts';
import { until } from '../test/support/wait.ts';
import { getCommand } from './get.ts';
import { at, rolling, underWay } from './rollout/testing.ts';
import { rolloutCommand } from './rollout.ts';
import { statusCommand } from './status.ts';
import { run } from './testing.ts';
import { validateCommand } from './validate.ts';

const hasKubectl = spawnSync('kubectl', ['version', '--client']).status === 0;

onCluster((cluster) => {
  let client: KubeClient;
  let namespace: string;
  let folder: string;
  const models = typeOf('ModelDeployment');
  beforeAll(async () => {
    client = clientOf(cluster, cluster.admin);
    namespace = await freshNamespace(client);
    folder = await mkdtemp(join(tmpdir(), 'levada-cluster-cli-'));
    const crd = { apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition' };
    for (const plural of ['modeldeployments', 'eventpipelines']) {
      const file = await readFile(join(root, `crds/levada.dev_${plural}.yaml`), 'utf8');
      const type = { ...crd, plural: 'customresourcedefinitions' };
      await client.apply(type, parse(file) as StoredObject, { fieldManager: 'test' });
    }
    for (const kind of ['ModelDeployment', 'EventPipeline'] as const) {
      await until(`${kind} is served`, () =>
        client.call({ method: 'GET', path: pathOf(typeOf(kind)) }).then(() => true),
      );
    }
    const spec = { versions: [{ name: 'v1', uri: 'file:///models/1' }] };
    await client.apply(models, { metadata: { namespace, name: 'iris' }, spec } as StoredObject, {
      fieldManager: 'test',
    });
    const condition = {
      type: 'Ready',
      status: 'True',
      observedGeneration: 1,
      lastTransitionTime: '2026-01-02T03:04:05Z',
      reason: 'Serving',
      message: 'Version v1 is loaded and takes the traffic.',
    };
    const versions = [{ name: 'v1', state: 'Loaded', ready: 1 }];
    const status = { conditions: [condition], url: 'http://iris.shop.svc', stableVersion: 'v1', versions };
    await client.apply(models, { metadata: { namespace, name: 'iris' }, status } as StoredObject, {
      fieldManager: 'test',
      subresource: 'status',
    });
  });
  afterAll(async () => {
    await client.close();
    await rm(folder, { recursive: true, force: true });
  });
  const flags = () => ['--kubeconfig', cluster.kubeconfig, '-n', namespace];

  it('levada get lists what the cluster has, as kubectl does', async () => {
    const { stdout } = await run(getCommand(), ...flags());
    expect(stdout).toMatch(
      /^NAME +READY +STABLE +REASON +URL +AGE\niris +True +v1 +Serving +http:\/\/iris\.shop\.svc +\d/,
    );
    const { stdout: text } = await run(getCommand(), 'iris', '-o', 'json', ...flags());
    expect(JSON.parse(text)).toMatchObject({
      kind: 'ModelDeployment',
      metadata: { name: 'iris', namespace },
      services: { iris: 'http://iris.shop.svc' },
    });
    const { stdout: none } = await run(getCommand(), '--context', 'levada', '--kubeconfig', cluster.kubeconfig);
    expect(none).not.toContain('http://iris.shop.svc');
  });

  it('levada status shows one in full, with its exit code', async () => {
    const { stdout, exitCode } = await run(statusCommand(), 'iris', ...flags());
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/Ready +True +\S+ +Serving +Version v1 is loaded/);
    expect(stdout).toMatch(/v1 +Loaded +1/);
    await expect(run(statusCommand(), 'rose', ...flags())).rejects.toMatchObject({ code: 'UnknownResource' });
  });

  it('levada rollout sets an annotation with the rights of who asks, and tells what the operator made of it', async () => {
    const { spec, status } = rolling({});
    const metadata = { namespace, name: 'rose' };
    const say = (value: object) =>
      client.apply(models, { metadata, status: { ...status, ...value } } as StoredObject, {
        fieldManager: 'test',
        subresource: 'status',
      });
    const annotations = { team: 'shop' };
    await client.apply(models, { metadata: { ...metadata, annotations }, spec } as StoredObject, {
      fieldManager: 'test',
    });
    await say({});
    const shown = await run(rolloutCommand(), 'rose', ...flags());
    expect(shown.stdout).toMatch(/^ModelDeployment rose: Progressing\n25 % until .*\n\nstable +v1 /);
    expect((await run(getCommand(), ...flags())).stdout).toMatch(/\nrose +True +Progressing +v1 +v2 +25 /);

    const find = () => client.get<StoredObject>(models, metadata);
    const acted = until('the annotation is set', async () => {
      const text = (await find()).metadata.annotations?.[annotation];
      if (text === undefined) return undefined;
      const command = { text, time: at(0), outcome: 'Done', message: 'paused at 25 %' };
      return say({ rollout: { ...underWay, phase: 'Paused', id: 'v2-abc-1', command } });
    });
    const paused = await run(rolloutCommand(), 'rose', 'pause', ...flags());
    await acted;
    expect(paused).toEqual({ stdout: 'Done: paused at 25 %\n', stderr: '', exitCode: undefined });
    const found = await find();
    expect(found.metadata.annotations).toEqual({ ...annotations, [annotation]: 'pause/v2-abc-0' });
    expect(found.metadata.generation).toBe(1);

    const kubeconfig = join(folder, 'somebody');
    await writeFile(kubeconfig, JSON.stringify(kubeconfigOf(cluster, cluster.nobody)), { mode: 0o600 });
    const theirs = ['--kubeconfig', kubeconfig, '-n', await freshNamespace(client)];
    await expect(run(rolloutCommand(), 'rose', 'resume', ...theirs)).rejects.toMatchObject({
      code: 'ClusterForbidden',
    });
    await expect(run(rolloutCommand(), 'lily', ...flags())).rejects.toMatchObject({ code: 'ClusterNotFound' });
  });

  it('levada validate --server says what the API server refuses, and stores nothing', async () => {
    const file = join(folder, 'iris.yaml');
    const text = (uri: string) =>
      `apiVersion: levada.dev/v1alpha1\nkind: ModelDeployment\nmetadata: { name: iris }\nspec:\n  versions: [{ name: v1, uri: '${uri}' }]\n`;
    await writeFile(file, text('file:///models/1'));
    expect(await run(validateCommand(), file, '--server', ...flags())).toMatchObject({ exitCode: 0, stderr: '' });
    // A version never changes: only who has the one before can tell.
    await writeFile(file, text('file:///models/2'));
    const { stdout, exitCode } = await run(validateCommand(), file, '--server', ...flags());
    expect(exitCode).toBe(1);
    expect(stdout).toContain('iris.yaml:1:1: ');
    expect(stdout).toMatch(/spec\.versions.*(immutable|never changes|cannot change)/i);
    const live = await client.get<StoredObject & { spec: object }>(models, { namespace, name: 'iris' });
    expect(live.spec).toMatchObject({ versions: [{ uri: 'file:///models/1' }] });
  });

  it('levada validate --server asks about the pods of a podTemplate', async () => {
    const file = join(folder, 'rose.yaml');
    const text = (spec: object) =>
      `apiVersion: levada.dev/v1alpha1\nkind: ModelDeployment\nmetadata: { name: rose }\nspec:\n  versions: [{ name: v1, uri: 'file:///models/1' }]\n  podTemplate:\n    spec: ${JSON.stringify(spec)}\n`;
    await writeFile(file, text({ priorityClassName: 'system-node-critical' }));
    expect(await run(validateCommand(), file, '--server', ...flags())).toMatchObject({ exitCode: 0, stderr: '' });
    await writeFile(file, text({ restartPolicy: 'Never' }));
    const { stdout, exitCode } = await run(validateCommand(), file, '--server', ...flags());
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(
      /rose\.yaml:6:3: .*spec\.podTemplate: .*spec\.template\.spec\.restartPolicy: Unsupported value/,
    );
    // Without the right to make Deployments it is a note, and not silence.
    const kubeconfig = join(folder, 'nobody');
    await writeFile(kubeconfig, JSON.stringify(kubeconfigOf(cluster, cluster.nobody)), { mode: 0o600 });
    const rbac = 'rbac.authorization.k8s.io';
    const role = { apiVersion: `${rbac}/v1`, kind: 'Role', plural: 'roles' };
    const metadata = { namespace, name: 'applies' };
    const rules = [{ apiGroups: ['levada.dev'], resources: ['*'], verbs: ['get', 'create', 'patch'] }];
    await client.apply(role, { metadata, rules } as StoredObject, { fieldManager: 'test' });
    const subjects = [{ apiGroup: rbac, kind: 'User', name: 'nobody' }];
    const roleRef = { apiGroup: rbac, kind: 'Role', name: metadata.name };
    const binding = { metadata, roleRef, subjects } as StoredObject;
    const bindings = { ...role, kind: 'RoleBinding', plural: 'rolebindings' };
    await client.apply(bindings, binding, { fieldManager: 'test' });
    const asked = await run(validateCommand(), file, '--server', '--kubeconfig', kubeconfig, '-n', namespace);
    expect(asked.exitCode).toBe(0);
    expect(asked.stderr).toMatch(
      /could not be asked about spec\.podTemplate: .*cannot (patch|create) resource "deployments"/,
    );
  });

  it('levada validate --server asks about the pods of a step', async () => {
    const file = join(folder, 'orders.yaml');
    const text = (podTemplate: object) => `apiVersion: levada.dev/v1alpha1
kind: EventPipeline
metadata: { name: orders }
spec:
  broker: { rabbitmq: { secretRef: { name: rabbitmq } } }
  sources: [{ name: api, emits: order.created, http: { path: /orders/ } }]
  steps:
    - name: check
      consumes: [order.created]
      http: { url: 'http://check/' }
      podTemplate: ${JSON.stringify(podTemplate)}
`;
    await writeFile(file, text({ spec: { priorityClassName: 'system-node-critical' } }));
    expect(await run(validateCommand(), file, '--server', ...flags())).toMatchObject({ exitCode: 0, stderr: '' });
    await writeFile(file, text({ spec: { restartPolicy: 'Never' } }));
    const { stdout, exitCode } = await run(validateCommand(), file, '--server', ...flags());
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/orders\.yaml:11:7: .*spec\.steps\[0\]\.podTemplate: .*restartPolicy: Unsupported value/);
  });

  it('levada validate --server judges a step of another kind as it will be, not together with what is there', async () => {
    const file = join(folder, 'mails.yaml');
    const text = (handler: string) => `apiVersion: levada.dev/v1alpha1
kind: EventPipeline
metadata: { name: mails }
spec:
  broker: { rabbitmq: { secretRef: { name: rabbitmq } } }
  sources: [{ name: api, emits: order.created, http: { path: /mails/ } }]
  steps: [{ name: send, consumes: [order.created], ${handler} }]
`;
    const pipelines = typeOf('EventPipeline');
    const before = "http: { url: 'http://send/' }";
    const there = parse(text(before)) as StoredObject;
    const metadata = { ...there.metadata, namespace };
    await client.apply(pipelines, { ...there, metadata }, { fieldManager: 'kubectl' });
    // A step of two kinds is refused, and an apply of somebody else would make it one.
    await writeFile(file, text('container: { image: send }'));
    expect(await run(validateCommand(), file, '--server', ...flags())).toMatchObject({ exitCode: 0, stderr: '' });
    const live = await client.get<StoredObject & { spec: object }>(pipelines, { namespace, name: 'mails' });
    expect(live.spec).toMatchObject({ steps: [{ http: { url: 'http://send/' } }] });
    expect(live.spec).not.toMatchObject({ steps: [{ container: {} }] });
  });

  it.skipIf(!hasKubectl)('the patch of the guide lets a pipeline go that no operator looks after', async () => {
    const kubectl = (...args: string[]) =>
      execFileSync('kubectl', [...args, '--kubeconfig', cluster.kubeconfig], { encoding: 'utf8' });
    const left = await freshNamespace(client);
    const pipelines = typeOf('EventPipeline');
    const metadata = { namespace: left, name: 'left', finalizers: [brokerFinalizer] };
    const spec = {
      sources: [{ name: 'api', emits: 'order.created', http: { path: '/orders/' } }],
      steps: [{ name: 'send', consumes: ['order.created'], http: { url: 'http://send/' } }],
    };
    await client.apply(pipelines, { metadata, spec } as StoredObject, { fieldManager: 'levada' });
    const names = () => kubectl('get', 'eventpipelines', '-n', left, '-o', 'name').trim();
    // What the notes of the chart say to do first: here nobody takes the finalizer off.
    const notes = await readFile(join(root, 'charts/levada/templates/NOTES.txt'), 'utf8');
    const told = /^ *kubectl (delete eventpipelines .*)$/m.exec(notes)?.[1] ?? '';
    // Of this namespace alone: the others are other tests'.
    kubectl(...told.replace('--all-namespaces', `--namespace ${left}`).split(' '), '--wait=false');
    expect(names()).toBe('eventpipeline.levada.dev/left');
    const guide = await readFile(join(root, 'docs/guides/operator.md'), 'utf8');
    const line = /^kubectl (patch eventpipeline .*)$/m.exec(guide)?.[1] ?? '';
    const args = line.replace('NAMESPACE', left).replace('NAME', 'left').replaceAll("'", '').split(' ');
    kubectl(...args);
    await until('it is gone', () => names() === '');
  });

  it.skipIf(!hasKubectl).for(['examples/iris/iris.yaml', 'examples/shop/shop.yaml'])(
    '%s survives kubectl get -o yaml | kubectl apply -f -',
    async (example) => {
      const kubectl = (input: string, ...args: string[]) =>
        execFileSync('kubectl', [...args, '--kubeconfig', cluster.kubeconfig, '-n', round], {
          input,
          encoding: 'utf8',
        });
      const round = await freshNamespace(client);
      const file = join(root, example);
      kubectl('', 'apply', '--server-side', '-f', file);
      const before = kubectl('', 'get', '-f', file, '-o', 'yaml');
      expect(before).toMatch(/generation: 1\b/);
      kubectl(before, 'apply', '-f', '-');
      // Another generation would be another spec.
      expect(kubectl('', 'get', '-f', file, '-o', 'yaml')).not.toMatch(/generation: 2\b/);
    },
  );

  it('says what is wrong with the flags', async () => {
    const wrong = ['--kubeconfig', cluster.kubeconfig, '--context', 'nowhere'];
    await expect(run(getCommand(), ...wrong)).rejects.toMatchObject({
      code: 'KubeconfigInvalid',
      message: '--context: found "nowhere"; allowed: levada',
    });
    await expect(run(getCommand(), '--kubeconfig', join(folder, 'none'))).rejects.toMatchObject({
      code: 'KubeconfigInvalid',
    });
    await expect(run(getCommand(), '-n', 'shop')).rejects.toMatchObject({ code: 'Usage' });
    await expect(run(validateCommand(), folder, '-n', 'shop')).rejects.toMatchObject({ code: 'Usage' });
  });
});
