import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { limits } from '../../../api/contract/names.ts';
import { pipelineUnitConfig } from '../../../api/contract/pipeline-unit.schema.ts';
import type { PipelineUnitConfig } from '../../../api/contract/pipeline-unit.ts';
import type { EventPipeline } from '../../../api/v1alpha1/event-pipeline.ts';
import { freshPlacement } from '../../../brokers/rabbitmq/known.ts';
import { planParts } from '../../plan/pipeline/parts.ts';
import { orders, source, step } from '../../plan/pipeline/testing.ts';
import type { KubernetesObject } from '../metadata.ts';
import { podTemplateProblems } from '../pod-templates.ts';
import { renderPipeline } from './render.ts';

// biome-ignore lint/suspicious/noExplicitAny: what is looked at differs by kind
type Rendered = KubernetesObject & { spec: any };

const rabbit = { rabbitmq: { secretRef: { name: 'rabbit' } } };

function render(resource: EventPipeline, secretVersion?: string): Rendered[] {
  const plan = planParts(resource);
  const objects = renderPipeline(resource, plan, {
    image: 'levada:1.2.3',
    placement: freshPlacement(plan.topology),
    ...(secretVersion !== undefined && { secretVersion }),
  });
  return JSON.parse(JSON.stringify(objects)) as Rendered[];
}

const stored = (resource: EventPipeline): EventPipeline => ({
  ...resource,
  metadata: {
    ...resource.metadata,
    ...{ namespace: 'shop', uid: '8a7c', labels: { team: 'a' } },
    annotations: { 'argocd.argoproj.io/tracking-id': 'x' },
  },
});
const ofKind = (objects: Rendered[], kind: string) => objects.filter((object) => object.kind === kind);
const configs = (objects: Rendered[]): Record<string, PipelineUnitConfig> =>
  Object.fromEntries(
    ofKind(objects, 'ConfigMap').flatMap(({ data }) => {
      if (data?.['unit.json'] === undefined) return [];
      const config = JSON.parse(data['unit.json']) as PipelineUnitConfig;
      return [[config.unit, config]];
    }),
  );
const namesOf = (objects: Rendered[]) =>
  objects.map(({ kind, metadata }) => `${kind} ${metadata.name.replace(/-[0-9a-f]{16}$/, '')}`);

const grouped = orders({
  broker: rabbit,
  resources: { requests: { cpu: '50m' } },
  serviceAccountName: 'shop',
  podTemplate: {
    spec: {
      tolerations: [{ key: 'a', operator: 'Exists' }],
      containers: [{ name: 'levada', env: [{ name: 'A', value: '1' }] }],
    },
  },
  sources: [
    source({ http: { path: '/orders/', expose: { ingress: { host: 'orders.example.com', className: 'nginx' } } } }),
  ],
  steps: [
    step('check', { group: 'fast', emits: ['order.checked'] }),
    step('pack', {
      consumes: ['order.checked'],
      container: { image: 'pack:1', path: '/pack', resources: { limits: { memory: '1Gi' } } },
      group: 'fast',
    }),
    step('ship', {
      container: { image: 'ship:2' },
      resources: { requests: { cpu: 1 } },
      serviceAccountName: 'ships',
      podTemplate: {
        spec: {
          tolerations: [{ key: 'b' }],
          initContainers: [{ name: 'handler-ship', env: [{ name: 'B', value: '2' }] }],
        },
      },
    }),
  ],
});

