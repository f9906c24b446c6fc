/**
 * Names of everything that a resource turns into. Operator, runtime and CLI derive them here and nowhere else.
 */

export const group = 'levada.dev';
export const apiVersion = `${group}/v1alpha1`;

/** Ports inside a pod. `levada up` gives each Service a loopback port of its own instead. */
export const containerPorts = { serving: 8080, internal: 8082, admin: 9090 } as const;

/** Service that callers use: the serving version's pods. */
export const modelService = (model: string): string => model;

/** Service, Deployment and unit of one version. */
export const versionName = (model: string, version: string): string => `${model}-${version}`;

/** Service of an http source, and unit of a source or step: `<pipeline>-<part>`. */
export const partName = (pipeline: string, part: string): string => `${pipeline}-${part}`;

/** Secret of a pipeline on the operator's default broker: a copy of the operator's own, for its pods. */
export const brokerSecret = (pipeline: string): string => `${pipeline}-broker`;

/** On an EventPipeline: its queues are in a broker, which no garbage collector knows. */
export const brokerFinalizer = `${group}/broker`;

/** Annotation of a ModelDeployment by which people say what becomes of a rollout: `<verb>/<id>`. */
export const rolloutCommand = `${group}/rollout-command`;

/** ConfigMap that holds what was applied last of a pipeline. */
export const planName = (pipeline: string): string => `${pipeline}-plan`;

/** ConfigMap with the routing table of a model. */
export const routingName = (model: string): string => `${model}-routing`;

/** Names become Services, which are DNS-1035 labels of at most 63 characters: `<model>-<version>`, `<pipeline>-<part>`. */
export const limits = { resourceName: 40, versionName: 20, partName: 20 } as const;
export const dns1035 = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;
export const dnsLabel = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
/** Names of Secrets. */
export const dnsSubdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

interface Named {
  readonly namespace?: string | undefined;
  readonly name: string;
}

/** `namespace/name`. */
export const namespacedName = ({ namespace = 'default', name }: Named): string => `${namespace}/${name}`;

/** `Kind/namespace/name`, the key by which resources are queued and remembered. */
export const resourceKey = ({ kind, metadata }: { readonly kind: string; readonly metadata: Named }): string =>
  `${kind}/${namespacedName(metadata)}`;

/** The namespace and the name in a {@link resourceKey}, or in a {@link namespacedName}. */
export function placeOf(key: string): { namespace: string; name: string } {
  const [namespace = '', name = ''] = key.split('/').slice(-2);
  return { namespace, name };
}

/** The namespace in a {@link resourceKey}. */
export const namespaceOf = (key: string): string => placeOf(key).namespace;
