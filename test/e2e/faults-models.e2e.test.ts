/** What goes wrong with models on a real cluster, and what the operator makes of it. One model serves all along. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import { conditionOf, imageVersion, type Live, type Namespace, showOnFailure } from '../support/e2e.ts';
import { IrisOnCluster, irisResource } from '../support/e2e-iris.ts';
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
interface OperatorDeployment {
  readonly spec: { readonly template: { readonly spec: { readonly containers: ReadonlyArray<{ args: string[] }> } } };
}
interface ResourceQuota {
  readonly status?: { readonly used?: object };
}

const model = 'modeldeployment/iris';
let iris: IrisOnCluster;
let namespace: Namespace;

beforeAll(async () => {
  iris = await IrisOnCluster.start({ garbage: 'test/fixtures/models/garbage' });
  ({ namespace } = iris);
});
afterAll(() => iris[Symbol.asyncDispose]());
showOnFailure(() => namespace);

/** A resource that is right, but for a part of its spec. */
function resource(name: string, spec: object): object {
  const right = parse(irisResource) as ModelDeployment;
  return { ...right, metadata: { name }, spec: { ...right.spec, ...spec } };
}

/** That the version before goes on, as it was. */
function goesOn(live: Live, version: string): void {
  expect(conditionOf(live, 'Serving')?.status).toBe('True');
  expect(live.status?.stableVersion).toBe(version);
}

it('what the API server refuses: kubectl says which field, what was found, and what is allowed', async () => {
  for (const [spec, ...said] of [
    [{ serve: 'v9' }, 'spec.serve', 'serve names a declared version (ServeUnknown); found v9'],
    [{ replicas: -1 }, 'spec.replicas', '-1', 'greater than or equal to'],
    [{ rollout: { interval: '2h' } }, 'spec.rollout.interval', 'interval is between 1s and 1h; found 2h'],
    [{ replica: 2 }, 'unknown field "spec.replica"'],
  ] as const) {
    const answer = await namespace.refuses(resource('bad', spec));
    for (const part of said) expect(answer).toContain(part);
  }
  const { spec } = parse(irisResource) as ModelDeployment;
  const versions = spec.versions.map((version) => ({ ...version, uri: 'pvc://iris/other' }));
  const answer = await namespace.refuses(resource('iris', { versions }));
  expect(answer).toContain('spec.versions[0]');
  expect(answer).toContain('give the new content a new version name (VersionImmutable)');
  expect(await namespace.names('modeldeployments')).toEqual(['modeldeployment.levada.dev/iris']);
});

it('what the operator refuses: Accepted=False with its code and field, and what ran goes on', async () => {
  await iris.underLoad(async () => {
    const containers = [{ name: 'model-server', command: ['sleep'] }];
    await namespace.patch(model, { spec: { podTemplate: { spec: { containers } } } });
    const live = await iris.says('Accepted', 'False PodTemplateProtected');
    expect(conditionOf(live, 'Accepted')?.message).toMatch(/^spec\.podTemplate\.spec\.containers\[0\]\.command: /);
    expect(conditionOf(live, 'Ready')?.status).toBe('False');
    goesOn(live, 'v1');
    await namespace.patch(model, { spec: { podTemplate: null } });
    await iris.serves();
  });
});

it('a resource that is deleted while it is being made leaves nothing', async () => {
  const own = ['--selector=levada.dev/model=brief'];
  const kinds = 'deployments,replicasets,services,configmaps,pods,poddisruptionbudgets';
  const moments = { 'at once': async () => {}, 'when there is a Deployment': () => isMade('deployment/brief-v1') };
  const isMade = (name: string) =>
    until(`${name} is there`, async () => (await namespace.kubectl('get', name, '-o', 'name')) !== '').then(() => {});
  for (const [moment, comes] of Object.entries(moments)) {
    await namespace.apply([resource('brief', { replicas: 2 })]);
    await comes();
    await namespace.kubectl('delete', 'modeldeployment', 'brief', '--timeout=60s');
    let left: string[] = [];
    await until(
      `deleted ${moment}, nothing is left of it`,
      async () => {
        left = await namespace.names(kinds, ...own);
        return left.length === 0;
      },
      { timeoutMs: 120_000, seen: () => left.join('\n') },
    );
  }
});

it('a model that cannot be loaded: it says why, and the one before goes on', async () => {
  const broken = { name: 'broken', uri: 'pvc://garbage/model.onnx' };
  await iris.underLoad(async () => {
    await namespace.patch(model, [{ op: 'add', path: '/spec/versions/-', value: broken }]);
    await iris.want('broken');
    goesOn(await iris.says('Ready', 'False ModelInvalid'), 'v1');
    await iris.want('v1');
    await iris.serves();
  });
});

