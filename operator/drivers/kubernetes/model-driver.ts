import type { ModelServerStatus } from '../../../api/contract/model-server.ts';
import { modelService, namespacedName, placeOf } from '../../../api/contract/names.ts';
import type { RoutingStatus } from '../../../api/contract/routing-table.ts';
import type { Problem } from '../../../api/errors.ts';
import type { ModelDeployment } from '../../../api/v1alpha1/model-deployment.ts';
import type { Resource } from '../../../api/v1alpha1/resource.ts';
import type { KubeClient } from '../../engine/client.ts';
import type { StoredObject } from '../../engine/objects.ts';
import { routingConfigMapOf } from '../../objects/configmap.ts';
import { modelLabel } from '../../objects/labels.ts';
import type { KubernetesObject } from '../../objects/metadata.ts';
import { podTemplatePath } from '../../objects/pod-templates.ts';
import { renderObjects } from '../../objects/render.ts';
import type { Observed, ObservedUnit, Unit, UnitPlan } from '../../plan/units.ts';
import type { Driver } from '../driver.ts';
import { type AskSteps, routingStatus } from '../routing/report.ts';
import type { Signer } from '../routing/signing.ts';
import { type Answers, failureIn, type Pauses } from './asked.ts';
import { type Children, noted } from './children.ts';
import type { Copy } from './copies.ts';
import { observedOf, routingTableOf } from './observe.ts';
import { OwnedPods } from './pods.ts';
import { refusedPods } from './refused.ts';
import { type ClusterPeer, ClusterRouting, peerOf, takesBack } from './routing.ts';
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
  /** Of routing tables. */
  readonly signer: () => Promise<Signer>;
  /** Of the pods of pipelines. */
  readonly askSteps: AskSteps;
  readonly log: (text: string) => void;
}

type OwnerObject = ModelDeployment & StoredObject;

/** Runs units as Deployments. What it has applied is the API server's; it remembers nothing itself. */
export class ModelDriver implements Driver {
  readonly #options: ModelDriverOptions;
  readonly #pods: OwnedPods<ModelPodStatus>;
  readonly #routing: ClusterRouting;
  #changed: (owner: string) => void = () => {};

