import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { modelServerConfig } from '../../api/contract/model-server.schema.ts';
import { fetchedFile } from '../../api/contract/model-uri.ts';
import { apiVersion, limits, versionName } from '../../api/contract/names.ts';
import type { Expose } from '../../api/v1alpha1/expose.ts';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import type { ModelVersionUnit, UnitPlan } from '../plan/units.ts';
import { contentHash } from './configmap.ts';
import type { KubernetesObject } from './metadata.ts';
import { renderObjects } from './render.ts';

const uri = 'file:///models/iris/1';
const owner = (metadata: object = {}): ModelDeployment => ({
  apiVersion,
  kind: 'ModelDeployment',
  metadata: { name: 'iris', ...metadata },
  spec: { versions: [{ name: 'v1', uri }], batching: { maxBatchSize: 64, maxDelay: '0s' }, replicas: 1 },
});

const unit = (version = 'v1', change: Partial<ModelVersionUnit> = {}): ModelVersionUnit => ({
  kind: 'model-version',
  name: versionName('iris', version),
  model: 'iris',
  version,
  replicas: 1,
  resources: undefined,
  config: {
    kind: 'model-server',
    model: 'iris',
    version,
    path: '/models/iris/1',
    routing: { resource: 'default/iris', folder: '/etc/levada-routing' },
    batching: { maxBatchSize: 64, maxDelayMs: 0 },
  },
  ...change,
});

const planOf = (...units: ModelVersionUnit[]): UnitPlan => ({
  units,
  fronts: [{ service: 'iris', target: units[0]?.name ?? '' }],
});

/** One version, and what leads to its front. */
function exposed(expose: Expose): UnitPlan {
  const { units, fronts } = planOf(unit());
  return { units, fronts: fronts.map((front) => ({ ...front, expose })) };
}

const render = (plan: UnitPlan, metadata: object = {}) =>
  // As it is sent: without the types, and without what is undefined.
  JSON.parse(JSON.stringify(renderObjects(owner(metadata), plan, { image: 'levada:1.2.3' }))) as Rendered[];

// biome-ignore lint/suspicious/noExplicitAny: what is looked at differs by kind
type Rendered = KubernetesObject & { spec: any };
const ofKind = (objects: Rendered[], kind: string) => objects.filter((object) => object.kind === kind);
const isSubset = (part: object, whole: object) =>
  Object.entries(part).every(([key, value]) => whole[key as never] === value);

