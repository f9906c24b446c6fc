import type { ConsumerConfig, HttpSourceConfig, SourceState, Topology } from './pipeline.ts';
import type { NameTable, WorkerState } from './pipeline-worker.ts';
import type { Placement } from './placement.ts';

/**
 * What a pod of a pipeline runs: the contents of `unit.json`, in a ConfigMap whose name holds its hash. The consumers of one
 * step or `group`, or one http source; never both, so that a busy consumer cannot keep events out.
 */
export interface PipelineUnitConfig {
  readonly kind: 'pipeline';
  /** `namespace/name`. */
  readonly pipeline: string;
  /** `<pipeline>-<part>`: name of the unit. */
  readonly unit: string;
  readonly topology: Topology;
  /** Who makes the queues (the operator) says what the broker calls them. Another placement is another pod. */
  readonly placement: Placement;
  readonly consumers: readonly ConsumerConfig[];
  /** At most one. */
  readonly sources: readonly HttpSourceConfig[];
  /** Hosts that are in the pod itself (`container` steps). All others are the cluster's DNS's. */
  readonly names: NameTable;
  /** Folder with a file for each key of the broker's Secret, as it is mounted. */
  readonly secret: string;
  /** `namespace/name` of that Secret, for errors. */
  readonly secretName: string;
  /** `serving`: port of the http source. */
  readonly listen: { readonly host: string; readonly serving: number; readonly admin: number };
}

/** What such a process says at GET /status of its admin port. */
export interface PipelineUnitStatus {
  /** Loaded: connected, and every consumer and source runs. */
  readonly state: 'Loading' | 'Loaded' | 'Failed';
  readonly failure?: { readonly code: string; readonly message: string };
  readonly draining: boolean;
  /** How often a queue that should be there was not: when it grows, whoever makes the queues looks at once. Absent: never. */
  readonly missing?: number;
  /** Milliseconds since it began to count. */
  readonly countedMs: number;
  readonly consumers: Readonly<Record<string, WorkerState>>;
  readonly sources: Readonly<Record<string, SourceState>>;
}
