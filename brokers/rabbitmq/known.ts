import type { Binding, QueueSpec, Topology } from '../../api/contract/pipeline.ts';
import type { PlacedSource, Placement } from '../../api/contract/placement.ts';
import type { LevadaError } from '../../api/errors.ts';
import { deadQueueName, type StepQueue, stepQueues } from './names.ts';
import type { PipelineRecord, RecordedQueue } from './record.ts';

/** A pipeline, and what was made of it. */
export interface Known {
  topology: Topology;
  record: PipelineRecord;
  /** Names of queues that were there when this process looked last, with those of dead letters. */
  readonly made: Set<string>;
  /** By logical name: when its queue was found missing. */
  readonly lostAt: Map<string, string>;
  /** What else was found missing last. */
  mended?: { readonly at: string; readonly what: readonly string[] };
  /** Names of queues that are empty and about to go: nobody is to take from them any more. */
  readonly leaving: Set<string>;
  byPolicy: boolean;
  /** Why nobody can tell whether the policies are as they should be: the queues are those that were made with them. */
  unverified?: LevadaError;
}

/** What is known of a queue that is not wanted. */
export const nothing: RecordedQueue = { queue: '', bindings: [], byPolicy: false };

/** A queue that a topology asks for, and whose it is. */
export interface Wanted {
  readonly step: QueueSpec;
  readonly queue: StepQueue;
}

/** The queues that a topology asks for. */
export const wantedQueues = ({ pipeline, queues, settings = {} }: Topology, byPolicy: boolean): Wanted[] =>
  queues.flatMap((step) => stepQueues(pipeline, step.name, settings, byPolicy).map((queue) => ({ step, queue })));

/** What is written of them. */
export const recordOf = (wanted: readonly Wanted[], byPolicy: boolean): PipelineRecord =>
  Object.fromEntries(
    wanted.map(({ step, queue: { name, events, retries } }) => [
      name,
      { queue: step.name, bindings: events ? step.bindings : [], byPolicy, ...(retries && { retries }) },
    ]),
  );

/** Whether a binding is among them. */
export const has = (bindings: readonly Binding[], { pipeline, type }: Binding): boolean =>
  bindings.some((one) => one.pipeline === pipeline && one.type === type);

/** Both, with the bindings of both. */
export function together(before: PipelineRecord, wanted: PipelineRecord): PipelineRecord {
  const merged = Object.entries(wanted).map(([name, entry]) => {
    const old = (before[name]?.bindings ?? []).filter((binding) => !has(entry.bindings, binding));
    return [name, { ...entry, bindings: [...entry.bindings, ...old] }] as const;
  });
  return { ...before, ...Object.fromEntries(merged) };
}

/** Where consumers find it. */
export function placementOf({
  topology: { pipeline, queues },
  record,
  leaving,
}: Pick<Known, 'topology' | 'record' | 'leaving'>): Placement {
  const from = (queue: string): PlacedSource[] => [
    ...Object.entries(record).flatMap(([name, one]) =>
      one.queue === queue && !leaving.has(name) ? [{ name, adopted: false }] : [],
    ),
    ...queues.flatMap((spec) =>
      spec.name === queue && spec.adopts !== undefined ? [{ name: spec.adopts, adopted: true }] : [],
    ),
  ];
  const names = new Set([...queues.map(({ name }) => name), ...Object.values(record).map(({ queue }) => queue)]);
  return {
    pipeline,
    queues: Object.fromEntries(
      [...names].map((queue) => [queue, { from: from(queue), dead: deadQueueName(pipeline, queue) }]),
    ),
    types: [
      ...new Set(queues.flatMap(({ bindings }) => bindings.flatMap((b) => (b.pipeline === pipeline ? [b.type] : [])))),
    ],
  };
}

/** Where a broker that has nothing of a pipeline so far would have it, whose user may set no policies. */
export const freshPlacement = (topology: Topology): Placement =>
  placementOf({ topology, record: recordOf(wantedQueues(topology, false), false), leaving: new Set() });
