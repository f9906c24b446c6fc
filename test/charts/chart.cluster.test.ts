/** What the chart installs, taken by a real API server; and whether it is all that the operator needs. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { helm, missingHelm } from '../../hack/cluster.ts';
import type { KubeClient } from '../../operator/engine/client.ts';
import { pathOf, type StoredObject } from '../../operator/engine/objects.ts';
import { clientOf, freshNamespace, onCluster } from '../support/cluster.ts';
import { operatorRules } from '../support/operator.ts';
import { root } from '../support/up.ts';

const run = promisify(execFile);
const chart = join(root, 'charts/levada');

const missing = missingHelm();
if (missing !== undefined && process.env['CI'] === 'true') throw new Error(missing);

interface Rendered extends StoredObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly spec?: {
    readonly template?: { readonly spec?: { readonly containers?: ReadonlyArray<{ readonly args?: string[] }> } };
  };
}

async function render(namespace: string, ...flags: string[]): Promise<Rendered[]> {
  // Without a cluster to ask, Helm takes the Kubernetes that it was built for.
  const args = ['template', 'levada', chart, '--namespace', namespace, '--kube-version', '1.34.4', ...flags];
  const { stdout } = await run(helm, args, { maxBuffer: 64 << 20 });
  return parseAllDocuments(stdout).flatMap((document) => (document.toJS() as Rendered | null) ?? []);
}

const plurals: Readonly<Record<string, string>> = {
  NetworkPolicy: 'networkpolicies',
  CustomResourceDefinition: 'customresourcedefinitions',
  PodDisruptionBudget: 'poddisruptionbudgets',
};
const pluralOf = (kind: string): string => plurals[kind] ?? `${kind.toLowerCase()}s`;

describe.skipIf(missing !== undefined)(`helm${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  onCluster((cluster) => {
    let client: KubeClient;
    let namespace: string;
    beforeAll(async () => {
      client = clientOf(cluster, cluster.admin);
      namespace = await freshNamespace(client);
    });
    afterAll(() => client.close());

    it('has no mistakes that Helm finds', async () => {
      const { stdout } = await run(helm, ['lint', '--strict', chart]);
      expect(stdout).toContain('0 chart(s) failed');
    });

    it.for([
      ['by default', []],
      ['two processes, for one namespace', ['--set', 'replicas=2', '--set', 'watchNamespaces={default}']],
      ['without CRDs', ['--set', 'crds.enabled=false']],
      [
        'with a RabbitMQ to try with, and a network policy',
        ['--set', 'rabbitmq.enabled=true,rabbitmq.auth.password=tried,networkPolicy.enabled=true'],
      ],
      [
        'with a RabbitMQ whose Secret is there, in memory',
        ['--set', 'rabbitmq.enabled=true,rabbitmq.auth.existingSecret=mq,rabbitmq.storage.size=0'],
      ],
      [
        'on certain nodes',
        ['--set', 'nodeSelector.disk=fast', '--set-json', 'tolerations=[{"key":"gpu","operator":"Exists"}]'],
      ],
    ] as const)('%s: the API server takes every object', async ([, flags]) => {
      const objects = await render(namespace, ...flags);
      expect(objects.length).toBeGreaterThan(5);
      for (const object of objects) {
        const type = { apiVersion: object.apiVersion, kind: object.kind, plural: pluralOf(object.kind) };
        const taken = await client.apply<Rendered>(type, object, { fieldManager: 'helm', dryRun: true });
        expect(taken.metadata.name, pathOf(type, object.metadata)).toBe(object.metadata.name);
      }
    });

    it('keeps the CRDs when it is uninstalled, unless it is told not to', async () => {
      const crds = async (...flags: string[]) =>
        (await render(namespace, ...flags)).filter(({ kind }) => kind === 'CustomResourceDefinition');
      const kept = await crds();
      expect(kept.map(({ metadata }) => metadata.name)).toEqual([
        'eventpipelines.levada.dev',
        'modeldeployments.levada.dev',
      ]);
      for (const { metadata } of kept) expect(metadata.annotations?.['helm.sh/resource-policy']).toBe('keep');
      for (const { metadata } of await crds('--set', 'crds.keep=false')) {
        expect(metadata.annotations?.['helm.sh/resource-policy']).toBeUndefined();
      }
    });

    it('its RabbitMQ is the broker of pipelines that name none; its password is never another one by itself', async () => {
      const flags = ['--set', 'rabbitmq.enabled=true'];
      const objects = await render(namespace, ...flags, '--set', 'rabbitmq.auth.password=tried');
      const [container] = objects.find(({ kind }) => kind === 'Deployment')?.spec?.template?.spec?.containers ?? [];
      expect(container?.args).toContain('--broker-secret=levada-rabbitmq');
      expect(JSON.stringify(container)).not.toContain('tried');
      const secret = objects.find(({ kind }) => kind === 'Secret') as Rendered & { stringData: Record<string, string> };
      expect(secret.metadata.name).toBe('levada-rabbitmq');
      expect(secret.stringData).toMatchObject({ username: 'levada', password: 'tried', port: '5672' });
      expect(secret.stringData['host']).toBe(`levada-rabbitmq.${namespace}.svc`);
      // Nobody to ask what it was: another one at each rendering would lock everybody out.
      const error = await render(namespace, ...flags).catch((thrown: Error) => thrown);
      expect(String(error)).toMatch(/rabbitmq\.auth/);
    });

    it('is watched by the Prometheus Operator when asked to', async () => {
      const flags = ['--set', 'monitoring.podMonitor.enabled=true,monitoring.prometheusRule.enabled=true'];
      const objects = (await render(namespace, ...flags)).filter(({ apiVersion }) =>
        apiVersion.startsWith('monitoring.coreos.com/'),
      );
      expect(objects.map(({ kind }) => kind)).toEqual(['PodMonitor', 'PodMonitor', 'PrometheusRule']);
      expect((await render(namespace)).filter(({ kind }) => kind === 'PodMonitor')).toEqual([]);
    });

    it('refuses values that it does not know', async () => {
      const error = await render(namespace, '--set', 'replica=2').catch((thrown: Error) => thrown);
      expect(String(error)).toMatch(/additional properties 'replica' not allowed|Additional property replica/);
      const none = await render(namespace, '--set', 'replicas=0').catch((thrown: Error) => thrown);
      expect(String(none)).toMatch(/replicas/);
    });

    it.for([
      ['without a broker of its own none', [], false],
      ['with a broker of its own', ['--set', 'brokerSecret=mq'], true],
      ['with the RabbitMQ to try with', ['--set', 'rabbitmq.enabled=true,rabbitmq.auth.existingSecret=mq'], true],
    ] as const)('rights to write Secrets where it looks after resources: %s', async ([, flags, hasBroker]) => {
      const [, ...wanted] = await operatorRules(hasBroker);
      const isRole = ({ kind, metadata }: Rendered) =>
        metadata.name === 'levada' ? kind === 'Role' : kind === 'ClusterRole' && /-levada$/.test(metadata.name);
      for (const places of [[], ['--set', 'watchNamespaces={shop}']]) {
        const roles = (await render(namespace, ...flags, ...places)).filter(isRole);
        expect(roles).toEqual([expect.objectContaining({ rules: wanted })]);
      }
      expect(wanted.some(({ resources, verbs }) => resources.includes('secrets') && verbs.includes('create'))).toBe(
        hasBroker,
      );
    });

    it('tells the operator where it is and what it may look after', async () => {
      const objects = await render(namespace, '--set', 'watchNamespaces={a,b}', '--set-string', 'image.tag=7');
      const [container] = objects.find(({ kind }) => kind === 'Deployment')?.spec?.template?.spec?.containers ?? [];
      expect(container?.args).toEqual([
        '--image=levada/levada:7',
        `--lease=${namespace}/levada`,
        '--health=0.0.0.0:8081',
        '--namespace=a',
        '--namespace=b',
      ]);
      // What people may do comes with the CRDs, for the whole cluster; what the operator may do does not.
      const roleNames = objects.filter(({ kind }) => kind === 'ClusterRole').map(({ metadata }) => metadata.name);
      expect(roleNames).toEqual(['view', 'edit'].map((right) => `${namespace}-levada-${right}`));
      expect(objects.filter(({ kind }) => kind === 'ClusterRoleBinding')).toEqual([]);
      const roles = objects.filter(({ kind, metadata }) => kind === 'Role' && metadata.name === 'levada');
      expect(roles.map(({ metadata }) => metadata.namespace)).toEqual(['a', 'b']);
    });
  });
});
