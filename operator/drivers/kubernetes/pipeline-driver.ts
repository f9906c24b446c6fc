import { isDeepStrictEqual } from 'node:util';
import { namespacedName, placeOf } from '../../../api/contract/names.ts';
import type { BrokerState } from '../../../api/contract/pipeline.ts';
import { errorCodeOf, type Problem } from '../../../api/errors.ts';
import type { EventPipeline } from '../../../api/v1alpha1/event-pipeline.ts';
import type { InHand } from '../../../brokers/rabbitmq/broker.ts';
import type { Message } from '../../../runtime/events/message.ts';
import type { KubeClient } from '../../engine/client.ts';
import type { Told } from '../../engine/events.ts';
import { pathOf, type StoredObject } from '../../engine/objects.ts';
import { pipelineLabel } from '../../objects/labels.ts';
import { planFile } from '../../objects/pipeline/config.ts';
import { renderPipeline } from '../../objects/pipeline/render.ts';
import { pipelineUnits } from '../../objects/pipeline/units.ts';
import { nothingOf } from '../../plan/pipeline/leaving.ts';
import { planParts } from '../../plan/pipeline/parts.ts';
import { isLeaving, type Observed, type PipelinePlan, type Release, type UnitPlan } from '../../plan/units.ts';
import type { Driver } from '../driver.ts';
import { Ghosts, inHandOf } from '../hands.ts';
import type { StepReport } from '../routing/report.ts';
import type { Signer } from '../routing/signing.ts';
import type { Pauses } from './asked.ts';
import { BrokerSecrets, type SecretPlace } from './broker-secret.ts';
import { Brokers } from './brokers.ts';
import type { Children } from './children.ts';
import type { Copy } from './copies.ts';
import { setFinalizer } from './finalizer.ts';
import { type Figures, observedPipeline } from './observe-pipeline.ts';
import { PipelineBroker, unknownBroker } from './pipeline-broker.ts';
import { OwnedPods } from './pods.ts';
import { refusedParts } from './refused.ts';
import { type LiveConfigMap, type LiveDeployment, type LivePod, namespaces } from './types.ts';
import { type UnitStatus, unitAnswers } from './unit-status.ts';

export interface PipelineDriverOptions {
  readonly client: KubeClient;
  readonly owners: Copy<OwnerObject>;
  readonly children: Children;
  readonly pods: Copy<LivePod>;
  /** Of every pod. */
  readonly image: string;
  readonly pauses?: Pauses;
  /** Whose key tells whether a Secret is the same. */
  readonly signer: () => Promise<Signer>;
  /** The Secret of the broker of pipelines that name none. */
  readonly broker?: SecretPlace;
  /** Milliseconds between two looks at queues and Secrets of a pipeline. */
  readonly lookMs?: number;
  /** Writes an event. Never rejects. */
  readonly tell: (resource: OwnerObject, told: Told) => Promise<void>;
  readonly log: (text: string, about?: object) => void;
}

type OwnerObject = EventPipeline & StoredObject;

/** What this process knows of a pipeline beyond what the API server does. */
interface Kept {
  readonly broker: PipelineBroker;
  /** As it was asked for last. */
  wanted?: PipelinePlan;
  /** As the broker was told last. */
  applied?: PipelinePlan;
  /** What was so of the broker when it could not be told last. */
  failed?: BrokerState;
  /** Pods with overlays that the API server takes, as JSON. */
  taken?: string;
  /** Whether the copy of the operator's Secret has been looked for. */
  hasNoCopy?: boolean;
  /** Monotonic milliseconds. */
  lookAt: number;
  mendAt: number;
}

/** While something is being emptied, milliseconds. */
const quickMs = 2_000;

/**
 * Runs pipelines: queues in a broker, and Deployments whose pods take from them. What was applied last is in a ConfigMap, what
 * there is in the broker in its record: a restarted operator finds both.
 */
export class PipelineDriver implements Driver {
  readonly #options: PipelineDriverOptions;
  readonly #lookMs: number;
  readonly #pods: OwnedPods<UnitStatus>;
  readonly #secrets: BrokerSecrets;
  readonly #brokers: Brokers;
  readonly #ghosts = new Ghosts();
  readonly #kept = new Map<string, Kept>();
  /** Looks that are under way, also at what is forgotten meanwhile. Never reject. */
  readonly #looks = new Map<Kept, Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #changed: (owner: string) => void = () => {};

