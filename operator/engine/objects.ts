/** Anything that an API server keeps. */
export interface StoredObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: StoredMetadata;
}

export interface StoredMetadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  /** RFC 3339. */
  readonly deletionTimestamp?: string;
  readonly ownerReferences?: readonly OwnerReference[];
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
}

/** A kind, as the paths of the API name it. All kinds here are namespaced. */
export interface ResourceType {
  /** `v1` or `group/version`. */
  readonly apiVersion: string;
  readonly kind: string;
  /** In lower case: `deployments`. */
  readonly plural: string;
}

export interface Place {
  /** Absent: all namespaces. */
  readonly namespace?: string;
  readonly name?: string;
  readonly subresource?: 'status' | 'scale';
}

/** Path of a kind, of what a namespace has of it, or of one object. */
export function pathOf({ apiVersion, plural }: ResourceType, { namespace, name, subresource }: Place = {}): string {
  const segments = [
    ...(apiVersion.includes('/') ? ['apis', ...apiVersion.split('/')] : ['api', apiVersion]),
    ...(namespace === undefined ? [] : ['namespaces', namespace]),
    plural,
    ...(name === undefined ? [] : [name]),
    ...(subresource === undefined ? [] : [subresource]),
  ];
  return segments.map((segment) => `/${encodeURIComponent(segment)}`).join('');
}

/** `namespace/name`. */
export const objectKey = ({ metadata: { namespace, name } }: StoredObject): string => `${namespace ?? ''}/${name}`;
