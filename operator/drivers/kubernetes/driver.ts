import { versionName } from '../../../api/contract/names.ts';
import { errorCodeOf, LevadaError, type Problem } from '../../../api/errors.ts';
import type { ModelDeployment } from '../../../api/v1alpha1/model-deployment.ts';
import type { KubeClient } from '../../engine/client.ts';
import { objectKey, pathOf, type StoredObject } from '../../engine/objects.ts';
import { contentHash } from '../../objects/configmap.ts';
import { modelLabel, versionLabel } from '../../objects/labels.ts';
import type { KubernetesObject } from '../../objects/metadata.ts';
import { renderObjects } from '../../objects/render.ts';
import type { Observed, Unit, UnitPlan } from '../../plan/units.ts';
import type { Driver } from '../driver.ts';
import { isApplied } from './applied.ts';
import { Copy, type WatchedPlaces } from './copies.ts';
import { observedOf } from './observe.ts';
import { OptionalCopy } from './optional-copy.ts';
import { PodStatuses } from './pods.ts';
import { refusedPods } from './refused.ts';
import {
  type ChildKind,
  childTypes,
  type LiveConfigMap,
  type LiveDeployment,
  type LivePod,
  type LiveService,
  modelDeployments,
  pods,
  templateAnnotation,
  unitAnnotation,
} from './types.ts';

export interface KubernetesOptions extends WatchedPlaces {
  /** Of every pod. */
  readonly image: string;
  /** The name by which owners are known. Default: `ModelDeployment/namespace/name`. */
  readonly keyOf?: (namespace: string, name: string) => string;
  /** Milliseconds between two questions to a pod: while it loads, and then. */
  readonly pauses?: { readonly openMs: number; readonly endMs: number };
}

/** The one writer of what the operator applies. */
export const fieldManager = 'levada';
/** Replicas have a writer of their own, so that an autoscaler can be it instead. */
const scaleManager = 'levada-scale';

type OwnerObject = ModelDeployment & StoredObject;

/** Runs units as Deployments. What it has applied is the API server's; it remembers nothing itself. */
export class KubernetesDriver implements Driver {
  readonly owners: Copy<OwnerObject>;
  readonly #client: KubeClient;
  readonly #image: string;
  readonly #keyOf: (namespace: string, name: string) => string;
  readonly #children: Readonly<Record<ChildKind, Copy<StoredObject> | OptionalCopy<StoredObject>>>;
  readonly #routes: OptionalCopy<StoredObject>;
  readonly #pods: Copy<LivePod>;
  readonly #statuses: PodStatuses;
  /** Children by the uid of their owner. */
  readonly #owned = new Map<string, Map<string, { readonly kind: ChildKind; readonly object: StoredObject }>>();
  /** Pods by namespace and model. */
  readonly #podsOf = new Map<string, Map<string, LivePod>>();
  /** What applying did not change, though it looks different: a webhook, or a form of the API server's own. */
  readonly #futile = new Map<string, string>();
  #changed: (owner: string) => void = () => {};

  constructor(client: KubeClient, options: KubernetesOptions) {
    this.#client = client;
    this.#image = options.image;
    this.#keyOf = options.keyOf ?? ((namespace, name) => `ModelDeployment/${namespace}/${name}`);
    const ours = 'app.kubernetes.io/managed-by=levada';
    this.owners = new Copy<OwnerObject>(client, modelDeployments, options);
    this.#routes = new OptionalCopy(client, childTypes.HTTPRoute, options, ours);
    this.#children = {
      Ingress: new Copy(client, childTypes.Ingress, options, ours),
      HTTPRoute: this.#routes,
      Service: new Copy(client, childTypes.Service, options, ours),
      PodDisruptionBudget: new Copy(client, childTypes.PodDisruptionBudget, options, ours),
      Deployment: new Copy(client, childTypes.Deployment, options, ours),
      ConfigMap: new Copy(client, childTypes.ConfigMap, options, ours),
    };
    this.#pods = new Copy<LivePod>(client, pods, options, ours);
    this.#statuses = new PodStatuses((pod) => this.#tellOfPod(pod), options.pauses);
    for (const kind of Object.keys(this.#children) as ChildKind[]) {
      this.#children[kind].onChange((now, before) => this.#index(kind, now, before));
    }
    this.#pods.onChange((now, before) => this.#indexPod(now, before));
  }

