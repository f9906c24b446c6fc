import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { describe, inject } from 'vitest';
import { parse } from 'yaml';
import { type ClusterUser, type ControlPlane, kubeconfigOf } from '../../hack/cluster.ts';
import { eventPipelines, modelDeployments } from '../../operator/drivers/kubernetes/types.ts';
import { KubeClient } from '../../operator/engine/client.ts';
import { kubeconfigAccess } from '../../operator/engine/kubeconfig.ts';
import { pathOf, type StoredObject } from '../../operator/engine/objects.ts';
import { root } from './up.ts';
import { until } from './wait.ts';

/** An API server that tests share: each makes a namespace of its own. */
export type TestCluster = Pick<ControlPlane, 'server' | 'ca' | 'admin' | 'nobody' | 'port' | 'kubeconfig'>;

declare module 'vitest' {
  interface ProvidedContext {
    readonly cluster: { readonly plane?: TestCluster; readonly missing?: string };
  }
}

/** Tests against a real API server; skipped, with the reason, where there is none. */
export function onCluster(tests: (cluster: TestCluster) => void): void {
  const { plane, missing = 'no reason' } = inject('cluster');
  if (plane === undefined) describe.skip(`kube-apiserver (skipped: ${missing})`, () => {});
  else describe('kube-apiserver', () => tests(plane));
}

/**
 * @param through address in its stead: that of a proxy
 * @param requested told of each request and the status code of its answer
 */
export function clientOf(
  cluster: Pick<TestCluster, 'server' | 'ca'>,
  user: ClusterUser,
  through?: string,
  requested?: (method: string, code: string) => void,
): KubeClient {
  const config = new KubeConfig();
  config.loadFromString(JSON.stringify(kubeconfigOf(cluster, user, through)));
  return new KubeClient(kubeconfigAccess(config), requested);
}

/** Makes a namespace. @returns its name */
export async function freshNamespace(client: KubeClient): Promise<string> {
  const name = `test-${randomUUID()}`;
  await client.call({
    method: 'POST',
    path: '/api/v1/namespaces',
    body: { apiVersion: 'v1', kind: 'Namespace', metadata: { name } },
  });
  return name;
}

/** Installs the CRDs. Resolves when both kinds are served. */
export async function installKinds(client: KubeClient): Promise<void> {
  for (const type of [modelDeployments, eventPipelines]) {
    const crd = parse(await readFile(join(root, `crds/levada.dev_${type.plural}.yaml`), 'utf8')) as StoredObject;
    await client.call({ method: 'POST', path: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', body: crd });
    await until(`${type.plural} are served`, () => client.call({ method: 'GET', path: pathOf(type) }).then(() => true));
  }
}
