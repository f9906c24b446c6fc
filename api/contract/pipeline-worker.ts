import type { ConsumerConfig, QueueState, Topology } from './pipeline.ts';
import type { StepTrials } from './routing-table.ts';

/** What is said between who starts a process of consumers and that process. */

/** Where names in URLs lead: what a cluster's DNS knows. Origins (`http://host:port`). */
export interface NameTable {
  /** By host, for every namespace. */
  readonly local: Readonly<Record<string, string>>;
  /** By namespace and name of the Service. */
  readonly services: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** What a process of consumers runs. `Settings`: how to reach the broker, `Placement`: what it calls the queues, `End`: see runtime/pipeline/ends.ts. */
export type ToWorker<Settings, Placement> =
  | {
      readonly type: 'run';
      readonly settings: Settings;
      readonly topology: Topology;
      readonly placement: Placement;
      readonly consumers: readonly ConsumerConfig[];
      readonly names: NameTable;
      /** Whether the end of each delivery is to be told. */
      readonly tellEnds: boolean;
    }
  | { readonly type: 'placement'; readonly placement: Placement }
  | { readonly type: 'names'; readonly names: NameTable }
  | { readonly type: 'drain' };

export type FromWorker<End> =
  | { readonly type: 'state'; readonly consumers: Readonly<Record<string, WorkerState>> }
  | { readonly type: 'end'; readonly end: End }
  /** A queue is not there. */
  | { readonly type: 'missing' }
  | { readonly type: 'admin'; readonly port: number }
  | { readonly type: 'log'; readonly part: string; readonly text: string };

/** Of one consumer. */
export interface WorkerState extends Pick<QueueState, 'breaker' | 'message' | 'running'> {
  /** Deliveries in hand, by the broker's name of the queue. */
  readonly held: Readonly<Record<string, number>>;
  /** Sent to wait for another attempt, by this process. */
  readonly delayed: number;
  readonly counts: WorkerCounts;
  /** Of versions of models that it asks. */
  readonly trials: readonly StepTrials[];
}

/** As `StepCounts` of the runtime. */
export interface WorkerCounts {
  readonly done: number;
  readonly skipped: number;
  readonly duplicate: number;
  readonly retried: number;
  readonly dead: number;
  readonly rate: number;
}
