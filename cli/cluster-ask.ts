import { KubeConfig } from '@kubernetes/client-node';
import { errorCodeOf, LevadaError, messageOf, type Problem } from '../api/errors.ts';
import { show } from '../api/rules.ts';
import { kinds, type Resource, type ResourceKind } from '../api/v1alpha1/resource.ts';
import { refusedParts, refusedPods } from '../operator/drivers/kubernetes/refused.ts';
import { typeOf } from '../operator/drivers/kubernetes/types.ts';
import { KubeClient } from '../operator/engine/client.ts';
import { kubeconfigAccess } from '../operator/engine/kubeconfig.ts';
import { pathOf, type ResourceType, type StoredObject } from '../operator/engine/objects.ts';
import { podTemplatePath, podTemplateProblems } from '../operator/objects/pod-templates.ts';
import { renderObjects } from '../operator/objects/render.ts';
import type { FileProblem, Loaded } from '../operator/source/load.ts';
import type { ClusterFlags } from './cluster.ts';
import { planNew } from './plan.ts';
import type { LocalResource } from './up/admin.ts';

/** The resources of a namespace. @throws LevadaError Cluster…, KubeconfigInvalid */
export const clusterResources = (flags: ClusterFlags): Promise<LocalResource[]> =>
  onCluster(flags, async (client, namespace) => {
    const all = await Promise.all(
      (Object.keys(kinds) as ResourceKind[]).map((kind) => resourcesOf(client, namespace, kind)),
    );
    return all.flat().map((resource) => ({ resource, services: servicesOf(resource), admin: {} }));
  });

/** What the API server has against resources, and what it could not be asked. */
export interface Refused {
  readonly problems: readonly FileProblem[];
  readonly notes: readonly string[];
}

type Entry = Loaded['resources'][number];
type Wanted = StoredObject & { readonly spec: object };

/**
 * What the API server says against resources, without storing them: its rules, its admission webhooks, whether what is there
 * already may become so, and whether it takes the pods that a `podTemplate` asks for.
 *
 * @throws LevadaError Cluster… where it says nothing
 */
export const refusedByServer = (flags: ClusterFlags, { resources }: Loaded): Promise<Refused> =>
  onCluster(flags, async (client, place) => {
    const problems: FileProblem[] = [];
    const notes: string[] = [];
    for (const entry of resources) {
      const { file, locate } = entry;
      const found = (await refusedResource(client, place, entry)) ?? (await refusedTemplates(client, place, entry));
      if (typeof found === 'string') notes.push(`note: ${file}: ${found}`);
      else problems.push(...found.map((problem) => ({ ...problem, file, ...locate(problem) })));
    }
    return { problems, notes };
  });

/** @returns `undefined`: it is taken */
async function refusedResource(client: KubeClient, place: string, { resource }: Entry): Promise<Problem[] | undefined> {
  const { status: _, ...object } = resource;
  const { namespace = place } = resource.metadata;
  const asked = { ...object, metadata: { ...object.metadata, namespace } } as unknown as Wanted;
  try {
    await putAsIfAlone(client, typeOf(resource.kind), asked);
    return undefined;
  } catch (error) {
    if (errorCodeOf(error) !== 'ClusterRefused') throw error;
    return [{ code: 'ClusterRefused', path: '', message: messageOf(error).replace(wholeObject, '') }];
  }
}

/** What a patch with a field that the API server does not know is answered with, before it says which one. */
const wholeObject = /"" is invalid: patch: Invalid value: .*(?=strict decoding error)/s;

/**
 * Tries what the file says in the place of what is there: an apply by a manager of its own would add to what others own, and keep
 * each field that the file has no more. Takes the same rights as to apply it.
 *
 * @throws LevadaError Cluster…
 */
async function putAsIfAlone(client: KubeClient, type: ResourceType, object: Wanted): Promise<void> {
  const { namespace = '', name, labels = {}, annotations = {} } = object.metadata;
  const query = { fieldManager: 'levada-validate', fieldValidation: 'Strict', dryRun: 'All' };
  const members = { '/metadata/labels': labels, '/metadata/annotations': annotations, '/spec': object.spec };
  try {
    await client.call({
      method: 'PATCH',
      path: pathOf(type, { namespace, name }),
      query,
      body: Object.entries(members).map(([path, value]) => ({ op: 'add', path, value })), // also where one is there
      contentType: 'application/json-patch+json',
    });
  } catch (error) {
    if (errorCodeOf(error) !== 'ClusterNotFound') throw error;
    await client.call({ method: 'POST', path: pathOf(type, { namespace }), query, body: object });
  }
}

/** Asked for the operator, so it takes the right to make Deployments. @returns text: why it could not be asked */
async function refusedTemplates(client: KubeClient, place: string, { resource }: Entry): Promise<Problem[] | string> {
  const { namespace = place } = resource.metadata;
  const placed = { ...resource, metadata: { ...resource.metadata, namespace } };
  const wanted = planNew(placed);
  if (podTemplateProblems(placed, wanted).length > 0) return []; // said already
  try {
    if (placed.kind === 'EventPipeline') {
      return wanted.pipeline ? await refusedParts(client, placed, wanted.pipeline, 'levada') : [];
    }
    const plan = { units: wanted.units.filter(({ podTemplate }) => podTemplate !== undefined), fronts: [] };
    const deployments = renderObjects(placed, plan, { image: 'levada' }).filter(({ kind }) => kind === 'Deployment');
    const found = await Promise.all(deployments.map((object) => refusedPods(client, object, podTemplatePath())));
    return found.flat();
  } catch (error) {
    if (errorCodeOf(error) !== 'ClusterForbidden') throw error;
    return `the API server could not be asked about spec.podTemplate: ${messageOf(error)}`;
  }
}

/** @throws LevadaError KubeconfigInvalid, and what `work` throws */
export async function onCluster<T>(
  flags: ClusterFlags,
  work: (client: KubeClient, namespace: string, config: KubeConfig) => Promise<T>,
): Promise<T> {
  const config = configOf(flags);
  const { namespace = config.getContextObject(config.getCurrentContext())?.namespace ?? 'default' } = flags;
  const client = new KubeClient(kubeconfigAccess(config));
  try {
    return await work(client, namespace, config);
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
