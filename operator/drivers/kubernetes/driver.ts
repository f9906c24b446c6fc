import { placeOf } from '../../../api/contract/names.ts';
import type { Problem } from '../../../api/errors.ts';
import type { EventPipeline } from '../../../api/v1alpha1/event-pipeline.ts';
import type { ModelDeployment } from '../../../api/v1alpha1/model-deployment.ts';
import type { Resource } from '../../../api/v1alpha1/resource.ts';
import type { KubeClient } from '../../engine/client.ts';
import type { StoredObject } from '../../engine/objects.ts';
import type { Observed, UnitPlan } from '../../plan/units.ts';
import { Announcing } from '../announcing.ts';
import type { Driver } from '../driver.ts';
import { driverByKind } from '../kinds.ts';
import type { AskSteps } from '../routing/report.ts';
import { Children, type Started } from './children.ts';
import { Copy, type WatchedPlaces } from './copies.ts';
import { ModelDriver, type ModelDriverOptions } from './model-driver.ts';
import { PipelineDriver, type PipelineDriverOptions } from './pipeline-driver.ts';
import { eventPipelines, type LivePod, modelDeployments, ours, pods } from './types.ts';

export interface KubernetesOptions
  extends WatchedPlaces,
    Pick<ModelDriverOptions, 'image' | 'pauses' | 'signer'>,
    Pick<PipelineDriverOptions, 'broker' | 'lookMs' | 'tell' | 'log'> {}

/** Runs what both kinds come to on a cluster, with one copy of what there is for both. */
export class KubernetesDriver implements Driver {
  readonly models: Copy<ModelDeployment & StoredObject>;
  readonly pipelines: Copy<EventPipeline & StoredObject>;
  readonly #copies: readonly Started[];
  readonly #driver: Driver;
  readonly #pipelines: PipelineDriver;

  constructor(client: KubeClient, options: KubernetesOptions) {
    const children = new Children(client, options);
    const podCopy = new Copy<LivePod>(client, pods, options, ours);
    const { image, pauses, broker, lookMs, tell, log, signer } = options;
    const shared = { client, children, pods: podCopy, image, ...(pauses && { pauses }) };
    this.models = new Copy<ModelDeployment & StoredObject>(client, modelDeployments, options);
    this.pipelines = new Copy<EventPipeline & StoredObject>(client, eventPipelines, options);
    this.#copies = [this.models, this.pipelines, ...children.copies, podCopy];
    const pipelines = new PipelineDriver({
      ...shared,
      owners: this.pipelines,
      signer,
      ...(broker && { broker }),
      ...(lookMs !== undefined && { lookMs }),
      tell,
      log,
    });
    this.#pipelines = pipelines;
    const askSteps: AskSteps = (pipeline, step) => pipelines.trials(pipeline, step);
    this.#driver = driverByKind({
      ModelDeployment: new Announcing(new ModelDriver({ ...shared, owners: this.models, signer, log, askSteps }), {
        publish: (pipeline, message, key) => pipelines.publish(pipeline, message, key),
        log,
      }),
      EventPipeline: pipelines,
    });
  }

  /** Resolves when there is a copy of everything. */
  async start(): Promise<void> {
    await Promise.all(this.#copies.map((copy) => copy.start()));
  }

  /** Whether everything is watched now. */
  get isConnected(): boolean {
    return this.#copies.every((copy) => copy.isConnected);
  }

  /** @throws LevadaError Cluster… also where one kind cannot be listed in its namespace: what is there of it is not known */
  async observe(owner: string, resource?: Resource): Promise<Observed> {
    const { namespace } = placeOf(owner);
    for (const copy of this.#copies) {
      const absence = copy.absenceIn?.(namespace);
      if (absence !== undefined) throw absence;
    }
    return await this.#driver.observe(owner, resource);
  }

  async check(owner: string, plan: UnitPlan): Promise<readonly Problem[]> {
    return (await this.#driver.check?.(owner, plan)) ?? [];
  }

  apply(owner: string, plan: UnitPlan): Promise<boolean> {
    return this.#driver.apply(owner, plan);
  }

  /** A pipeline may also change with what it refers to. */
  watch(changed: (owner: string) => void): void {
    this.#driver.watch(changed);
    for (const copy of [this.models, this.pipelines] as unknown as Copy<StoredObject>[]) {
      copy.onChange((now, before) => {
        if (now && before && now.metadata.generation === before.metadata.generation) return;
        const { namespace = '' } = (now ?? before)?.metadata ?? {};
        for (const { metadata } of this.pipelines.values()) {
          if (metadata.namespace === namespace) changed(`EventPipeline/${namespace}/${metadata.name}`);
        }
      });
    }
  }

  /** Looks at nothing by itself any more; resolves when no look is under way. */
  async pause(): Promise<void> {
    await this.#pipelines.pause();
  }

  /** Ends the watches; what runs on the cluster goes on. */
  async close(): Promise<void> {
    await this.#driver.close();
    await Promise.all(this.#copies.map((copy) => copy.close()));
  }
}