describe('renderPipeline', () => {
  it.each<[string, EventPipeline, string | undefined]>([
    ['one-step', orders(), undefined],
    ['groups-and-containers', stored(grouped), '4711'],
  ])('makes golden/%s.yaml', async (name, resource, version) => {
    const text = render(resource, version)
      .map((object) => stringify(object, { version: '1.1', aliasDuplicateObjects: false, lineWidth: 0 }))
      .join('---\n');
    await expect(text).toMatchFileSnapshot(`golden/${name}.yaml`);
  });

  it('keeps one order: what is remembered, what pods need, pods, and the Services that callers use', () => {
    expect(namesOf(render(grouped))).toEqual([
      'ConfigMap orders-plan',
      'ConfigMap orders-fast',
      'Deployment orders-fast',
      'ConfigMap orders-ship',
      'Deployment orders-ship',
      'ConfigMap orders-api',
      'Deployment orders-api',
      'Service orders-pack',
      'Service orders-ship',
      'Service orders-api',
      'Ingress orders-api',
    ]);
  });

  it('leads the name of a container step to its own pod there, and to its Service from elsewhere', () => {
    const objects = render(grouped);
    expect(configs(objects)['orders-fast']?.names.local).toEqual({ 'orders-pack': 'http://127.0.0.1:8081' });
    expect(configs(objects)['orders-api']?.names.local).toEqual({});
    const fast = ofKind(objects, 'Deployment').find(({ metadata }) => metadata.name === 'orders-fast');
    const [handler] = fast?.spec.template.spec.initContainers ?? [];
    expect(handler).toMatchObject({
      name: 'handler-pack',
      image: 'pack:1',
      restartPolicy: 'Always',
      env: [{ name: 'PORT', value: '8081' }],
      startupProbe: { tcpSocket: { port: 8081 } },
    });
    const service = ofKind(objects, 'Service').find(({ metadata }) => metadata.name === 'orders-pack');
    expect(service?.spec.selector).toEqual(fast?.spec.selector.matchLabels);
    expect(service?.spec.ports).toEqual([{ name: 'http', port: 80, targetPort: 8081, protocol: 'TCP' }]);
  });

  it('gives each handler of a pod a port of its own', () => {
    const both = orders({
      steps: ['a', 'b'].map((name) => step(name, { container: { image: `${name}:1` }, group: 'fast' })),
    });
    expect(configs(render(both))['orders-fast']?.names.local).toEqual({
      'orders-a': 'http://127.0.0.1:8081',
      'orders-b': 'http://127.0.0.1:8082',
    });
  });

  it('copies no label and no annotation of the resource, and is owned by it', () => {
    const objects = render(stored(grouped), '4711');
    const text = JSON.stringify(objects.map(({ metadata, spec }) => [metadata, spec]));
    expect(text).not.toMatch(/argocd|"team"/);
    for (const { metadata } of objects) {
      expect(metadata.ownerReferences).toMatchObject([{ kind: 'EventPipeline', name: 'orders', controller: true }]);
    }
  });

  it('mounts the Secret that is named, or the copy of the operator’s own', () => {
    const secretNames = (resource: EventPipeline) =>
      ofKind(render(resource), 'Deployment').flatMap(({ spec }) =>
        spec.template.spec.volumes.flatMap(
          ({ secret }: { secret?: { secretName: string } }) => secret?.secretName ?? [],
        ),
      );
    expect(new Set(secretNames(grouped))).toEqual(new Set(['rabbit']));
    expect(new Set(secretNames(orders()))).toEqual(new Set(['orders-broker']));
  });

  it('starts other pods for another Secret, and says nothing of what is in it', () => {
    const [a, b] = ['1', '2'].map((version) => ofKind(render(grouped, version), 'Deployment'));
    expect(a?.map(({ spec }) => spec.template.metadata.annotations)).toEqual(
      a?.map(() => ({ 'levada.dev/broker-secret': '1' })),
    );
    expect(a).not.toEqual(b);
  });

  it('leaves the pods of other steps alone when one comes or goes', () => {
    const before = orders({ steps: [step('check', { emits: ['order.checked'] })] });
    const after = orders({
      steps: [
        step('check', { emits: ['order.checked'] }),
        step('notify'),
        step('late', { consumes: ['order.created'] }),
      ],
    });
    const [a, b] = [before, after].map((resource) => configs(render(resource)));
    expect(a?.['orders-check']).toEqual(b?.['orders-check']);
    expect(a?.['orders-api']).toEqual(b?.['orders-api']);
  });

  it('tells a source of a type that has a queue now: then an event must not be lost without it', () => {
    const more = orders({ sources: [source(), source({ name: 'b', emits: 'b', http: { path: '/b' } })] });
    const types = (resource: EventPipeline) => configs(render(resource))['orders-b']?.placement.types;
    expect(types(more)).toEqual([]);
    expect(types(orders({ ...more.spec, steps: [step('check', { consumes: ['order.created', 'b'] })] }))).toEqual([
      'b',
    ]);
  });
});

