import type { BrokerState, PipelineParts, QueueState, SourceState } from '../../../api/contract/pipeline.ts';
import type { StepCounts } from '../../../runtime/pipeline/rates.ts';
import type { Transport } from '../../../runtime/transports/transport.ts';
import type { StepReport } from '../routing/report.ts';

/** Runs pipelines on one broker. */
export interface PipelineRunner {
  /** Where the broker is: two runners of one place have the same queues. */
  readonly place: string;
  /** For dead letters. */
  readonly transport: Transport;
  /** Makes what runs match `parts`. Whatever keeps it from that is said by {@link observe}, and tried again. */
  apply(parts: PipelineParts): Promise<void>;
  /** No new events; what is in its queues is handled. */
  remove(pipeline: string): Promise<void>;
  /** Runs it no more; everything stays in the broker for another runner. */
  release(pipeline: string): Promise<void>;
  /** Ends what {@link remove} has emptied. @returns whether that is done: if not, it is to be asked for again */
  forget(pipeline: string): Promise<boolean>;
  observe(pipeline: string): Promise<RunnerView>;
  /** How deliveries ended, by step. */
  counts(pipeline: string): Readonly<Record<string, StepCounts>>;
  /** What the processes of a step say of trials. */
  trials(pipeline: string, step: string): readonly StepReport[];
  /** URLs of /metrics of the processes of a pipeline. */
  admins(pipeline: string): readonly string[];
  /** Whether it runs nothing, and nothing is being emptied. */
  readonly isIdle: boolean;
  /** Finishes what is in hand. */
  close(): Promise<void>;
  /** Ends everything at once. */
  kill(): void;
}

export interface RunnerView {
  readonly sources: Record<string, SourceState>;
  readonly queues: Record<string, QueueState>;
  readonly broker: BrokerState;
}
