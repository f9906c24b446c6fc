import { endingTopology } from '../../../api/contract/pipeline.ts';
import type { ConditionType } from '../../../api/v1alpha1/common.ts';
import type { EventPipeline, EventPipelineStatus } from '../../../api/v1alpha1/event-pipeline.ts';
import { bounded } from '../bounded.ts';
import { conditionsOf, type Said } from '../conditions.ts';
import type { ObservedPipeline, PipelinePlan, PlanResult, Release } from '../units.ts';
import { brokerFailure, sayBroker, sayFailure } from './broker-status.ts';
import { handles, holds, withLeftovers } from './leftovers.ts';
import { fedQueues } from './parts.ts';
import { maxSteps, stepStatus } from './status.ts';

/**
 * A pipeline that is being deleted on a cluster: as an edit that leaves nothing of it. What waits is handled first, then its
 * queues go; those with dead letters stay. It may go itself when that is done, or when it never can be.
 */
export function planLeaving(
  resource: EventPipeline,
  observed: ObservedPipeline | undefined,
  now: string,
): PlanResult<EventPipelineStatus> {
  const { finalizers = [] } = resource.metadata as { finalizers?: readonly string[] };
  // It may not be valid any more; with `orphan`, whoever has deleted it wants everything to go on.
  const isKept = resource.spec?.deletionPolicy === 'Retain' || finalizers.includes('orphan');
  const before = resource.status ?? empty;
  if (!observed || isKept) return { units: [], fronts: [], release: {}, status: before };
  // Its pods are being deleted as well, and those that are made anew, too.
  const hasNoPods = observed.namespaceEnds === true || finalizers.includes('foregroundDeletion');
  const wanted = nothingOf(observed.applied);
  const pipeline = hasNoPods
    ? wanted
    : isHandling(observed)
      ? endingOf(observed.applied)
      : withLeftovers(wanted, observed);
  const release = releaseOf(observed, pipeline);
  const queues = Object.entries(observed.queues);
  return {
    units: [],
    fronts: [],
    pipeline,
    ...(release && { release }),
    status: {
      ...before,
      conditions: conditionsOf(resource, { ...saidBefore(before), ...sayLeaving(observed) }, now),
      ...(resource.metadata.generation !== undefined && { observedGeneration: resource.metadata.generation }),
      // Never empty after it was not: a server-side apply would leave the list out, and it is required.
      sources: before.sources.map((source) => ({ ...source, ready: false })),
      steps: (queues.length > 0 ? queues.map(([name, queue]) => stepStatus(name, queue, true)) : before.steps).slice(
        0,
        maxSteps,
      ),
      stepsRunning: '0/0',
      backlog: queues.reduce((sum, [, { waiting }]) => sum + waiting, 0),
      deadLetters: queues.reduce((sum, [, { dead }]) => sum + dead, 0),
    },
  };
}

const empty: EventPipelineStatus = {
  conditions: [],
  sources: [],
  steps: [],
  stepsRunning: '0/0',
  backlog: 0,
  deadLetters: 0,
};

/** The plan without any part. */
export const nothingOf = ({ topology, broker }: PipelinePlan): PipelinePlan => ({
  topology: { ...topology, queues: [] },
  ...(broker && { broker }),
  sources: [],
  consumers: [],
  containers: [],
});

/**
 * Whether its steps have something to do still, or may have: then they keep what they get from each other, and what they
 * emit reaches the next step. Nothing comes from outside any more.
 */
function isHandling({ applied, queues, broker }: ObservedPipeline): boolean {
  if (fedQueues(applied).length === 0) return false; // it has been unbound: this is over
  const isClosed = JSON.stringify(applied) === JSON.stringify(endingOf(applied));
  return !isClosed || brokerFailure(broker) !== undefined || Object.values(queues).some(handles);
}

/** What is left of it while it ends. */
const endingOf = (applied: PipelinePlan): PipelinePlan => ({
  ...applied,
  topology: endingTopology(applied.topology),
  sources: [],
});

/** Codes of a broker that cannot be reached before somebody makes a Secret for a pipeline that is to go. */
const neverReached: readonly string[] = ['SecretNotFound', 'BrokerRequired'];

/** Whether it may go, and what it leaves behind. */
function releaseOf(
  { applied, queues, broker, namespaceEnds = false }: ObservedPipeline,
  wanted: PipelinePlan,
): Release | undefined {
  const failure = brokerFailure(broker);
  if (failure) {
    // A namespace that ends waits for nobody: its Secrets go with it, and often its broker.
    if (!namespaceEnds && !neverReached.includes(failure.code)) return undefined;
    return { left: `${failure.message}. What there is of it in the broker stays there, with what it holds` };
  }
  // A queue without a consumer is one that nobody knows how to empty, or whose pods could not go on.
  const isUndone = applied.consumers.length + applied.sources.length + fedQueues(applied).length > 0;
  const states = Object.entries(queues);
  // One that holds nothing is about to be removed.
  const isOver = states.every(([, queue]) => holds(queue));
  if (isUndone || wanted.consumers.length > 0 || !isOver) return undefined;
  return states.length === 0 ? {} : { left: `in the broker stay ${states.map(counted).join(', ')}` };
}

const counted = ([name, { waiting, inFlight, dead }]: [string, ObservedPipeline['queues'][string]]): string =>
  `${waiting + inFlight} messages and ${dead} dead letters of ${name}`;

/** What the conditions have said so far. */
const saidBefore = ({ conditions }: EventPipelineStatus): Partial<Record<ConditionType, Said>> =>
  Object.fromEntries(conditions.map(({ type, status, reason, message }) => [type, { status, reason, message }]));

function sayLeaving({ queues, broker }: ObservedPipeline): Partial<Record<ConditionType, Said>> {
  const failure = brokerFailure(broker);
  const busy = Object.entries(queues).filter(([, queue]) => handles(queue));
  const retain = 'To leave them in the broker set spec.deletionPolicy: Retain.';
  const waits = `Messages wait, and are handled first: ${busy.map(([name, { waiting, inFlight }]) => `${waiting + inFlight} of ${name}`).join(', ')}. ${retain}`;
  const goes = 'Its queues are being removed.';
  const ready: Said = failure
    ? { ...sayFailure(failure), message: bounded(`${failure.message}. Its queues cannot be removed. ${retain}`) }
    : { status: 'False', reason: 'Removing', message: bounded(busy.length > 0 ? waits : goes) };
  return {
    Ready: ready,
    ...sayBroker(broker),
    Reconciling: { ...ready, status: 'True' },
    Stalled: { status: 'False', reason: 'NotStalled', message: 'Nothing is in the way.' },
  };
}
