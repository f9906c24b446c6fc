import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Problem } from '../../api/errors.ts';
import type { Resource } from '../../api/v1alpha1/resource.ts';
import type { ModelVersionUnit } from '../plan/units.ts';
import { modelWorkload } from './deployment.ts';
import type { Owner } from './metadata.ts';
import { type Fields, identityOf, isFields, keysOf, overlaid } from './overlay.ts';
import { podTemplateProblems } from './pod-templates.ts';
import { deploymentFor } from './workload.ts';

const unit = (podTemplate?: object): ModelVersionUnit => ({
  kind: 'model-version',
  name: 'iris-v1',
  model: 'iris',
  version: 'v1',
  replicas: 2,
  resources: { limits: { memory: '512Mi' } },
  mounts: [{ claim: 'models' }],
  config: {
    kind: 'model-server',
    model: 'iris',
    version: 'v1',
    path: '/mnt/claims/models/iris',
    batching: { maxBatchSize: 64, maxDelayMs: 0 },
  },
  ...(podTemplate && { podTemplate }),
});

const problemsOf = (...units: ModelVersionUnit[]) =>
  podTemplateProblems({ kind: 'ModelDeployment' } as Resource, { units, fronts: [] });

/** The pods that Levada makes, with an overlay. */
function template(podTemplate?: object): Fields {
  const owner = { metadata: { name: 'iris' } } as Owner;
  const { spec } = deploymentFor(owner, modelWorkload(unit(podTemplate), 'iris-v1-0', 'levada:1'));
  return JSON.parse(JSON.stringify((spec as { template: object }).template));
}

/** Overlays, and whether kubectl comes to the same. */
const overlays: Record<string, Fields> = {
  nothing: {},
  'labels and annotations': { metadata: { labels: { team: 'a' }, annotations: { 'a.b/c': 'd' } } },
  'plain fields': { spec: { nodeSelector: { gpu: 'yes' }, priorityClassName: 'high', runtimeClassName: 'gvisor' } },
  'a field that is removed': { spec: { enableServiceLinks: null, topologySpreadConstraints: null } },
  tolerations: { spec: { tolerations: [{ key: 'gpu', operator: 'Exists' }] } },
  'a sidecar': { spec: { containers: [{ name: 'proxy', image: 'proxy:1', ports: [{ containerPort: 8000 }] }] } },
  "Levada's container": {
    spec: {
      containers: [
        {
          name: 'model-server',
          image: 'with-models:1',
          env: [{ name: 'LD_PRELOAD', value: 'x' }],
          envFrom: [{ secretRef: { name: 'a' } }],
          resources: { requests: { cpu: '1' }, limits: { memory: null } },
          volumeMounts: [{ name: 'cache', mountPath: '/cache' }],
          securityContext: { runAsUser: 1000, capabilities: { drop: null } },
          ports: [{ name: 'debug', containerPort: 9229, protocol: 'TCP' }],
        },
      ],
      volumes: [{ name: 'cache', emptyDir: { sizeLimit: '1Gi' } }],
    },
  },
  'a volume of another type': {
    spec: { volumes: [{ name: 'tmp', emptyDir: null, ephemeral: { volumeClaimTemplate: { spec: {} } } }] },
  },
  'more of a volume': { spec: { volumes: [{ name: 'tmp', emptyDir: { medium: 'Memory' } }] } },
  'init containers': { spec: { initContainers: [{ name: 'wait', image: 'busybox', command: ['true'] }] } },
  'image pull secrets and aliases': {
    spec: { imagePullSecrets: [{ name: 'a' }], hostAliases: [{ ip: '10.0.0.1', hostnames: ['a'] }] },
  },
  'how pods are spread': {
    spec: {
      topologySpreadConstraints: [
        { topologyKey: 'kubernetes.io/hostname', maxSkew: 2 },
        { topologyKey: 'rack', maxSkew: 1, whenUnsatisfiable: 'DoNotSchedule' },
      ],
    },
  },
  affinity: {
    spec: { affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: 'a' }] } } },
  },
};

