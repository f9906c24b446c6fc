import { hash } from 'node:crypto';
import { errorCodeOf, LevadaError } from '../../../api/errors.ts';
import type { KubeClient } from '../../engine/client.ts';
import { objectKey, pathOf, type StoredObject } from '../../engine/objects.ts';
import { contentHash } from '../../objects/configmap.ts';
import type { KubernetesObject } from '../../objects/metadata.ts';
import { isApplied } from './applied.ts';
import { Copy, type WatchedPlaces } from './copies.ts';
import { isRolling } from './failures.ts';
import { OptionalCopy } from './optional-copy.ts';
import {
  appliedAnnotation,
  type ChildKind,
  childTypes,
  type LiveDeployment,
  ours,
  templateAnnotation,
} from './types.ts';

/** The one writer of what the operator applies. */
export const fieldManager = 'levada';
/** Replicas have a writer of their own, so that an autoscaler can be it instead. */
const scaleManager = 'levada-scale';

/** What is to be started and closed. */
export type Started = Pick<OptionalCopy<StoredObject>, 'start' | 'isConnected' | 'close'> &
  Partial<Pick<Copy<StoredObject>, 'absenceIn'>>;

/** Told of a resource, one of whose children has changed. */
export type Told = (kind: string, namespace: string, name: string) => void;

/** What resources of every kind have made: copies of it, and how it is made, changed and removed. */
export class Children {
  readonly #client: KubeClient;
  readonly #copies: Readonly<Record<ChildKind, Copy<StoredObject> | OptionalCopy<StoredObject>>>;
  readonly #routes: OptionalCopy<StoredObject>;
  /** By the uid of their owner. */
  readonly #owned = new Map<string, Map<string, { readonly kind: ChildKind; readonly object: StoredObject }>>();
  /** What applying did not change, though it looks different: a webhook, or a form of the API server's own. */
  readonly #futile = new Map<string, string>();
  readonly #listeners: Told[] = [];

  constructor(client: KubeClient, places: WatchedPlaces) {
    this.#client = client;
    const copyOf = (kind: ChildKind) => new Copy<StoredObject>(client, childTypes[kind], places, ours);
    this.#routes = new OptionalCopy(client, childTypes.HTTPRoute, places, ours);
    this.#copies = {
      Ingress: copyOf('Ingress'),
      HTTPRoute: this.#routes,
      Service: copyOf('Service'),
      PodDisruptionBudget: copyOf('PodDisruptionBudget'),
      Deployment: copyOf('Deployment'),
      ConfigMap: copyOf('ConfigMap'),
    };
    for (const kind of Object.keys(this.#copies) as ChildKind[]) {
      this.#copies[kind].onChange((now, before) => this.#index(kind, now, before));
    }
  }

