import type { ModelServerStatus } from '../../../api/contract/model-server.ts';
import type { Problem } from '../../../api/errors.ts';
import type { ModelDeployment } from '../../../api/v1alpha1/model-deployment.ts';
import type { KubeClient } from '../../engine/client.ts';
import type { StoredObject } from '../../engine/objects.ts';
import { modelLabel } from '../../objects/labels.ts';
import type { KubernetesObject } from '../../objects/metadata.ts';
import { renderObjects } from '../../objects/render.ts';
import type { Observed, Unit, UnitPlan } from '../../plan/units.ts';
import type { Driver } from '../driver.ts';
import { type Answers, failureIn, type Pauses } from './asked.ts';
import { type Children, fieldManager, noted, placeOf } from './children.ts';
import type { Copy } from './copies.ts';
import { observedOf } from './observe.ts';
import { OwnedPods } from './pods.ts';
import { refusedPods } from './refused.ts';
import { type LiveConfigMap, type LiveDeployment, type LivePod, type LiveService, unitAnnotation } from './types.ts';

export interface ModelDriverOptions {
  readonly client: KubeClient;
  readonly owners: Copy<OwnerObject>;
  readonly children: Children;
  readonly pods: Copy<LivePod>;
  /** Of every pod. */
  readonly image: string;
  /** The name by which owners are known. Default: `ModelDeployment/namespace/name`. */
  readonly keyOf?: (namespace: string, name: string) => string;
  readonly pauses?: Pauses;
}

type OwnerObject = ModelDeployment & StoredObject;

/** Runs units as Deployments. What it has applied is the API server's; it remembers nothing itself. */
export class ModelDriver implements Driver {
  readonly #options: ModelDriverOptions;
  readonly #pods: OwnedPods<ModelServerStatus>;
  #changed: (owner: string) => void = () => {};

  constructor(options: ModelDriverOptions) {
    this.#options = options;
    this.#pods = new OwnedPods(options.pods, {
      label: modelLabel,
      answers,
      ...(options.pauses && { pauses: options.pauses }),
      changed: (namespace, name) => this.#tell(namespace, name),
    });
    options.children.onChange((kind, namespace, name) => {
      if (kind === 'ModelDeployment') this.#tell(namespace, name);
    });
  }

  async observe(owner: string): Promise<Observed> {
    const { owners, children } = this.#options;
    const { namespace, name } = placeOf(owner);
    const resource = owners.get(namespace, name);
    if (!resource) return { units: {}, fronts: {} };
    return observedOf({
      namespace,
      deployments: children.of<LiveDeployment>(resource, 'Deployment'),
      configMaps: children.of<LiveConfigMap>(resource, 'ConfigMap'),
      services: children.of<LiveService>(resource, 'Service'),
      pods: this.#pods.of(namespace, name),
      statusOf: (uid) => this.#pods.statusOf(uid),
    });
  }

  /** Deployments with an overlay, which holds what nobody but the API server can judge: a dry run of each that is to change. */
  async check(owner: string, plan: UnitPlan): Promise<readonly Problem[]> {
    const { owners, children, client } = this.#options;
    const laid = plan.units.filter(({ podTemplate }) => podTemplate !== undefined);
    const { namespace, name } = placeOf(owner);
    const resource = owners.get(namespace, name);
    if (!resource || laid.length === 0) return [];
    const problems: Problem[] = [];
    for (const object of this.#objectsOf(resource, { units: laid, fronts: [] })) {
      const wanted = noted(object);
      if (wanted.kind !== 'Deployment' || children.isSettled(wanted)) continue;
      problems.push(...(await refusedPods(client, wanted, fieldManager)));
    }
    return problems;
  }

  async apply(owner: string, plan: UnitPlan): Promise<boolean> {
    const { owners, children } = this.#options;
    const { namespace, name } = placeOf(owner);
    const resource = owners.get(namespace, name);
    // What it owned goes with it: the garbage collector does that, also while the operator is away.
    if (!resource || resource.metadata.deletionTimestamp !== undefined) return false;
    return await children.putAll(resource, this.#objectsOf(resource, plan));
  }

  watch(changed: (owner: string) => void): void {
    this.#changed = changed;
    this.#options.owners.onChange((now, before) => {
      const { namespace = '', name = '' } = (now ?? before)?.metadata ?? {};
      this.#tell(namespace, name);
    });
  }

  /** What runs on the cluster goes on. */
  async close(): Promise<void> {
    this.#pods.close();
  }

  #objectsOf(resource: OwnerObject, plan: UnitPlan): KubernetesObject[] {
    const units = new Map(plan.units.map((unit) => [unit.name, unit]));
    return renderObjects(resource, plan, { image: this.#options.image }).map((object) => {
      if (object.kind !== 'Deployment') return object;
      const annotations = { [unitAnnotation]: noteOf(units.get(object.metadata.name)) };
      return { ...object, metadata: { ...object.metadata, annotations } };
    });
  }

  #tell(namespace: string, name: string): void {
    const { keyOf = (namespace, name) => `ModelDeployment/${namespace}/${name}` } = this.#options;
    this.#changed(keyOf(namespace, name));
  }
}

function noteOf(unit: Unit | undefined): string {
  if (!unit) throw new Error('a Deployment that no unit of the plan stands for');
  const { resolvedSha256: _, ...config } = unit.config;
  return JSON.stringify({ ...unit, config });
}

const answers: Answers<ModelServerStatus> = {
  read(value) {
    const { state, sha256, failure } = value as Partial<Record<keyof ModelServerStatus, unknown>>;
    if (state !== 'Loading' && state !== 'Loaded' && state !== 'Failed') throw new Error('not a status');
    const why = failureIn(failure);
    return {
      state,
      ...(typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256) && { sha256 }),
      ...(why && { failure: why }),
    };
  },
  isSame: (a, b) => a.state === b.state && a.sha256 === b.sha256 && a.failure?.message === b.failure?.message,
  isOpen: ({ state }) => state === 'Loading',
};