  constructor(options: PipelineDriverOptions) {
    const { client, signer, broker, lookMs = 30_000, log } = options;
    this.#options = options;
    this.#lookMs = lookMs;
    this.#secrets = new BrokerSecrets(client, signer, broker);
    this.#brokers = new Brokers({
      inHand: (pipeline, queue, name) => this.#inHand(pipeline, queue, name),
      changed: (pipeline) => this.#changed(keyOf(pipeline)),
      log,
    });
    this.#pods = new OwnedPods<UnitStatus>(options.pods, {
      label: pipelineLabel,
      answers: unitAnswers,
      ...(options.pauses && { pauses: options.pauses }),
      changed: (namespace, name) => this.#changed(keyOf(`${namespace}/${name}`)),
      said: (pod, now, before) => this.#heard(pod, now, before),
      ended: (pod, last) => this.#ended(pod, last),
    });
    options.children.onChange((kind, namespace, name) => {
      if (kind === 'EventPipeline') this.#changed(keyOf(`${namespace}/${name}`));
    });
    this.#timer = setInterval(() => this.#lookAtDue(), Math.min(500, lookMs / 2));
  }

  watch(changed: (owner: string) => void): void {
    this.#changed = changed;
    this.#options.owners.onChange((now, before) => {
      const { metadata } = (now ?? before) as OwnerObject;
      changed(keyOf(namespacedName(metadata)));
    });
  }

  async observe(owner: string): Promise<Observed> {
    const nothing: Observed = { units: {}, fronts: {} };
    const { namespace, name } = placeOf(owner);
    const resource = this.#options.owners.get(namespace, name);
    if (!resource) return nothing;
    const kept = this.#keptOf(owner);
    const isGoing = isLeaving(resource);
    const note = kept.applied ?? this.#noteOf(resource);
    const asked = kept.wanted ?? note ?? (isGoing ? leftOf(resource) : undefined);
    if (!asked) return nothing;
    const { broker } = kept;
    await broker.reach(asked.broker?.secret);
    // After a restart: then the broker's record is read, and what is in it counted.
    if (!broker.told) await broker.tell(asked.topology);
    if (!broker.figures) await broker.look(false);
    const { children } = this.#options;
    const pipeline = observedPipeline({
      applied: note ?? nothingOf(asked),
      deployments: children.of<LiveDeployment>(resource, 'Deployment'),
      pods: this.#pods.of(namespace, name),
      statusOf: (uid) => this.#pods.statusOf(uid),
      silenceOf: (uid) => this.#pods.silenceOf(uid),
      figures: broker.figures ?? figuresIn(resource),
      lostAt: broker.lostAt,
      broker: broker.state(isGoing),
      namespaceEnds: isGoing && (await this.#isEnding(namespace)),
    });
    return { units: {}, fronts: {}, pipeline };
  }

  /** Pods with an overlay: a dry run of each, whenever any of them is to change. */
  async check(owner: string, { pipeline }: UnitPlan): Promise<readonly Problem[]> {
    const { client, owners, image } = this.#options;
    const { namespace, name } = placeOf(owner);
    const resource = owners.get(namespace, name);
    // In a namespace that ends nothing can be made, so nothing can be asked.
    if (!resource || !pipeline?.pods || isLeaving(resource)) return [];
    const asked = JSON.stringify([pipeline.pods, pipeline.containers, pipelineUnits(pipeline).map(({ name }) => name)]);
    const kept = this.#keptOf(owner);
    if (kept.taken === asked) return [];
    const problems = await refusedParts(client, resource, pipeline, image);
    if (problems.length === 0) kept.taken = asked;
    return problems;
  }

  async apply(owner: string, plan: UnitPlan): Promise<boolean> {
    const { client, owners } = this.#options;
    const { namespace, name } = placeOf(owner);
    const resource = owners.get(namespace, name);
    const { pipeline, release } = plan;
    if (!resource) {
      await this.#forget(owner);
      return false;
    }
    if (release) return await this.#release(owner, resource, release);
    if (!pipeline) return false;
    const isGoing = isLeaving(resource);
    const kept = this.#keptOf(owner);
    kept.wanted = pipeline;
    // Before there is anything in the broker.
    const isNew = !isGoing && (await setFinalizer(client, owners, resource, true));
    const { broker } = kept;
    await broker.reach(pipeline.broker?.secret);
    const toldBefore = broker.told;
    const placement = broker.failure && !isGoing ? undefined : await broker.tell(pipeline.topology);
    if (!placement) {
      // It is said in the next status, and tried again at the next look.
      const state = broker.state(isGoing);
      if (!isDeepStrictEqual(kept.failed, state)) this.#changed(owner);
      kept.failed = state;
      return isNew;
    }
    delete kept.failed;
    if (broker.told !== toldBefore) await broker.look(false);
    const hasChanged = !isDeepStrictEqual(kept.applied ?? this.#noteOf(resource), pipeline);
    kept.applied = pipeline;
    kept.lookAt = Math.min(kept.lookAt, performance.now() + this.#pauseOf(kept, isGoing));
    const isDone = await this.#makeObjects(resource, kept, pipeline, placement);
    if (hasChanged || broker.told !== toldBefore) this.#changed(owner);
    return isDone || hasChanged || isNew;
  }

  /** What the pods of a step say now of the trials of models' versions. Never rejects. */
  async trials(pipeline: string, step: string): Promise<StepReport[]> {
    const { namespace, name } = placeOf(pipeline);
    await this.#pods.refresh(namespace, name);
    return this.#pods.of(namespace, name).flatMap(({ metadata: { uid = '' } }) => {
      const { consumers, beganAt } = this.#pods.statusOf(uid) ?? {};
      const trials = consumers?.[step]?.trials;
      return trials ? [{ process: uid, trials, ...(beganAt !== undefined && { beganAt }) }] : [];
    });
  }

  /**
   * Puts a message into the queues of a pipeline that are bound to `key`. Resolves when its broker has it.
   *
   * @throws as {@link PipelineBroker.publish}
   */
  async publish(pipeline: string, message: Message, key: string): Promise<void> {
    const { broker } = this.#kept.get(keyOf(pipeline)) ?? {};
    if (!broker) throw unknownBroker(pipeline);
    await broker.publish(message, key);
  }

  /**
   * Looks at no broker by itself any more; resolves when no look is under way, for it may mend what whoever leads next
   * changes.
   */
  async pause(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#looks.values());
  }

  /** Ends connections and questions; what runs on the cluster goes on. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#pods.close();
    await this.#brokers.close();
  }

  async #makeObjects(
    resource: OwnerObject,
    kept: Kept,
    plan: PipelinePlan,
    placement: NonNullable<PipelineBroker['placement']>,
  ): Promise<boolean> {
    const { image, children } = this.#options;
    const runsNothing = plan.consumers.length + plan.sources.length === 0;
    // In a namespace that ends nothing can be made.
    if (isLeaving(resource) && runsNothing) return await children.prune(resource, []);
    if (!plan.broker && kept.broker.secret) await this.#secrets.copyTo(resource, kept.broker.secret.data);
    const secretVersion = kept.broker.secret?.version;
    const options = { image, placement, ...(secretVersion !== undefined && { secretVersion }) };
    const hasChanged = await children.putAll(resource, renderPipeline(resource, plan, options));
    await this.#dropCopy(resource, kept, plan);
    return hasChanged;
  }

  /**
   * What pods mount is their own Secret, or a copy of the operator's, which goes once no older pod may be started anew: each
   * change of a Deployment is a look.
   */
  async #dropCopy(resource: OwnerObject, kept: Kept, { broker }: PipelinePlan): Promise<void> {
    if (!broker) kept.hasNoCopy = false;
    else if (kept.hasNoCopy !== true && !this.#options.children.areRolling(resource)) {
      await this.#secrets.dropCopy(resource);
      kept.hasNoCopy = true;
    }
  }

  async #release(owner: string, resource: OwnerObject, { left }: Release): Promise<boolean> {
    const { client, owners, tell, log } = this.#options;
    if (left !== undefined) {
      log(`${owner} is deleted: ${left}`);
      await tell(resource, { type: 'Warning', reason: 'LeftBehind', message: `It is deleted; ${left}.` });
    }
    await this.#forget(owner);
    return await setFinalizer(client, owners, resource, false);
  }

  async #forget(owner: string): Promise<void> {
    const kept = this.#kept.get(owner);
    this.#kept.delete(owner);
    await kept?.broker.leave();
  }

  #keptOf(owner: string): Kept {
    const found = this.#kept.get(owner);
    if (found) return found;
    const { namespace, name } = placeOf(owner);
    const pipeline = `${namespace}/${name}`;
    const now = performance.now();
    const broker = new PipelineBroker({
      pipeline,
      brokers: this.#brokers,
      secrets: this.#secrets,
      lookMs: this.#lookMs,
      inHand: (queue) => this.#inHand(pipeline, queue),
      refresh: () => this.#pods.refresh(namespace, name),
      moved: (from, to) => this.#moved(owner, from, to),
    });
    const kept: Kept = { broker, lookAt: now + this.#lookMs, mendAt: now + this.#lookMs };
    this.#kept.set(owner, kept);
    return kept;
  }

  /** What was applied last, as its ConfigMap says; `undefined` when there is none, or somebody has edited it. */
  #noteOf(resource: OwnerObject): PipelinePlan | undefined {
    for (const { data = {} } of this.#options.children.of<LiveConfigMap>(resource, 'ConfigMap')) {
      if (data[planFile] === undefined) continue;
      try {
        return JSON.parse(data[planFile]) as PipelinePlan;
      } catch {
        return undefined;
      }
    }
    return undefined;
  }

  #inHand(pipeline: string, queue: string, name?: string): InHand {
    const { namespace, name: owner } = placeOf(pipeline);
    const said = this.#pods.of(namespace, owner).flatMap(({ metadata: { uid = '' } }) => {
      const status = this.#pods.statusOf(uid);
      return status ? [status.consumers] : [];
    });
    const { unsettled, delayed } = inHandOf(said, queue, name);
    return { unsettled, delayed: delayed + this.#ghosts.delayed(pipeline, queue, performance.now()) };
  }

  #heard({ metadata: { namespace = '', labels = {} } }: LivePod, now: UnitStatus, before?: UnitStatus): void {
    if ((now.missing ?? 0) <= (before?.missing ?? 0)) return;
    const kept = this.#kept.get(keyOf(`${namespace}/${labels[pipelineLabel]}`));
    if (kept) kept.lookAt = kept.mendAt = performance.now();
  }

  #ended({ metadata: { namespace = '', labels = {} } }: LivePod, { consumers }: UnitStatus): void {
    const pipeline = `${namespace}/${labels[pipelineLabel]}`;
    const { applied } = this.#kept.get(keyOf(pipeline)) ?? {};
    const delayed = Object.entries(consumers).map(([name, state]) => [name, state.delayed] as const);
    this.#ghosts.remember(pipeline, applied?.consumers ?? [], Object.fromEntries(delayed), performance.now());
  }

  #moved(owner: string, from: string, to: string): void {
    const { namespace, name } = placeOf(owner);
    const resource = this.#options.owners.get(namespace, name);
    const message = `Its broker is ${to} now. What waits in ${from} stays there.`;
    if (resource) void this.#options.tell(resource, { type: 'Warning', reason: 'BrokerChanged', message });
  }

  #lookAtDue(): void {
    const now = performance.now();
    for (const [owner, kept] of this.#kept) {
      if (this.#looks.has(kept) || now < kept.lookAt) continue;
      const look = this.#look(owner, kept)
        .catch((error: unknown) => this.#options.log(`${owner} could not be looked at`, { error: String(error) }))
        .then(() => void this.#looks.delete(kept));
      this.#looks.set(kept, look);
    }
  }

  async #look(owner: string, kept: Kept): Promise<void> {
    const { broker, wanted } = kept;
    const { namespace, name } = placeOf(owner);
    const resource = this.#options.owners.get(namespace, name);
    const isGoing = resource !== undefined && isLeaving(resource);
    const startedAt = performance.now();
    const isMend = startedAt >= kept.mendAt;
    if (isMend) kept.mendAt = startedAt + this.#lookMs;
    const hasOther = isMend && (await broker.hasOtherSecret(wanted?.broker?.secret));
    // What could not be made is tried again.
    const isPending = isMend && wanted !== undefined && !isDeepStrictEqual(broker.told, wanted.topology);
    const { changed: hasMoved, failed } = await broker.look(isMend);
    // A pod has said that something is missing, maybe: that does not wait for the next round.
    if (isMend && failed) kept.mendAt = Math.min(kept.mendAt, performance.now() + quickMs);
    kept.lookAt = Math.min(performance.now() + this.#pauseOf(kept, isGoing), kept.mendAt);
    if (hasOther || isPending || hasMoved) this.#changed(owner);
  }

  /** Until the next look. */
  #pauseOf({ applied, broker }: Kept, isGoing: boolean): number {
    const isEmptying = applied?.topology.queues.some(({ bindings, adopts }) => bindings.length === 0 && !adopts);
    return isGoing || isEmptying === true || broker.isMigrating ? Math.min(quickMs, this.#lookMs) : this.#lookMs;
  }

  /** Never rejects: without the right to know it, it is as if it stayed. */
  async #isEnding(namespace: string): Promise<boolean> {
    try {
      const path = pathOf(namespaces, { name: namespace });
      const { metadata } = await this.#options.client.call<StoredObject>({ method: 'GET', path });
      return metadata.deletionTimestamp !== undefined;
    } catch (error) {
      if (errorCodeOf(error) === undefined) throw error;
      return errorCodeOf(error) === 'ClusterNotFound';
    }
  }
}

const keyOf = (pipeline: string): string => `EventPipeline/${pipeline}`;

/** Of a pipeline that goes, and of which nothing is noted: which broker may have something of it. It may not be valid. */
function leftOf(resource: OwnerObject): PipelinePlan | undefined {
  try {
    return nothingOf(planParts(resource));
  } catch {
    return undefined;
  }
}

/** What the status says, as long as nobody can look. */
function figuresIn({ status }: OwnerObject): Record<string, Figures> {
  return Object.fromEntries(
    (status?.steps ?? []).map(({ name, backlog, deadLetters }) => [
      name,
      { waiting: backlog, inFlight: 0, dead: deadLetters },
    ]),
  );
}