describe('an overlay', () => {
  it.each(Object.entries(overlays))('%s: is laid on top, and has nothing against it', (_, overlay) => {
    expect(problemsOf(unit(overlay))).toEqual([]);
    const base = template();
    const before = structuredClone({ base, overlay });
    const merged = overlaid(base, overlay);
    expect(template(overlay)).toEqual(merged);
    expect({ base, overlay }).toEqual(before);
    expect(overlaid(merged, overlay)).toEqual(merged);
  });

  it('keeps entries in their order, and puts new ones behind', () => {
    const names = (list: string, overlay: object) =>
      (template(overlay)['spec'] as Record<string, Array<{ name: string }>>)[list]?.map(({ name }) => name);
    const containers = [{ name: 'a' }, { name: 'model-server', image: 'x' }, { name: 'b' }];
    expect(names('containers', { spec: { containers } })).toEqual(['model-server', 'a', 'b']);
    expect(names('volumes', { spec: { volumes: [{ name: 'z' }] } })).toEqual(['config', 'tmp', 'mount-0', 'z']);
  });

  it('comes to rest whatever it holds', () => {
    const json = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }));
    fc.assert(
      fc.property(json, json, (base, overlay) => {
        const once = overlaid(base, overlay);
        expect(overlaid(once, overlay)).toEqual(once);
        expect(overlaid(base, {})).toEqual(base);
      }),
    );
  });
});

/** What kubectl makes of it; it needs no cluster for this. */
function patched(base: Fields, overlay: Fields): Fields {
  const deployment = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'x' },
    spec: { selector: {}, template: base },
  };
  const patch = JSON.stringify({ spec: { template: overlay } });
  const args = ['patch', '--local', '--filename=-', '--type=strategic', '--output=json', '--patch', patch];
  const { status, stdout, stderr } = spawnSync('kubectl', args, {
    input: JSON.stringify(deployment),
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout).spec.template;
}

/** kubectl puts new entries first. Order counts in lists that are replaced only, and there both have the overlay's. */
function sorted(value: unknown, field = ''): unknown {
  const keys = keysOf(field);
  if (Array.isArray(value)) {
    const entries = value.map((entry) => sorted(entry));
    return keys ? entries.toSorted((a, b) => (identityOf(a, keys) < identityOf(b, keys) ? -1 : 1)) : entries;
  }
  if (!isFields(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, sorted(inner, name)]));
}

const hasKubectl = spawnSync('kubectl', ['version', '--client']).status === 0;

describe.skipIf(!hasKubectl)(`with kubectl${hasKubectl ? '' : ' (skipped: there is none on PATH)'}`, () => {
  it.each(Object.entries(overlays))('%s: comes to the same', (_, overlay) => {
    // kubectl reads both as a Deployment and writes what that has: so does the expected one go through it.
    const expected = patched(overlaid(template(), overlay), {});
    expect(sorted(patched(template(), overlay))).toEqual(sorted(expected));
  });
});