describe('whatever the pipeline,', () => {
  const name = (max: number) => fc.stringMatching(new RegExp(`^[a-z]([-a-z0-9]{0,${max - 2}}[a-z0-9])?$`));
  const pipelines = fc
    .record({
      pipeline: name(limits.resourceName),
      parts: fc.uniqueArray(name(limits.partName), { minLength: 2, maxLength: 6 }),
      groups: fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
      containers: fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
    })
    .filter(({ parts }) => !parts.includes('group'))
    .map(({ pipeline, parts: [first = 'a', ...rest], groups, containers }) => {
      const resource = orders({
        sources: [source({ name: first })],
        steps: rest.map((part, index) =>
          step(part, {
            ...(groups[index] && { group: 'group' }),
            ...(containers[index] && { container: { image: 'x:1' } }),
          }),
        ),
      });
      return { ...resource, metadata: { ...resource.metadata, name: pipeline } };
    });
  const check = (inspect: (objects: Rendered[]) => void) =>
    fc.assert(fc.property(pipelines, (resource) => inspect(render(resource))));

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

  it('every step runs once, with its own queue, in a configuration that the runtime takes', () =>
    check((objects) => {
      const all = Object.values(configs(objects));
      for (const config of all) expect(pipelineUnitConfig.parse(config)).toEqual(config);
      const consumers = all.flatMap((config) => config.consumers.map((consumer) => ({ config, name: consumer.name })));
      expect(new Set(consumers.map((one) => one.name)).size).toBe(consumers.length);
      for (const { config, name } of consumers) expect(config.placement.queues[name]?.from).toHaveLength(1);
    }));

  it('pods are restricted, have no token, and say every port that is probed or routed to', () =>
    check((objects) => {
      for (const { spec } of ofKind(objects, 'Deployment')) {
        const pod = spec.template.spec;
        expect(pod).toMatchObject({ automountServiceAccountToken: false, terminationGracePeriodSeconds: 40 });
        expect(pod.securityContext).toEqual({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
        for (const { securityContext } of [...(pod.initContainers ?? []), ...pod.containers]) {
          expect(securityContext).toMatchObject({
            allowPrivilegeEscalation: false,
            capabilities: { drop: ['ALL'] },
          });
        }
        const ports = [...(pod.initContainers ?? []), ...pod.containers].flatMap((container) =>
          container.ports.flatMap((port: { name?: string; containerPort: number }) => [port.name, port.containerPort]),
        );
        const services = ofKind(objects, 'Service').filter(
          (service) => JSON.stringify(service.spec.selector) === JSON.stringify(spec.selector.matchLabels),
        );
        for (const { targetPort } of services.flatMap((service) => service.spec.ports))
          expect(ports).toContain(targetPort);
        expect(ports).toContain('admin');
      }
    }));
});

describe('what is laid over the pods of a pipeline', () => {
  const found = (resource: EventPipeline) =>
    podTemplateProblems(resource, { units: [], fronts: [], pipeline: planParts(resource) }).map(
      ({ code, path }) => `${code} ${path}`,
    );
  const command = { spec: { containers: [{ name: 'levada', command: ['sh'] }] } };

  it('has nothing against it where it leaves to Levada what it needs', () => expect(found(grouped)).toEqual([]));

  it('is named where it is said: of the pipeline once, of a part at that', () => {
    const at = 'podTemplate.spec.containers[0].command';
    expect(found(orders({ podTemplate: command }))).toEqual([`PodTemplateProtected spec.${at}`]);
    expect(found(orders({ steps: [step('check'), step('pack', { podTemplate: command })] }))).toEqual([
      `PodTemplateProtected spec.steps[1].${at}`,
    ]);
    expect(found(orders({ sources: [source({ podTemplate: command })] }))).toEqual([
      `PodTemplateProtected spec.sources[0].${at}`,
    ]);
  });

  it('of a step wins over that of the pipeline, field by field', () => {
    const ofStep = { resources: { limits: { memory: '1Gi' } }, podTemplate: { spec: { priorityClassName: 'high' } } };
    const ofAll = {
      resources: { requests: { cpu: 1 } },
      serviceAccountName: 'shop',
      podTemplate: { spec: { priorityClassName: 'low', hostname: 'a' } },
    };
    const [check, api] = ofKind(render(orders({ ...ofAll, steps: [step('check', ofStep)] })), 'Deployment').map(
      ({ spec }) => spec.template.spec,
    );
    expect(check).toMatchObject({ priorityClassName: 'high', hostname: 'a', serviceAccountName: 'shop' });
    expect(check.containers[0].resources).toEqual(ofStep.resources);
    expect(api).toMatchObject({ priorityClassName: 'low', hostname: 'a', serviceAccountName: 'shop' });
    expect(api.containers[0].resources).toEqual(ofAll.resources);
  });

  it('an HTTPRoute leads to the path of the source and nowhere else', () => {
    const http = { path: '/orders/', expose: { httpRoute: { parentRefs: [{ name: 'public' }] } } };
    const [route] = ofKind(render(orders({ sources: [source({ http })] })), 'HTTPRoute');
    expect(route?.spec.rules).toEqual([
      {
        matches: [{ path: { type: 'Exact', value: '/orders/' } }],
        backendRefs: [{ name: 'orders-api', port: 80 }],
      },
    ]);
  });
});