  constructor(options: ModelDriverOptions) {
    this.#options = options;
    this.#pods = new OwnedPods(options.pods, {
      label: modelLabel,
      answers,
      ...(options.pauses && { pauses: options.pauses }),
      changed: (namespace, name) => this.#tell(namespace, name),
    });
    this.#routing = new ClusterRouting({
      signer: options.signer,
      log: options.log,
      askSteps: options.askSteps,
      changed: (namespace, name) => this.#tell(namespace, name),
      took: (uid, routing) => this.#pods.took(uid, (status) => ({ ...status, routing })),
    });
    options.children.onChange((kind, namespace, name) => {
      if (kind === 'ModelDeployment') this.#tell(namespace, name);
    });
  }

  async observe(owner: string, stored?: Resource): Promise<Observed> {
    const { owners, children } = this.#options;
    const { namespace, name } = placeOf(owner);
    const resource = owners.get(namespace, name);
    if (!resource) {
      this.#routing.forget(owner);
      return { units: {}, fronts: {} };
    }
    const configMaps = children.of<LiveConfigMap>(resource, 'ConfigMap');
    const table = routingTableOf(configMaps, name)?.table;
    // Who leads anew would take what it has not heard of for not ready, and out of the table.
    if (table) await this.#pods.known(namespace, name);
    const observed = observedOf({
      namespace,
      deployments: children.of<LiveDeployment>(resource, 'Deployment'),
      configMaps,
      services: children.of<LiveService>(resource, 'Service'),
      pods: this.#pods.of(namespace, name),
      statusOf: (uid) => this.#pods.statusOf(uid),
      silenceOf: (uid) => this.#pods.silenceOf(uid),
    });
    // What has been loaded is not known yet, and pods may have said it before somebody listened.
    const isUnresolved = ({ unit }: ObservedUnit) => unit.config.resolvedSha256 === undefined;
    if (Object.values(observed.units).some(isUnresolved)) this.#pods.hurry(namespace, name);
    const serving = observed.units[observed.fronts[modelService(name)]?.target ?? '']?.unit.version;
    const routing = await this.#routing.observe({
      owner,
      resource: stored ?? resource,
      table,
      peers: this.#peersOf(namespace, name),
      serving,
    });
    return { ...observed, ...(routing && { routing }) };
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
      problems.push(...(await refusedPods(client, wanted, podTemplatePath())));
    }
    return problems;
  }

  async apply(owner: string, plan: UnitPlan): Promise<boolean> {
    const { owners, children } = this.#options;
    const { namespace, name } = placeOf(owner);
    const resource = owners.get(namespace, name);
    if (!resource) this.#routing.forget(owner);
    // What it owned goes with it: the garbage collector does that, also while the operator is away.
    if (!resource || resource.metadata.deletionTimestamp !== undefined) return false;
    const peers = this.#peersOf(namespace, name);
    const before = routingTableOf(children.of<LiveConfigMap>(resource, 'ConfigMap'), name)?.table;
    const routed =
      plan.routing && (await this.#routing.sign(namespacedName(resource.metadata), plan.routing, peers, before));
    const objects = this.#objectsOf(resource, plan);
    const table = routed ? [routingConfigMapOf(resource, routed)] : [];
    // Whatever cannot be made besides, a version that goes back gets nothing more.
    let isDue = routed !== undefined && takesBack(routed.signed.table, peers);
    try {
      return await children.putAll(resource, [...table, ...this.#frontsFirst(resource, plan, objects)], (made) => {
        if (made === table[0]) isDue = true;
      });
    } finally {
      // Those that do not answer are told again later: nothing waits for it.
      if (routed && isDue) void this.#routing.tell(owner, routed.signed, peers);
    }
  }

  /** Services whose pods are there already move before anything else can fail. */
  #frontsFirst(resource: OwnerObject, { fronts }: UnitPlan, objects: readonly KubernetesObject[]): KubernetesObject[] {
    const running = this.#options.children.of<LiveDeployment>(resource, 'Deployment');
    const isThere = (unit: string) => running.some(({ metadata }) => metadata.name === unit);
    const first = new Set(fronts.flatMap(({ service, target }) => (isThere(target) ? service : [])));
    const isFirst = ({ kind, metadata }: KubernetesObject) => kind === 'Service' && first.has(metadata.name);
    return [...objects.filter(isFirst), ...objects.filter((object) => !isFirst(object))];
  }

  #peersOf(namespace: string, name: string): ClusterPeer[] {
    return this.#pods
      .of(namespace, name)
      .flatMap((pod) => peerOf(pod, this.#pods.statusOf(pod.metadata.uid ?? '')) ?? []);
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
    this.#routing.close();
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

/** What a pod says of itself, and of its routing table. */
export type ModelPodStatus = ModelServerStatus & { readonly routing?: RoutingStatus };

const answers: Answers<ModelPodStatus> = {
  read(value) {
    const { state, sha256, failure, routing } = value as Partial<Record<keyof ModelPodStatus, unknown>>;
    if (state !== 'Loading' && state !== 'Loaded' && state !== 'Failed') throw new Error('not a status');
    const why = failureIn(failure);
    return {
      state,
      ...(typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256) && { sha256 }),
      ...(why && { failure: why }),
      routing: routingStatus.parse(routing ?? {}) as RoutingStatus,
    };
  },
  isSame: (a, b) =>
    a.state === b.state &&
    a.sha256 === b.sha256 &&
    a.failure?.message === b.failure?.message &&
    a.routing?.generation === b.routing?.generation,
  mayWait: true,
  likely: ({ state }) => (({ Loading: 'soon', Failed: 'maybe', Loaded: 'never' }) as const)[state],
};