  /** Resolves when there is a copy of everything. */
  async start(): Promise<void> {
    await Promise.all(this.#copies.map((copy) => copy.start()));
  }

  get #copies(): Copy<StoredObject>[] {
    return [this.owners, ...Object.values(this.#children), this.#pods] as Copy<StoredObject>[];
  }

  /** Whether everything is watched now. */
  get isConnected(): boolean {
    return this.#copies.every((copy) => copy.isConnected);
  }

  async observe(owner: string): Promise<Observed> {
    const { namespace, name } = placeOf(owner);
    const resource = this.owners.get(namespace, name);
    if (!resource) return { units: {}, fronts: {} };
    const children = [...(this.#owned.get(resource.metadata.uid ?? '')?.values() ?? [])];
    const of = <T>(wanted: ChildKind) => children.flatMap(({ kind, object }) => (kind === wanted ? [object as T] : []));
    return observedOf({
      namespace,
      deployments: of<LiveDeployment>('Deployment'),
      configMaps: of<LiveConfigMap>('ConfigMap'),
      services: of<LiveService>('Service'),
      pods: [...(this.#podsOf.get(`${namespace}/${name}`)?.values() ?? [])],
      statusOf: (uid) => this.#statuses.get(uid),
    });
  }

  /** Deployments with an overlay, which holds what nobody but the API server can judge: a dry run of each that is to change. */
  async check(owner: string, plan: UnitPlan): Promise<readonly Problem[]> {
    const laid = plan.units.filter(({ podTemplate }) => podTemplate !== undefined);
    const { namespace, name } = placeOf(owner);
    const resource = this.owners.get(namespace, name);
    if (!resource || laid.length === 0) return [];
    const units = new Map(laid.map((unit) => [unit.name, unit]));
    const problems: Problem[] = [];
    for (const object of renderObjects(resource, { units: laid, fronts: [] }, { image: this.#image })) {
      if (object.kind !== 'Deployment') continue;
      const wanted = noted(object, units);
      if (this.#isSettled(wanted)) continue;
      problems.push(...(await refusedPods(this.#client, wanted, fieldManager)));
    }
    return problems;
  }

  async apply(owner: string, plan: UnitPlan): Promise<boolean> {
    const { namespace, name } = placeOf(owner);
    const resource = this.owners.get(namespace, name);
    // What it owned goes with it: the garbage collector does that, also while the operator is away.
    if (!resource || resource.metadata.deletionTimestamp !== undefined) return false;
    const units = new Map(plan.units.map((unit) => [unit.name, unit]));
    const wanted = renderObjects(resource, plan, { image: this.#image }).map((object) => noted(object, units));
    let hasChanged = false;
    let missing: unknown;
    for (const object of wanted) {
      try {
        if (object.kind === 'HTTPRoute') await this.#routes.ensure();
        if (await this.#put(resource, object)) hasChanged = true;
      } catch (error) {
        // All the rest is made without it.
        if (errorCodeOf(error) !== 'KindMissing') throw error;
        missing = error;
      }
    }
    for (const unit of plan.units) if (await this.#scale(namespace, unit)) hasChanged = true;
    if (await this.#prune(resource, wanted)) hasChanged = true;
    if (missing !== undefined) throw missing;
    return hasChanged;
  }

  watch(changed: (owner: string) => void): void {
    this.#changed = changed;
    this.owners.onChange((now, before) => {
      const { namespace = '', name = '' } = (now ?? before)?.metadata ?? {};
      changed(this.#keyOf(namespace, name));
    });
  }

  /** Ends the watches; what runs on the cluster goes on. */
  async close(): Promise<void> {
    this.#statuses.close();
    await Promise.all(this.#copies.map((copy) => copy.close()));
  }

  async #put(owner: OwnerObject, object: KubernetesObject): Promise<boolean> {
    const kind = object.kind as ChildKind;
    const { namespace = '', name } = object.metadata;
    const copy = this.#children[kind];
    const found = copy.get(namespace, name) ?? (await this.#stranger(kind, namespace, name));
    if (found) refuseOthers(owner, kind, found);
    if (found && this.#isSettled(object)) return false;
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
  #isSettled(object: KubernetesObject): boolean {
    const found = this.#children[object.kind as ChildKind].get(object.metadata.namespace ?? '', object.metadata.name);
    if (!found) return false;
    if (isApplied(object, found)) return true;
    const { key, text } = this.#asFutile(object);
    return this.#futile.get(key) === text;
  }

  #asFutile(object: KubernetesObject): { key: string; text: string } {
    const { kind, metadata } = object;
    const found = this.#children[kind as ChildKind].get(metadata.namespace ?? '', metadata.name);
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

  async #scale(namespace: string, { name, replicas }: Unit): Promise<boolean> {
    const copy = this.#children.Deployment;
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

  async #prune(owner: OwnerObject, wanted: readonly KubernetesObject[]): Promise<boolean> {
    const kept = new Set(wanted.map(({ kind, metadata }) => `${kind}/${metadata.name}`));
    const owned = [...(this.#owned.get(owner.metadata.uid ?? '')?.values() ?? [])];
    let hasChanged = false;
    for (const kind of Object.keys(childTypes) as ChildKind[]) {
      for (const { kind: of, object } of owned) {
        if (of !== kind || kept.has(`${kind}/${object.metadata.name}`)) continue;
        if (object.metadata.deletionTimestamp !== undefined || this.#isInUse(kind, object)) continue;
        await this.#delete(kind, object);
        hasChanged = true;
      }
    }
    return hasChanged;
  }

  /** Pods of an older template may still be started from their configuration. */
  #isInUse(kind: ChildKind, { metadata }: StoredObject): boolean {
    if (kind !== 'ConfigMap') return false;
    const { [modelLabel]: model = '', [versionLabel]: version = '' } = metadata.labels ?? {};
    const name = versionName(model, version);
    const found = this.#children.Deployment.get(metadata.namespace ?? '', name) as LiveDeployment | undefined;
    const { generation = 0 } = found?.metadata ?? {};
    const { observedGeneration = 0, replicas = 0, updatedReplicas = 0 } = found?.status ?? {};
    return found !== undefined && (observedGeneration < generation || replicas !== updatedReplicas || replicas === 0);
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
    await this.#children[kind].landed(object, true);
  }

  #index(kind: ChildKind, now: StoredObject | undefined, before: StoredObject | undefined): void {
    const key = `${kind} ${objectKey((now ?? before) as StoredObject)}`;
    const was = controllerOf(before);
    const is = controllerOf(now);
    if (was && was.uid !== is?.uid) {
      const all = this.#owned.get(was.uid);
      all?.delete(key);
      if (all?.size === 0) this.#owned.delete(was.uid);
      this.#tell(before, was.name);
    }
    if (!now || !is) return;
    const all = this.#owned.get(is.uid) ?? new Map();
    all.set(key, { kind, object: now });
    this.#owned.set(is.uid, all);
    this.#tell(now, is.name);
  }

  #indexPod(now: LivePod | undefined, before: LivePod | undefined): void {
    const pod = (now ?? before) as LivePod;
    const { namespace = '', labels = {}, uid = '' } = pod.metadata;
    const key = `${namespace}/${labels[modelLabel]}`;
    const all = this.#podsOf.get(key) ?? new Map<string, LivePod>();
    if (now) {
      all.set(uid, now);
      this.#podsOf.set(key, all);
      this.#statuses.put(now);
    } else {
      all.delete(uid);
      if (all.size === 0) this.#podsOf.delete(key);
      this.#statuses.remove(pod);
    }
    this.#tellOfPod(pod);
  }

  #tellOfPod(pod: LivePod): void {
    const model = pod.metadata.labels?.[modelLabel];
    if (model !== undefined) this.#tell(pod, model);
  }

  #tell(object: StoredObject | undefined, owner: string): void {
    this.#changed(this.#keyOf(object?.metadata.namespace ?? '', owner));
  }
}

/** An owner's key ends with its namespace and name. */
function placeOf(owner: string): { namespace: string; name: string } {
  const [namespace = '', name = ''] = owner.split('/').slice(-2);
  return { namespace, name };
}

const controllerOf = (object: StoredObject | undefined) =>
  object?.metadata.ownerReferences?.find(({ controller }) => controller === true);

/** @throws LevadaError ObjectTaken: nothing that others made is changed */
function refuseOthers(owner: OwnerObject, kind: ChildKind, found: StoredObject): void {
  const controller = controllerOf(found);
  if (controller?.uid === owner.metadata.uid) return;
  const by = controller ? `${controller.kind} ${controller.name}` : 'somebody else';
  throw new LevadaError('ObjectTaken', { kind, name: found.metadata.name, owner: by });
}

/** With the notes by which it is known again, and without replicas, which have another writer. */
function noted(object: KubernetesObject, units: ReadonlyMap<string, Unit>): KubernetesObject {
  if (object.kind !== 'Deployment') return object;
  const { replicas: _, template, ...spec } = object.spec as { replicas: number; template: { metadata: object } };
  const annotations = { [templateAnnotation]: contentHash(JSON.stringify(template)) };
  return {
    ...object,
    metadata: {
      ...object.metadata,
      annotations: { [unitAnnotation]: noteOf(units.get(object.metadata.name)) },
    },
    spec: { ...spec, template: { ...template, metadata: { ...template.metadata, annotations } } },
  };
}

function noteOf(unit: Unit | undefined): string {
  if (!unit) throw new Error('a Deployment that no unit of the plan stands for');
  const { resolvedSha256: _, ...config } = unit.config;
  return JSON.stringify({ ...unit, config });
}