describe('what Levada needs', () => {
  const own = (fields: object) => ({
    spec: { containers: [{ name: 'sidecar' }, { name: 'model-server', ...fields }] },
  });
  const container = 'spec.podTemplate.spec.containers[1]';
  it.each<[string, object, string]>([
    ['the command', own({ command: ['sh'] }), `${container}.command`],
    ['no command', own({ command: null }), `${container}.command`],
    ['arguments', own({ args: ['--config', '/x'] }), `${container}.args`],
    ['a probe', own({ livenessProbe: { periodSeconds: 1 } }), `${container}.livenessProbe`],
    ['no probe', own({ readinessProbe: null }), `${container}.readinessProbe`],
    ['a port', own({ ports: [{ containerPort: 9090, name: 'metrics', protocol: 'TCP' }] }), `${container}.ports[0]`],
    [
      'its configuration',
      own({ volumeMounts: [{ mountPath: '/etc/levada', name: 'mine' }] }),
      `${container}.volumeMounts[0]`,
    ],
    [
      'what is in front of its configuration',
      own({ volumeMounts: [{ mountPath: '/etc//levada/./unit.json', name: 'mine' }] }),
      `${container}.volumeMounts[0].mountPath`,
    ],
    [
      'what is in front of a claim',
      own({ volumeMounts: [{ mountPath: '/mnt/claims/models/iris', name: 'mine' }] }),
      `${container}.volumeMounts[0].mountPath`,
    ],
    ['no mounts', own({ volumeMounts: null }), `${container}.volumeMounts`],
    [
      'a volume',
      { spec: { volumes: [{ name: 'config', configMap: { name: 'mine' } }] } },
      'spec.podTemplate.spec.volumes[0]',
    ],
    ['no volumes', { spec: { volumes: null } }, 'spec.podTemplate.spec.volumes'],
    ['no containers', { spec: { containers: null } }, 'spec.podTemplate.spec.containers'],
    [
      'a label of the selector',
      { metadata: { labels: { 'levada.dev/version': 'v2' } } },
      'spec.podTemplate.metadata.labels[levada.dev/version]',
    ],
    [
      'a label of Levada',
      { metadata: { labels: { 'app.kubernetes.io/managed-by': 'me' } } },
      'spec.podTemplate.metadata.labels[app.kubernetes.io/managed-by]',
    ],
    [
      'an annotation of Levada',
      { metadata: { annotations: { 'levada.dev/template': 'x' } } },
      'spec.podTemplate.metadata.annotations[levada.dev/template]',
    ],
    [
      'less time to drain',
      { spec: { terminationGracePeriodSeconds: 5 } },
      'spec.podTemplate.spec.terminationGracePeriodSeconds',
    ],
    [
      'no time to drain',
      { spec: { terminationGracePeriodSeconds: null } },
      'spec.podTemplate.spec.terminationGracePeriodSeconds',
    ],
  ])('is not changed: %s', (_, overlay, path) => {
    const problems = problemsOf(unit(overlay));
    expect(problems.length).toBeGreaterThan(0);
    for (const problem of problems) expect(problem).toMatchObject({ code: 'PodTemplateProtected', path });
  });

  it('may be said as it is', () => {
    const overlay = template();
    expect(problemsOf(unit(overlay))).toEqual([
      // The volume has the name that only the operator knows.
      expect.objectContaining({ path: 'spec.podTemplate.spec.volumes[0]' }),
    ]);
    expect(problemsOf(unit({ spec: { terminationGracePeriodSeconds: 600 } }))).toEqual([]);
  });

  it('is said once, with what was found and what is allowed', () => {
    const laid = unit(own({ command: ['sh', '-c', 'true'] }));
    const [problem, ...others] = problemsOf(laid, { ...laid, name: 'iris-v2' }) as [Problem, ...Problem[]];
    expect(others).toEqual([]);
    expect(problem.message).toBe(
      'Levada needs its own here: found a list of 3; allowed: what Levada sets, ["node","runtime/main.ts","--config","/etc/levada/unit.json"]',
    );
  });
});

it.each<[string, object, string]>([
  ['no name', { spec: { containers: [{ image: 'x' }] } }, 'MissingField spec.podTemplate.spec.containers[0].name'],
  ['no map', { spec: { volumes: ['x'] } }, 'InvalidType spec.podTemplate.spec.volumes[0]'],
  ['no list', { spec: { containers: { a: 1 } } }, 'InvalidType spec.podTemplate.spec.containers'],
  [
    'a name twice',
    { spec: { containers: [{ name: 'a', env: [{ name: 'X' }, { name: 'X', value: '' }] }] } },
    'DuplicateName spec.podTemplate.spec.containers[0].env[1].name',
  ],
  [
    'a port twice',
    { spec: { containers: [{ name: 'a', ports: [{ containerPort: 1 }, { containerPort: 1, protocol: 'TCP' }] }] } },
    'DuplicateName spec.podTemplate.spec.containers[0].ports[1].containerPort',
  ],
])('entries of merged lists are told apart: %s', (_, overlay, expected) => {
  const found = problemsOf(unit(overlay)).map(({ code, path }) => `${code} ${path}`);
  expect(found).toEqual([expected]);
});
