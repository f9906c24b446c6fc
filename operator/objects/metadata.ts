import type { Resource } from '../../api/v1alpha1/resource.ts';

/** An object as it is applied: only the fields that Levada owns, so that what others set stays theirs. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMetadata;
  readonly spec?: object;
  readonly data?: Readonly<Record<string, string>>;
  readonly immutable?: boolean;
}

interface ObjectMetadata {
  readonly name: string;
  /** Absent where the resource names none: then it is the one that kubectl is pointed at. */
  readonly namespace?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly object[];
}

/** The resource that an object is made for. */
export type Owner = Pick<Resource, 'apiVersion' | 'kind' | 'metadata'>;

/**
 * Metadata of an object that `owner` makes. Labels and annotations of the owner are not copied: a copy of Argo CD's
 * tracking label would make it delete the object.
 */
export function metadataOf(owner: Owner, name: string, labels: Readonly<Record<string, string>>): ObjectMetadata {
  const { namespace } = owner.metadata;
  const ownerReferences = ownerReferencesOf(owner);
  return { name, ...(namespace !== undefined && { namespace }), labels, ...(ownerReferences && { ownerReferences }) };
}

/** A resource from a file has no uid yet; one from the API server does, and owns what it makes. */
function ownerReferencesOf({ apiVersion, kind, metadata }: Owner): object[] | undefined {
  const { name, uid } = metadata;
  if (typeof uid !== 'string') return undefined;
  return [{ apiVersion, kind, name, uid, controller: true, blockOwnerDeletion: true }];
}