it('an image that cannot be had: it says so, and pods of the old one serve', async () => {
  const operatorArgs = async (image: string) => {
    const { spec } = await iris.operator.get<OperatorDeployment>('deployment', 'levada');
    const args = (spec.template.spec.containers[0]?.args ?? []).map((arg) =>
      arg.startsWith('--image=') ? `--image=${image}` : arg,
    );
    const path = '/spec/template/spec/containers/0/args';
    await iris.operator.patch('deployment/levada', [{ op: 'replace', path, value: args }]);
    await iris.operator.kubectl('rollout', 'status', 'deployment/levada', '--timeout=120s');
  };
  await iris.underLoad(async () => {
    await operatorArgs('levada/levada:missing');
    const live = await iris.says('Ready', 'False ImageUnavailable');
    expect(conditionOf(live, 'Ready')?.message).toContain('levada/levada:missing');
    goesOn(live, 'v1');
    await operatorArgs(`levada/levada:${imageVersion}`);
    await iris.serves();
  });
});

it('a quota without room: the condition has its words, and the version before goes on; with room it converges', async () => {
  /** From when it is counted on. */
  const limit = async (hard: Readonly<Record<string, string>>) => {
    await namespace.apply([{ apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'tight' }, spec: { hard } }]);
    await until('the quota is counted', async () => {
      const { status } = await namespace.get<ResourceQuota>('resourcequota', 'tight');
      return Object.keys(hard).every((name) => name in (status?.used ?? {}));
    });
  };
  const only = (version: string) =>
    until(`only iris-${version} is left`, async () => {
      const [deployments, pods] = [await namespace.names('deployments'), await namespace.names('pods')];
      return deployments.join() === `deployment.apps/iris-${version}` && pods.length === 2; // it, and the client
    });
  await iris.underLoad(async () => {
    await only('v1');
    await limit({ pods: '2' });
    await iris.want('v2');
    const pods = await iris.says('Ready', 'False PodsRefused');
    expect(conditionOf(pods, 'Ready')?.message).toContain('exceeded quota: tight, requested: pods=1, used: pods=2');
    goesOn(pods, 'v1');
    await namespace.kubectl('delete', 'resourcequota', 'tight');
    await iris.serves();

    await only('v2');
    await limit({ 'count/deployments.apps': '1' });
    await iris.want('v1');
    const objects = await iris.says('Ready', 'False ClusterQuotaExceeded');
    expect(conditionOf(objects, 'Ready')?.message).toContain('exceeded quota: tight');
    goesOn(objects, 'v2');
    await namespace.kubectl('delete', 'resourcequota', 'tight');
    await iris.serves();
  });
});

it('children that are edited by hand are put right', async () => {
  await iris.underLoad(async () => {
    await namespace.kubectl('scale', 'deployment', 'iris-v1', '--replicas=3');
    await until('it has one replica again', async () => {
      const { spec } = await namespace.get<Deployment>('deployment', 'iris-v1');
      return spec.replicas === 1;
    });
    const path = '/spec/template/spec/containers/0/image';
    await namespace.patch('deployment/iris-v1', [{ op: 'replace', path, value: 'levada/levada:other' }]);
    await until('it has its image again', async () => {
      const { spec } = await namespace.get<Deployment>('deployment', 'iris-v1');
      return spec.template.spec.containers[0]?.image === `levada/levada:${imageVersion}`;
    });
    await iris.serves();
  });
  const selector = async () => (await namespace.get<Service>('service', 'iris')).spec.selector;
  const before = await selector();
  await namespace.patch('service/iris', { spec: { selector: { 'levada.dev/version': 'v9' } } });
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
    await until(`${kind} ${name} is made again`, async () => (await uid(kind, name)) !== before);
    await iris.serves();
  }
  await iris.underLoad(async () => {});
});

it('the resource goes, and all that was made for it', async () => {
  await namespace.kubectl('delete', model, '--cascade=foreground', '--timeout=120s');
  let left: string[] = [];
  await until(
    'nothing is left but the client',
    async () => {
      const all = await namespace.names('deployments,replicasets,services,configmaps,pods');
      left = all.filter((name) => !/kube-root-ca|pod\/client/.test(name));
      return left.length === 0;
    },
    { seen: () => left.join('\n') },
  );
});
