import { isDeepStrictEqual } from 'node:util';
import { brokerFinalizer, resourceKey } from '../api/contract/names.ts';
import { errorCodeOf } from '../api/errors.ts';
import type { Resource, ResourceStatus } from '../api/v1alpha1/resource.ts';
import { fieldManager } from './drivers/kubernetes/children.ts';
import type { Copy } from './drivers/kubernetes/copies.ts';
import type { KubeClient } from './engine/client.ts';
import type { EventRecorder, Told } from './engine/events.ts';
import type { StoredMetadata, StoredObject } from './engine/objects.ts';
import { type Neighbours, neighboursIn } from './plan/neighbours.ts';
import { isLeaving } from './plan/units.ts';
import type { Store, Stored } from './reconcile.ts';
import { parseResource } from './source/parse.ts';

/** What there is of a kind. */
type Kept = Pick<Copy<StoredObject>, 'type' | 'get' | 'values' | 'landed' | 'onChange'>;

/** The resources of a cluster: read from a copy, written to the API server. */
export class ClusterStore implements Store {
  readonly #client: KubeClient;
  readonly #copies: ReadonlyMap<string, Kept>;
  readonly #events: EventRecorder;
  /** An object is another one when it has changed. */
  readonly #parsed = new WeakMap<StoredObject, Stored>();
  /** By namespace, until the specification of one of its resources changes. */
  readonly #neighbours = new Map<string, Neighbours>();

  /** @param copies of each kind */
  constructor(client: KubeClient, copies: readonly Kept[], events: EventRecorder) {
    this.#client = client;
    this.#copies = new Map(copies.map((copy) => [copy.type.kind, copy]));
    this.#events = events;
    for (const copy of copies) {
      copy.onChange((now, before) => {
        if (now?.metadata.generation === before?.metadata.generation) return;
        this.#neighbours.delete((now ?? before)?.metadata.namespace ?? '');
      });
    }
  }

  /** Of everything that there is. */
  keys(): string[] {
    return [...this.#copies.values()].flatMap((copy) =>
      [...copy.values()].map(({ metadata }) => resourceKey({ kind: copy.type.kind, metadata })),
    );
  }

  async get(key: string): Promise<Stored | undefined> {
    const [kind = '', namespace = '', name = ''] = key.split('/');
    const copy = this.#copies.get(kind);
    const object = copy?.get(namespace, name);
    return copy && object && this.#storedOf(object);
  }

  #storedOf(object: StoredObject): Stored | undefined {
    // What is being deleted takes its children with it: the garbage collector's work. What is outside is ours.
    if (hasGone(object)) return undefined;
    const before = this.#parsed.get(object);
    if (before) return before;
    const { resource, problems } = parseResource(object);
    const stored = { resource: resource ?? (object as unknown as Resource), problems };
    this.#parsed.set(object, stored);
    return stored;
  }

  async neighbours({ metadata: { namespace = 'default' } }: Resource): Promise<Neighbours> {
    const known = this.#neighbours.get(namespace);
    if (known) return known;
    const valid = [...this.#copies.values()].flatMap((copy) =>
      [...copy.values()].flatMap((object) => {
        if (object.metadata.namespace !== namespace) return [];
        const stored = this.#storedOf(object);
        return stored && stored.problems.length === 0 && !isLeaving(stored.resource) ? [stored.resource] : [];
      }),
    );
    const neighbours = neighboursIn(namespace, valid);
    this.#neighbours.set(namespace, neighbours);
    return neighbours;
  }

  /**
   * One that was deleted meanwhile needs none; one that was made anew under its name is another one: a conflict. So is one
   * whose status somebody else has written since it was read: a leader of before, or the next one, which has an older copy.
   */
  async writeStatus(resource: Resource, status: ResourceStatus): Promise<void> {
    const copy = this.#copies.get(resource.kind);
    if (!copy) throw new Error(`${resource.kind} is not watched`);
    const { namespace, name, uid } = resource.metadata as StoredMetadata;
    const metadata = { namespace, name, uid, resourceVersion: versionOf(resource, copy) };
    try {
      const object = { metadata, status } as StoredObject;
      const written = await this.#client.apply(copy.type, object, { fieldManager, subresource: 'status' });
      await copy.landed(written);
    } catch (error) {
      if (errorCodeOf(error) === 'ClusterNotFound') return;
      throw error;
    }
    await this.#events.transition(resource, resource.status?.conditions ?? [], status.conditions);
  }

  async tell(resource: Resource, events: readonly Told[]): Promise<void> {
    for (const event of events) await this.#events.tell(resource, event);
  }
}

/** Of what `status` was planned from. That the finalizer or a label has changed since then makes no difference to it. */
function versionOf({ metadata, status }: Resource, copy: Kept): string | undefined {
  const { namespace = '', name, uid, generation, resourceVersion } = metadata as StoredMetadata;
  const now = copy.get(namespace, name);
  const isSame =
    now?.metadata.uid === uid &&
    now?.metadata.generation === generation &&
    isDeepStrictEqual((now as Partial<Resource> | undefined)?.status, status);
  return isSame ? now?.metadata.resourceVersion : resourceVersion;
}

const hasGone = ({ metadata: { deletionTimestamp, finalizers = [] } }: StoredObject): boolean =>
  deletionTimestamp !== undefined && !finalizers.includes(brokerFinalizer);
