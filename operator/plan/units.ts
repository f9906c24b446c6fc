import type { Announcement } from '../../api/contract/model-events.ts';
import type { ModelServerConfig } from '../../api/contract/model-server.ts';
import type { Mounted } from '../../api/contract/model-uri.ts';
import type { BrokerState, Failure, PipelineParts, QueueState, SourceState } from '../../api/contract/pipeline.ts';
import type { RoutingTable, VersionWeight } from '../../api/contract/routing-table.ts';
import type { Expose } from '../../api/v1alpha1/expose.ts';
import type { PodTemplate, Resources } from '../../api/v1alpha1/pod-template.ts';
import type { Resource, ResourceStatus } from '../../api/v1alpha1/resource.ts';
import type { RolloutEvent, Traffic } from './rollout/types.ts';

/** Where it is to run: what one has the other may lack. */
export type Place = 'Laptop' | 'Cluster';

/** Whether it has been deleted, and waits for what is to be done first. */
export const isLeaving = ({ metadata }: Pick<Resource, 'metadata'>): boolean =>
  metadata['deletionTimestamp'] !== undefined;

/** What plan yields, in no orchestrator's terms. `objects/` renders units for Kubernetes, `drivers/local` starts them. */
export type Unit = ModelVersionUnit;

/** A set of processes that serve one version of one model. */
export interface ModelVersionUnit {
  readonly kind: 'model-version';
  /** `<model>-<version>`: also the name of the Service that reaches just this version. */
  readonly name: string;
  readonly model: string;
  readonly version: string;
  readonly replicas: number;
  readonly resources: Resources | undefined;
  readonly serviceAccountName?: string;
  /** Laid over what a cluster makes of it. */
  readonly podTemplate?: PodTemplate;
  /** Volumes that its files are in. */
  readonly mounts?: readonly Mounted[];
  /** All but `listen`, which each driver knows; paths are those inside the pod. */
  readonly config: Omit<ModelServerConfig, 'listen'>;
}

/** The Service that callers use, and the unit that it leads to. */
export interface Front {
  readonly service: string;
  /** Name of a unit in the same plan. */
  readonly target: string;
  /** How it is reached from outside of a cluster. */
  readonly expose?: Expose;
}

/** Which version answers which request: the routing table, but for what a driver knows (addresses, generation, signature). */
export type RoutingPlan = Omit<RoutingTable, 'resource' | 'generation' | 'addresses' | 'judges'>;

export interface UnitPlan {
  /** In a fixed order: the one that serves, then the one that is to. */
  readonly units: readonly Unit[];
  readonly fronts: readonly Front[];
  /** Absent: there is nothing to share out, and there never was. */
  readonly routing?: RoutingPlan;
  readonly pipeline?: PipelinePlan;
  /** Of a model: what pipelines are to be told now. */
  readonly announce?: readonly Announcement[];
  /** The resource is being deleted, and nothing of it is left to do: it may go. */
  readonly release?: Release;
}

export interface Release {
  /** What stays outside of the cluster, and that somebody should know of. */
  readonly left?: string;
}

/** What a pipeline comes to: queues, and what puts messages in and takes them out. */
export interface PipelinePlan extends PipelineParts {
  /** `container` steps: their handlers run beside the consumer. */
  readonly containers: ReadonlyArray<{
    readonly step: string;
    readonly image: string;
    readonly resources?: Resources;
  }>;
  /** What a cluster's pods are like, beyond what Levada makes of them. */
  readonly pods?: {
    readonly all?: PodSettings;
    /** By name of the step or source: it is alone in its pods. */
    readonly parts?: Readonly<Record<string, PodSettings>>;
  };
  /** How http sources are reached from outside of a cluster, by name. */
  readonly exposed?: Readonly<Record<string, Expose>>;
  /** Whether the broker keeps everything when the pipeline is deleted. */
  readonly retain?: boolean;
}

/** What a user says of pods. */
export interface PodSettings {
  readonly resources?: Resources;
  readonly serviceAccountName?: string;
  readonly podTemplate?: PodTemplate;
}

/** What is there of a pipeline. */
export interface ObservedPipeline {
  /** As it was applied last. */
  readonly applied: PipelinePlan;
  /** By source name; http sources only. */
  readonly sources: Readonly<Record<string, SourceState>>;
  /** By name of the queue: steps, event sources and queue sources. */
  readonly queues: Readonly<Record<string, QueueState>>;
  readonly broker?: BrokerState;
  /** Why what runs them is not there as it was applied, by name of the step or source. */
  readonly failures?: Readonly<Record<string, Failure>>;
  /** Steps and sources with pods that run what was applied before. */
  readonly replacing?: readonly string[];
  /** Whether its namespace is being deleted: no pod can be made in it. */
  readonly namespaceEnds?: boolean;
}

export const nothing: UnitPlan = { units: [], fronts: [] };

/** What is there, as a driver reports it. */
export interface Observed {
  /** By unit name. A unit that the driver does not run is absent. */
  readonly units: Readonly<Record<string, ObservedUnit>>;
  /** By service name. */
  readonly fronts: Readonly<Record<string, ObservedFront>>;
  /** Once a routing table was made. */
  readonly routing?: ObservedRouting;
  readonly pipeline?: ObservedPipeline;
  /** Of a model: what pipelines have been told, and have safely got. */
  readonly announced?: readonly Announced[];
}

export interface Announced {
  /** As `outcomeId` says. */
  readonly id: string;
  /** Name of the pipeline. */
  readonly pipeline: string;
}

export interface ObservedRouting {
  /** What each ready process of the version that serves has acknowledged: the candidate of its table; `undefined`: none. */
  readonly acknowledged: ReadonlyArray<VersionWeight | undefined>;
  /** What was counted since `status.rollout.countedUntil`, once that is `interval` ago. */
  readonly traffic?: Traffic;
}

export const nothingObserved: Observed = { units: {}, fronts: {} };

/** Whether both are run by the same processes. A digest that has become known changes nothing for those that run. */
export function sameUnit(a: Unit, b: Unit): boolean {
  const comparable = ({ config: { resolvedSha256: _, ...config }, ...unit }: Unit) =>
    JSON.stringify({ ...unit, config });
  return comparable(a) === comparable(b);
}

export interface ObservedUnit {
  /** As it was applied last. */
  readonly unit: Unit;
  /** Of the processes that run it as it was applied last. Loaded: all of them, as many as the driver gives it. */
  readonly state: 'Loading' | 'Loaded' | 'Failed';
  /** Processes that are ready, whatever they were applied as. */
  readonly ready: number;
  /** Hex SHA-256 of the model that it has loaded. */
  readonly sha256?: string;
  readonly failure?: { readonly code: string; readonly message: string };
  /** Hex SHA-256 of the file that is there now, where the driver can see it and it is another. */
  readonly artifactNow?: string;
}

export interface ObservedFront {
  /** Unit that new connections reach. */
  readonly target?: string;
  readonly url: string;
}

export interface PlanResult<S extends ResourceStatus = ResourceStatus> extends UnitPlan {
  readonly status: S;
  /** To be said once the status is written. */
  readonly events?: readonly RolloutEvent[];
  /** RFC 3339: when to plan again, if nothing changes before. */
  readonly lookAgainAt?: string;
}
