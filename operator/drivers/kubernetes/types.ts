import { apiVersion, group } from '../../../api/contract/names.ts';
import { kinds, type ResourceKind } from '../../../api/v1alpha1/resource.ts';
import type { ResourceType, StoredMetadata, StoredObject } from '../../engine/objects.ts';

/** Kinds that the driver makes, in the order in which they are pruned: who leads to pods before the pods. */
export const childTypes = {
  Ingress: { apiVersion: 'networking.k8s.io/v1', kind: 'Ingress', plural: 'ingresses' },
  HTTPRoute: { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'HTTPRoute', plural: 'httproutes' },
  Service: { apiVersion: 'v1', kind: 'Service', plural: 'services' },
  PodDisruptionBudget: { apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', plural: 'poddisruptionbudgets' },
  Deployment: { apiVersion: 'apps/v1', kind: 'Deployment', plural: 'deployments' },
  ConfigMap: { apiVersion: 'v1', kind: 'ConfigMap', plural: 'configmaps' },
} as const satisfies Record<string, ResourceType>;
export type ChildKind = keyof typeof childTypes;

/** What selects all that Levada makes. */
export const ours = 'app.kubernetes.io/managed-by=levada';
export const pods: ResourceType = { apiVersion: 'v1', kind: 'Pod', plural: 'pods' };
/** Of what users apply. */
export const typeOf = (kind: ResourceKind): ResourceType => ({ apiVersion, kind, plural: kinds[kind].crd.plural });
export const modelDeployments = typeOf('ModelDeployment');
export const eventPipelines = typeOf('EventPipeline');
/** Read one by one: nobody who runs pipelines has to let the operator list Secrets. */
export const secrets: ResourceType = { apiVersion: 'v1', kind: 'Secret', plural: 'secrets' };
export const namespaces: ResourceType = { apiVersion: 'v1', kind: 'Namespace', plural: 'namespaces' };

/**
 * On a Deployment: the unit that it was made of, as JSON, but for the digest that it was resolved to, which its ConfigMap has:
 * a new annotation is a new generation of a Deployment, which would look as if it rolled.
 */
export const unitAnnotation = `${group}/unit`;
/** On a Deployment's template and so on its pods: a hash of the template. It tells the newest pods from older ones. */
export const templateAnnotation = `${group}/template`;
/**
 * On every object that is made: a hash of it as it was applied last. A field that is only left out shows in nothing else: what is
 * wanted is all there. It changes only when the object does, so that it is no generation of a Deployment by itself.
 */
export const appliedAnnotation = `${group}/applied`;

/** The fields that are read of what the API server keeps. */
export interface LiveDeployment extends StoredObject {
  readonly spec: {
    readonly replicas?: number;
    readonly template: {
      readonly metadata?: Pick<StoredMetadata, 'annotations'>;
      readonly spec?: { readonly volumes?: ReadonlyArray<{ readonly configMap?: { readonly name?: string } }> };
    };
  };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly replicas?: number;
    readonly updatedReplicas?: number;
    readonly readyReplicas?: number;
    readonly availableReplicas?: number;
    readonly conditions?: readonly LiveCondition[];
  };
}

export interface LiveCondition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
}

export interface LiveConfigMap extends StoredObject {
  readonly data?: Readonly<Record<string, string>>;
}

export interface LiveService extends StoredObject {
  readonly spec: { readonly selector?: Readonly<Record<string, string>> };
}

export interface LivePod extends StoredObject {
  readonly status?: {
    readonly phase?: string;
    readonly podIP?: string;
    readonly conditions?: readonly LiveCondition[];
    /** Also of sidecars. */
    readonly initContainerStatuses?: readonly ContainerStatus[];
    readonly containerStatuses?: readonly ContainerStatus[];
  };
}

interface ContainerStatus {
  readonly name?: string;
  readonly restartCount?: number;
  readonly image?: string;
  readonly state?: {
    readonly waiting?: { readonly reason?: string; readonly message?: string };
    readonly terminated?: Terminated;
  };
  readonly lastState?: { readonly terminated?: Terminated };
}

interface Terminated {
  readonly reason?: string;
  readonly exitCode?: number;
  /** What the container has written to its termination log. */
  readonly message?: string;
}

export interface LiveSecret extends StoredObject {
  /** Base64. */
  readonly data?: Readonly<Record<string, string>>;
}
