import type { QueueState } from '../../../api/contract/pipeline.ts';
import type { ObservedPipeline, PipelinePlan } from '../units.ts';
import { brokerFailure } from './broker-status.ts';
import { fedQueues } from './parts.ts';

/**
 * A step that is gone from the spec gets no new messages, but handles those that it has; its dead letters stay until
 * somebody has dealt with them. Its queue stays for one more plan even when it was seen empty: as long as it was fed, a
 * message may have come since; and as long as the broker is away, when nobody knows what is in it. A queue of somebody else is let go at once: only what was put off is left to handle.
 */
export function withLeftovers(wanted: PipelinePlan, observed: ObservedPipeline | undefined): PipelinePlan {
  if (!observed) return wanted;
  const { applied, queues } = observed;
  const fed = new Set(fedQueues(applied));
  const mayGet = (name: string) => fed.has(name) || brokerFailure(observed.broker) !== undefined;
  const left = leftoverNames(wanted, observed).filter((name) => mayGet(name) || holds(queues[name]));
  const isBusy = (name: string) => left.includes(name) && (mayGet(name) || handles(queues[name]));
  const busyPods = Object.entries(applied.pods?.parts ?? {}).filter(([name]) => isBusy(name));
  return {
    ...wanted,
    ...(busyPods.length > 0 && {
      pods: { ...wanted.pods, parts: { ...wanted.pods?.parts, ...Object.fromEntries(busyPods) } },
    }),
    topology: {
      ...wanted.topology,
      queues: [...wanted.topology.queues, ...left.map((name) => ({ name, bindings: [] }))],
    },
    consumers: [...wanted.consumers, ...applied.consumers.filter(({ name }) => isBusy(name))],
    containers: [...wanted.containers, ...applied.containers.filter(({ step }) => isBusy(step))],
  };
}

/** Queues that were applied, or that the broker still has, and that nobody wants. */
function leftoverNames(wanted: PipelinePlan, { applied, queues }: ObservedPipeline): string[] {
  const names = new Set([...applied.topology.queues.map(({ name }) => name), ...Object.keys(queues)]);
  for (const { name } of wanted.topology.queues) names.delete(name);
  return [...names];
}

/** Whether somebody has to take messages from it still. */
export const handles = (queue: QueueState | undefined): boolean =>
  queue !== undefined && queue.waiting + queue.inFlight > 0;
/** Whether anything would be lost with it. */
export const holds = (queue: QueueState | undefined): boolean => handles(queue) || (queue?.dead ?? 0) > 0;
