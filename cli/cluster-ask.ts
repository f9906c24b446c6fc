import { KubeConfig } from '@kubernetes/client-node';
import { errorCodeOf, LevadaError, messageOf } from '../api/errors.ts';
import { show } from '../api/rules.ts';
import { kinds, type Resource, type ResourceKind } from '../api/v1alpha1/resource.ts';
import { typeOf } from '../operator/drivers/kubernetes/types.ts';
import { KubeClient } from '../operator/engine/client.ts';
import { pathOf, type StoredObject } from '../operator/engine/objects.ts';
import type { FileProblem, Loaded } from '../operator/source/load.ts';
import type { ClusterFlags } from './cluster.ts';
import type { LocalResource } from './up/admin.ts';

/** The resources of a namespace. @throws LevadaError Cluster…, KubeconfigInvalid */
export const clusterResources = (flags: ClusterFlags): Promise<LocalResource[]> =>
  onCluster(flags, async (client, namespace) => {
    const all = await Promise.all(
      (Object.keys(kinds) as ResourceKind[]).map((kind) => resourcesOf(client, namespace, kind)),
    );
    return all.flat().map((resource) => ({ resource, services: servicesOf(resource), admin: {} }));
  });

/**
 * What the API server says against resources, without storing them: its rules, its admission webhooks, and whether what is
 * there already may become so.
 *
 * @throws LevadaError Cluster… where it says nothing
 */
export const refusedByServer = (flags: ClusterFlags, { resources }: Loaded): Promise<FileProblem[]> =>
  onCluster(flags, async (client, place) => {
    const problems: FileProblem[] = [];
    for (const { resource, file, locate } of resources) {
      const { status: _, ...object } = resource;
      const { namespace = place } = resource.metadata;
      const asked = { ...object, metadata: { ...object.metadata, namespace } } as unknown as StoredObject;
      try {
        await client.apply(typeOf(resource.kind), asked, { fieldManager: 'levada-validate', dryRun: true });
      } catch (error) {
        if (errorCodeOf(error) !== 'ClusterRefused') throw error;
        const problem = { code: 'ClusterRefused', path: '', message: messageOf(error) } as const;
        problems.push({ ...problem, file, ...locate(problem) });
      }
    }
    return problems;
  });

/** @throws LevadaError KubeconfigInvalid, and what `work` throws */
async function onCluster<T>(
  flags: ClusterFlags,
  work: (client: KubeClient, namespace: string) => Promise<T>,
): Promise<T> {
  const config = configOf(flags);
  const { namespace = config.getContextObject(config.getCurrentContext())?.namespace ?? 'default' } = flags;
  const client = new KubeClient(config);
  try {
    return await work(client, namespace);
  } finally {
    await client.close();
  }
}

function configOf({ context, kubeconfig }: ClusterFlags): KubeConfig {
  const config = new KubeConfig();
  try {
    if (kubeconfig === undefined) config.loadFromDefault();
    else config.loadFromFile(kubeconfig);
  } catch (cause) {
    const detail = `the kubeconfig ${kubeconfig ?? ''} cannot be read: ${messageOf(cause)}`;
    throw new LevadaError('KubeconfigInvalid', { detail }, { cause });
  }
  if (context === undefined) return config;
  if (!config.getContextObject(context)) {
    const allowed = config.getContexts().map(({ name }) => name);
    const detail = `--context: found ${show(context)}; allowed: ${allowed.join(', ') || 'none is there'}`;
    throw new LevadaError('KubeconfigInvalid', { detail });
  }
  config.setCurrentContext(context);
  return config;
}

/** As the API server has them: they were checked when they were applied. */
async function resourcesOf(client: KubeClient, namespace: string, kind: ResourceKind): Promise<Resource[]> {
  const type = typeOf(kind);
  const { items } = await client.call<{ items: StoredObject[] }>({ method: 'GET', path: pathOf(type, { namespace }) });
  // Objects of a list have no kind.
  return items.map((object) => ({ ...object, apiVersion: type.apiVersion, kind }) as unknown as Resource);
}

/** Addresses inside the cluster. */
function servicesOf({ kind, metadata, status }: Resource): Record<string, string> {
  if (kind === 'ModelDeployment') return status?.url === undefined ? {} : { [metadata.name]: status.url };
  const sources = status?.sources ?? [];
  return Object.fromEntries(sources.flatMap(({ name, url }) => (url === undefined ? [] : [[name, url]])));
}
