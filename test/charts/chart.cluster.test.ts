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

    it('refuses values that it does not know', async () => {
      const error = await render(namespace, '--set', 'replica=2').catch((thrown: Error) => thrown);
      expect(String(error)).toMatch(/additional properties 'replica' not allowed|Additional property replica/);
      const none = await render(namespace, '--set', 'replicas=0').catch((thrown: Error) => thrown);
      expect(String(none)).toMatch(/replicas/);
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
      expect(objects.filter(({ kind }) => kind === 'ClusterRole')).toEqual([]);
      const roles = objects.filter(({ kind, metadata }) => kind === 'Role' && metadata.name === 'levada');
      expect(roles.map(({ metadata }) => metadata.namespace)).toEqual(['a', 'b']);
    });
  });
});
