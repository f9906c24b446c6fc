/** What goes wrong on a real cluster, and what the operator makes of it. One model serves all along. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { imageVersion, Namespace, operatorNamespace } from '../support/e2e.ts';
import { root } from '../support/up.ts';
import { until } from '../support/wait.ts';

interface Deployment {
  readonly metadata: { readonly uid: string };
  readonly spec: {
    readonly replicas: number;
    readonly template: { readonly spec: { readonly containers: ReadonlyArray<{ readonly image: string }> } };
  };
}
interface Service {
  readonly metadata: { readonly uid: string };
  readonly spec: { readonly selector: Readonly<Record<string, string>> };
}

const iris = (await readFile(join(root, 'examples/iris/iris.yaml'), 'utf8')).replaceAll(
  'file:///models/iris/',
  'pvc://iris/',
);
const model = 'modeldeployment/iris';
let namespace: Namespace;
let operator: Namespace;

beforeAll(async () => {
  namespace = await Namespace.create();
  operator = namespace.in(operatorNamespace);
  await namespace.claim('iris', 'examples/iris/models');
  await namespace.claim('garbage', 'test/fixtures/models/garbage');
  await namespace.restrict();
  await namespace.startClient();
  await namespace.apply(iris);
  await namespace.says(model, 'Ready', 'True Serving');
});
afterAll(() => namespace[Symbol.asyncDispose]());

/** While it goes on, requests come; none of them may fail. */
async function underLoad(fault: () => Promise<void>): Promise<void> {
  const load = await namespace.load('http://iris', 4);
  await fault();
  const seen = load.count();
  await until('answers after it', () => load.count() > seen + 50);
  expect(await load.stop()).toMatchObject({ wrong: 0, failed: 0, samples: [] });
}

const patch = (name: string, change: object, type = 'merge') =>
  namespace.kubectl('patch', name, `--type=${type}`, '-p', JSON.stringify(change));
const serve = (version: string) => patch(model, { spec: { serve: version } });

/** Waits until an object is there again, another one than it was. */
async function isNew(kind: string, name: string, before: string): Promise<void> {
  await until(`${kind} ${name} is made again`, async () => {
    const { metadata } = await namespace.get<Service>(kind, name);
    return metadata.uid !== before;
  });
}

it('a model that cannot be loaded: it says why, and the one before goes on', async () => {
  const broken = { name: 'broken', uri: 'pvc://garbage/model.onnx' };
  await underLoad(async () => {
    await patch(model, [{ op: 'add', path: '/spec/versions/-', value: broken }], 'json');
    await serve('broken');
    const live = await namespace.says(model, 'Ready', 'False ModelInvalid');
    expect(live.status?.conditions?.find(({ type }) => type === 'Serving')?.status).toBe('True');
    expect(live.status?.stableVersion).toBe('v1');
    await serve('v1');
    await namespace.says(model, 'Ready', 'True Serving');
  });
});

it('an image that cannot be had: it says so, and pods of the old one serve', async () => {
  const operatorArgs = async (image: string) => {
    const { spec } = JSON.parse(await operator.kubectl('get', 'deployment', 'levada', '-o', 'json')) as {
      spec: { template: { spec: { containers: Array<{ args: string[] }> } } };
    };
    const args = (spec.template.spec.containers[0]?.args ?? []).map((arg) =>
      arg.startsWith('--image=') ? `--image=${image}` : arg,
    );
    const path = '/spec/template/spec/containers/0/args';
    await operator.kubectl(
      'patch',
      'deployment',
      'levada',
      '--type=json',
      '-p',
      JSON.stringify([{ op: 'replace', path, value: args }]),
    );
    await operator.kubectl('rollout', 'status', 'deployment/levada', '--timeout=120s');
  };
  await underLoad(async () => {
    await operatorArgs('levada/levada:missing');
    const live = await namespace.says(model, 'Ready', 'False ImageUnavailable');
    const ready = live.status?.conditions?.find(({ type }) => type === 'Ready');
    expect(ready?.message).toContain('levada/levada:missing');
    expect(live.status?.conditions?.find(({ type }) => type === 'Serving')?.status).toBe('True');
    await operatorArgs(`levada/levada:${imageVersion}`);
    await namespace.says(model, 'Ready', 'True Serving');
  });
});

it('children that are edited by hand are put right', async () => {
  await underLoad(async () => {
    await namespace.kubectl('scale', 'deployment', 'iris-v1', '--replicas=3');
    await until('it has one replica again', async () => {
      const { spec } = await namespace.get<Deployment>('deployment', 'iris-v1');
      return spec.replicas === 1;
    });
    await patch(
      'deployment/iris-v1',
      [{ op: 'replace', path: '/spec/template/spec/containers/0/image', value: 'levada/levada:other' }],
      'json',
    );
    await until('it has its image again', async () => {
      const { spec } = await namespace.get<Deployment>('deployment', 'iris-v1');
      return spec.template.spec.containers[0]?.image === `levada/levada:${imageVersion}`;
    });
    await namespace.says(model, 'Ready', 'True Serving');
  });
  const selector = async () => (await namespace.get<Service>('service', 'iris')).spec.selector;
  const before = await selector();
  await patch('service/iris', { spec: { selector: { 'levada.dev/version': 'v9' } } });
  await until(
    'the Service leads where it did',
    async () => JSON.stringify(await selector()) === JSON.stringify(before),
  );
});

it('children that are deleted by hand are made again', async () => {
  const uid = async (kind: string, name: string) => (await namespace.get<Service>(kind, name)).metadata.uid;
  for (const [kind, name] of [
    ['service', 'iris'],
    ['service', 'iris-v1'],
    ['deployment', 'iris-v1'],
  ] as const) {
    const before = await uid(kind, name);
    await namespace.kubectl('delete', kind, name);
    await isNew(kind, name, before);
    await namespace.says(model, 'Ready', 'True Serving');
  }
  await underLoad(async () => {});
});

it('the operator is killed in the middle of a switch: the next one ends it', async () => {
  await underLoad(async () => {
    await serve('v2');
    await operator.kubectl(
      'delete',
      'pod',
      '--selector=app.kubernetes.io/component=operator',
      '--grace-period=0',
      '--force',
    );
    await until(
      'v2 serves',
      async () => (await namespace.says(model, 'Ready', 'True Serving')).status?.stableVersion === 'v2',
    );
    await operator.kubectl('rollout', 'status', 'deployment/levada', '--timeout=120s');
  });
});

it('the resource goes, and all that was made for it', async () => {
  await namespace.kubectl('delete', model, '--cascade=foreground', '--timeout=120s');
  const left = await namespace.kubectl('get', 'deployments,services,configmaps,pods', '-o', 'name');
  expect(left.split('\n').filter((name) => name !== '' && !/kube-root-ca|pod\/client/.test(name))).toEqual([]);
});