  /** To be started and closed. */
  get copies(): Started[] {
    return Object.values(this.#copies);
  }

  onChange(listener: Told): void {
    this.#listeners.push(listener);
  }

  /** What a resource owns of a kind. */
  of<T extends StoredObject>({ metadata: { uid = '' } }: StoredObject, wanted: ChildKind): T[] {
    const owned = [...(this.#owned.get(uid)?.values() ?? [])];
    return owned.flatMap(({ kind, object }) => (kind === wanted ? [object as T] : []));
  }

  /**
   * Makes each object as it is to be, and removes what `owner` has beside them. Costs nothing where all is so.
   *
   * @param made told of each object that is as it is to be, as soon as it is
   * @returns whether anything has changed
   * @throws LevadaError ObjectTaken: nothing that others made is changed; KindMissing: all the rest is made; Cluster…
   */
  async putAll(
    owner: StoredObject,
    wanted: readonly KubernetesObject[],
    made: (object: KubernetesObject) => void = () => {},
  ): Promise<boolean> {
    let hasChanged = false;
    let missing: unknown;
    for (const object of wanted) {
      try {
        if (object.kind === 'HTTPRoute') await this.#routes.ensure(object.metadata.namespace);
        if (await this.#put(owner, noted(object))) hasChanged = true;
        made(object);
      } catch (error) {
        if (errorCodeOf(error) !== 'KindMissing') throw error;
        missing = error;
      }
    }
    for (const object of wanted) if (await this.#scale(object)) hasChanged = true;
    if (await this.prune(owner, wanted)) hasChanged = true;
    if (missing !== undefined) throw missing;
    return hasChanged;
  }

  async #put(owner: StoredObject, object: KubernetesObject): Promise<boolean> {
    const kind = object.kind as ChildKind;
    const { namespace = '', name } = object.metadata;
    const copy = this.#copies[kind];
    const found = copy.get(namespace, name) ?? (await this.#stranger(kind, namespace, name));
    if (found) refuseOthers(owner, kind, found);
    if (found && this.isSettled(object)) return false;
    const { key, text } = this.#asFutile(object);
    const written = await this.#client.apply<StoredObject>(childTypes[kind], object as StoredObject, { fieldManager });
    await copy.landed(written);
    if (written.metadata.resourceVersion !== found?.metadata.resourceVersion) {
      this.#futile.delete(key);
      return true;
    }
    this.#futile.set(key, text);
    return false;
  }

  /** Whether applying `object` would change nothing. */
  isSettled(object: KubernetesObject): boolean {
    const found = this.#copies[object.kind as ChildKind].get(object.metadata.namespace ?? '', object.metadata.name);
    if (!found) return false;
    if (isApplied(object, found)) return true;
    const { key, text } = this.#asFutile(object);
    return this.#futile.get(key) === text;
  }

  /** Of a Deployment. @returns whether it had other replicas */
  async #scale({ kind, metadata: { namespace = '', name }, spec }: KubernetesObject): Promise<boolean> {
    if (kind !== 'Deployment') return false;
    const { replicas } = spec as { readonly replicas: number };
    const copy = this.#copies.Deployment;
    const found = copy.get(namespace, name) as LiveDeployment | undefined;
    if (!found || found.spec.replicas === replicas) return false;
    // The path is the Deployment's, the object a Scale.
    const written = await this.#client.call<StoredObject>({
      method: 'PATCH',
      path: pathOf(childTypes.Deployment, { namespace, name, subresource: 'scale' }),
      query: { fieldManager: scaleManager, force: true },
      body: { apiVersion: 'autoscaling/v1', kind: 'Scale', metadata: { namespace, name }, spec: { replicas } },
      contentType: 'application/apply-patch+yaml',
    });
    await copy.landed(written);
    return true;
  }

  /** Removes what `owner` has and what is not wanted. @returns whether there was anything */
  async prune(owner: StoredObject, wanted: readonly KubernetesObject[]): Promise<boolean> {
    const kept = new Set(wanted.map(({ kind, metadata }) => `${kind}/${metadata.name}`));
    let hasChanged = false;
    for (const kind of Object.keys(childTypes) as ChildKind[]) {
      for (const object of this.of(owner, kind)) {
        if (kept.has(`${kind}/${object.metadata.name}`)) continue;
        if (object.metadata.deletionTimestamp !== undefined || this.#isInUse(kind, object)) continue;
        await this.#delete(kind, object);
        hasChanged = true;
      }
    }
    return hasChanged;
  }

  #asFutile(object: KubernetesObject): { key: string; text: string } {
    const { kind, metadata } = object;
    const found = this.#copies[kind as ChildKind].get(metadata.namespace ?? '', metadata.name);
    const text = `${found?.metadata.resourceVersion} ${JSON.stringify(object)}`;
    return { key: `${kind}/${metadata.namespace ?? ''}/${metadata.name}`, text };
  }

  /** An object of that name that is not in the copy, because it lacks the labels of ours. */
  async #stranger(kind: ChildKind, namespace: string, name: string): Promise<StoredObject | undefined> {
    try {
      return await this.#client.get<StoredObject>(childTypes[kind], { namespace, name });
    } catch (error) {
      if (errorCodeOf(error) === 'ClusterNotFound') return undefined;
      throw error;
    }
  }

  /** Pods of an older template may still be started from their configuration. */
  #isInUse(kind: ChildKind, { metadata: { namespace = '', name } }: StoredObject): boolean {
    if (kind !== 'ConfigMap') return false;
    const unit = name.replace(/-[0-9a-f]{16}$/, '');
    const found = this.#copies.Deployment.get(namespace, unit) as LiveDeployment | undefined;
    return found !== undefined && isRolling(found);
  }