describe('renderObjects', () => {
  it.each<[string, UnitPlan, object]>([
    ['one-version', planOf(unit()), {}],
    [
      'two-versions',
      planOf(
        unit('v1', { replicas: 2, resources: { requests: { cpu: '250m' }, limits: { memory: '512Mi', cpu: 1 } } }),
        unit('v2', {
          replicas: 3,
          config: { ...unit('v2').config, resolvedSha256: 'ab'.repeat(32), classNames: ['on', 'b'] },
        }),
      ),
      { namespace: 'shop', uid: '8a7c', labels: { team: 'a' }, annotations: { 'argocd.argoproj.io/tracking-id': 'x' } },
    ],
    [
      'mounts',
      planOf(
        unit('v1', {
          mounts: [{ claim: 'models' }, { configMap: 'names' }],
          config: { ...unit().config, path: '/mnt/claims/models/iris/1' },
        }),
      ),
      {},
    ],
    [
      'fetched',
      planOf(
        unit('v1', {
          resources: { limits: { memory: '1Gi' } },
          config: { ...unit().config, path: fetchedFile, source: { uri: 's3://models/iris/1', secret: 'models' } },
        }),
      ),
      {},
    ],
    [
      'overlay',
      planOf(
        unit('v1', {
          serviceAccountName: 'models',
          podTemplate: {
            metadata: { annotations: { 'example.com/scrape': 'yes' } },
            spec: {
              nodeSelector: { 'example.com/gpu': 'yes' },
              tolerations: [{ key: 'gpu', operator: 'Exists' }],
              containers: [
                {
                  name: 'model-server',
                  image: 'with-models:1',
                  env: [{ name: 'OMP_NUM_THREADS', value: '2' }],
                  volumeMounts: [{ name: 'cache', mountPath: '/cache' }],
                },
                { name: 'proxy', image: 'proxy:1' },
              ],
              volumes: [{ name: 'cache', emptyDir: { sizeLimit: '1Gi' } }],
            },
          },
        }),
      ),
      {},
    ],
    [
      'ingress',
      exposed({
        ingress: {
          host: 'iris.example.com',
          className: 'nginx',
          tlsSecretName: 'iris-tls',
          annotations: { 'cert-manager.io/issuer': 'ours' },
        },
      }),
      { namespace: 'shop', uid: '8a7c' },
    ],
    [
      'http-route',
      exposed({
        httpRoute: { parentRefs: [{ name: 'public', namespace: 'edge' }], hostnames: ['iris.example.com'] },
      }),
      {},
    ],
  ])('makes golden/%s.yaml', async (name, plan, metadata) => {
    const text = render(plan, metadata)
      .map((object) => stringify(object, { version: '1.1', aliasDuplicateObjects: false, lineWidth: 0 }))
      .join('---\n');
    await expect(text).toMatchFileSnapshot(`golden/${name}.yaml`);
  });

  it('keeps one order, and changes nothing that it was given', () => {
    const plan = planOf(unit('v1', { replicas: 2 }), unit('v2'));
    const before = structuredClone(plan);
    expect(render(plan).map(({ kind, metadata }) => `${kind} ${metadata.name}`)).toEqual([
      expect.stringMatching(/^ConfigMap iris-v1-[0-9a-f]{16}$/),
      'Deployment iris-v1',
      'Service iris-v1',
      'PodDisruptionBudget iris-v1',
      expect.stringMatching(/^ConfigMap iris-v2-[0-9a-f]{16}$/),
      'Deployment iris-v2',
      'Service iris-v2',
      'Service iris',
    ]);
    expect(plan).toEqual(before);
  });

  it('says the same of pods, however many there are: those that serve stay when others come', () => {
    const [one, two] = [1, 2].map(
      (replicas) => ofKind(render(planOf(unit('v1', { replicas }))), 'Deployment')[0]?.spec.template,
    );
    expect(one.spec.topologySpreadConstraints).toHaveLength(2);
    expect(one).toEqual(two);
  });

  it('is owned by a resource that the API server knows, and by no other', () => {
    const [configMap] = render(planOf(unit()), { uid: '8a7c' });
    expect(configMap?.metadata.ownerReferences).toEqual([
      { apiVersion, kind: 'ModelDeployment', name: 'iris', uid: '8a7c', controller: true, blockOwnerDeletion: true },
    ]);
    expect(JSON.stringify(render(planOf(unit())))).not.toContain('ownerReferences');
  });

  it('copies no label and no annotation of the resource', () => {
    const text = JSON.stringify(
      render(planOf(unit()), { labels: { secretly: 'copied' }, annotations: { secretly: 'copied' } }),
    );
    expect(text).not.toContain('secretly');
  });

  it('gives the Secret of a source to the container that fetches, and only what is fetched to the server', () => {
    const config = { ...unit().config, source: { uri: 'https://models/iris' } };
    const podOf = (one: ModelVersionUnit) => ofKind(render(planOf(one)), 'Deployment')[0]?.spec.template.spec;
    expect(JSON.stringify(podOf(unit('v1', { config })))).not.toContain('secret');
    const pod = podOf(unit('v1', { config: { ...config, source: { ...config.source, secret: 'models' } } }));
    expect(pod.volumes).toContainEqual({ name: 'source', secret: { secretName: 'models', optional: true } });
    const mounting = (name: string) => (container: { volumeMounts: Array<{ name: string }> }) =>
      container.volumeMounts.some((mount) => mount.name === name);
    expect(pod.initContainers.map(mounting('source'))).toEqual([true]);
    expect(pod.containers.map(mounting('source'))).toEqual([false]);
    expect(pod.containers.map(mounting('fetched'))).toEqual([true]);
  });

  it('names no namespace where the resource names none', () => {
    expect(render(planOf(unit())).map(({ metadata }) => metadata.namespace)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    expect(new Set(render(planOf(unit()), { namespace: 'a' }).map(({ metadata }) => metadata.namespace))).toEqual(
      new Set(['a']),
    );
  });

  it('leaves a front that leads nowhere to nobody', () => {
    const plan = { units: [unit()], fronts: [{ service: 'iris', target: 'iris-v2' }] };
    expect(() => render(plan)).toThrow('sends iris to iris-v2');
  });
});

describe('whatever the plan,', () => {
  const name = (max: number) => fc.stringMatching(new RegExp(`^[a-z]([-a-z0-9]{0,${max - 2}}[a-z0-9])?$`));
  const plans = fc
    .record({
      model: name(limits.resourceName),
      versions: fc.uniqueArray(name(limits.versionName), { minLength: 1, maxLength: 3 }),
      replicas: fc.integer({ min: 1, max: 5 }),
      text: fc.string(),
    })
    .map(({ model, versions, replicas, text }) => {
      const units = versions.map((version) => {
        const config = { ...unit().config, model, version, classNames: [text] };
        return unit(version, { name: versionName(model, version), model, replicas, config });
      });
      return { units, fronts: [{ service: model, target: units.at(-1)?.name ?? '' }] };
    });
  const check = (inspect: (objects: Rendered[], plan: UnitPlan) => void) =>
    fc.assert(fc.property(plans, (plan) => inspect(render(plan), plan)));

  it('names and labels are ones that Kubernetes takes, and no two objects share one', () =>
    check((objects) => {
      const keys = objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
      expect(new Set(keys).size).toBe(keys.length);
      for (const { kind, metadata } of objects) {
        expect(metadata.name).toMatch(
          kind === 'ConfigMap' ? /^[a-z][-a-z0-9]{0,252}$/ : /^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/,
        );
        for (const value of Object.values(metadata.labels))
          expect(value).toMatch(/^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/);
      }
    }));

  it('a Service selects the pods of one version', () =>
    check((objects, plan) => {
      const pods = ofKind(objects, 'Deployment').map(({ metadata, spec }) => ({
        name: metadata.name,
        labels: spec.template.metadata.labels,
      }));
      for (const { metadata, spec } of ofKind(objects, 'Service')) {
        const front = plan.fronts.find(({ service }) => service === metadata.name);
        const selected = pods.filter(({ labels }) => isSubset(spec.selector, labels)).map((pod) => pod.name);
        expect(selected).toEqual([front?.target ?? metadata.name]);
      }
    }));

  it('a Deployment selects its own pods, and they read a ConfigMap that is there', () =>
    check((objects) => {
      for (const { metadata, spec } of ofKind(objects, 'Deployment')) {
        expect(isSubset(spec.selector.matchLabels, spec.template.metadata.labels)).toBe(true);
        const [config] = spec.template.spec.volumes;
        const configMap = ofKind(objects, 'ConfigMap').find((object) => object.metadata.name === config.configMap.name);
        expect(configMap?.metadata.name.startsWith(`${metadata.name}-`)).toBe(true);
        const parsed = modelServerConfig.parse(JSON.parse(configMap?.data?.['unit.json'] ?? ''));
        expect(parsed.listen).toEqual({ host: '0.0.0.0', serving: 8080, internal: 8082, admin: 9090 });
        expect(versionName(parsed.model, parsed.version)).toBe(metadata.name);
      }
    }));

  it('pods are restricted, have no token, and say every port that is probed or routed to', () =>
    check((objects) => {
      for (const { spec } of ofKind(objects, 'Deployment')) {
        const pod = spec.template.spec;
        const [container] = pod.containers;
        expect(pod).toMatchObject({
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: 40,
        });
        expect(pod.securityContext).toEqual({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
        expect(container.securityContext).toEqual({
          allowPrivilegeEscalation: false,
          capabilities: { drop: ['ALL'] },
          readOnlyRootFilesystem: true,
        });
        const ports = container.ports.map((port: { name: string }) => port.name);
        const services = ofKind(objects, 'Service').flatMap((service) => service.spec.ports);
        const used = [container.startupProbe, container.readinessProbe, container.livenessProbe].map(
          (probe) => probe.httpGet.port,
        );
        for (const port of [...used, ...services.map(({ targetPort }) => targetPort)]) expect(ports).toContain(port);
      }
    }));

  it('pods are spread, and protected while nodes are drained where there are several', () =>
    check((objects) => {
      for (const { metadata, spec } of ofKind(objects, 'Deployment')) {
        const several = spec.replicas >= 2;
        const budget = ofKind(objects, 'PodDisruptionBudget').find((object) => object.metadata.name === metadata.name);
        expect(budget !== undefined).toBe(several);
        for (const { labelSelector } of spec.template.spec.topologySpreadConstraints) {
          expect(labelSelector).toEqual(spec.selector);
        }
        if (budget) expect(budget.spec.selector).toEqual(spec.selector);
      }
    }));
});

describe('the name of a ConfigMap', () => {
  const nameOf = (config: Partial<ModelVersionUnit['config']>) =>
    ofKind(render(planOf(unit('v1', { config: { ...unit().config, ...config } }))), 'ConfigMap')[0]?.metadata.name;

  it('changes with what it holds, and only then', () => {
    const names = [
      {},
      { path: '/b' },
      { sha256: 'a'.repeat(64) },
      { classNames: ['a'] },
      { batching: { maxBatchSize: 1, maxDelayMs: 0 } },
    ].map(nameOf);
    expect(new Set(names).size).toBe(names.length);
    expect(nameOf({})).toBe(names[0]);
  });

  it('does not depend on the order in which the plan was built', () => {
    const { batching, ...rest } = unit().config;
    expect(render(planOf(unit('v1', { config: { batching, ...rest } })))).toEqual(render(planOf(unit())));
  });

  it.each([
    ['', 'cbf29ce484222325'],
    ['a', 'af63dc4c8601ec8c'],
    ['foobar', '85944171f73967e8'],
  ])('has FNV-1a of %j: %s', (text, hash) => expect(contentHash(text)).toBe(hash));
});