  /** Whether pods of an older template may still be started, of any Deployment of `owner`. */
  areRolling(owner: StoredObject): boolean {
    return this.of<LiveDeployment>(owner, 'Deployment').some(isRolling);
  }

  async #delete(kind: ChildKind, object: StoredObject): Promise<void> {
    const { namespace = '', name, uid } = object.metadata;
    const path = pathOf(childTypes[kind], { namespace, name });
    // Another object of the same name is not the one that was looked at.
    const body = { propagationPolicy: 'Background', preconditions: { uid } };
    try {
      await this.#client.call({ method: 'DELETE', path, body });
    } catch (error) {
      if (errorCodeOf(error) !== 'ClusterNotFound') throw error;
    }
    await this.#copies[kind].landed(object, true);
  }

  #index(kind: ChildKind, now: StoredObject | undefined, before: StoredObject | undefined): void {
    const key = `${kind} ${objectKey((now ?? before) as StoredObject)}`;
    const was = controllerOf(before);
    const is = controllerOf(now);
    if (was && was.uid !== is?.uid) {
      const all = this.#owned.get(was.uid);
      all?.delete(key);
      if (all?.size === 0) this.#owned.delete(was.uid);
      this.#tell(before, was);
    }
    if (!now || !is) return;
    const all = this.#owned.get(is.uid) ?? new Map();
    all.set(key, { kind, object: now });
    this.#owned.set(is.uid, all);
    this.#tell(now, is);
  }

  #tell(object: StoredObject | undefined, { kind, name }: { readonly kind: string; readonly name: string }): void {
    for (const listener of this.#listeners) listener(kind, object?.metadata.namespace ?? '', name);
  }
}

const controllerOf = (object: StoredObject | undefined) =>
  object?.metadata.ownerReferences?.find(({ controller }) => controller === true);

/** @throws LevadaError ObjectTaken */
export function refuseOthers(owner: StoredObject, kind: string, found: StoredObject): void {
  const controller = controllerOf(found);
  if (controller?.uid === owner.metadata.uid) return;
  const by = controller ? `${controller.kind} ${controller.name}` : 'somebody else';
  throw new LevadaError('ObjectTaken', { kind, name: found.metadata.name, owner: by });
}

/** An object as it is applied: with the note by which it is known that nothing has been left out of it since. */
export function noted(object: KubernetesObject): KubernetesObject {
  const made = object.kind === 'Deployment' ? notedDeployment(object) : object;
  const digest = hash('sha256', JSON.stringify(made)).slice(0, 16);
  const annotations = { ...made.metadata.annotations, [appliedAnnotation]: digest };
  return { ...made, metadata: { ...made.metadata, annotations } };
}

/** With the note by which its newest pods are known, and without replicas, which have another writer. */
function notedDeployment(object: KubernetesObject): KubernetesObject {
  const {
    replicas: _,
    template,
    ...spec
  } = object.spec as {
    readonly replicas: number;
    readonly template: { readonly metadata: { readonly annotations?: object } };
  };
  const ofPods = {
    ...template.metadata.annotations,
    [templateAnnotation]: contentHash(JSON.stringify(template)),
  };
  return {
    ...object,
    spec: { ...spec, template: { ...template, metadata: { ...template.metadata, annotations: ofPods } } },
  };
}
