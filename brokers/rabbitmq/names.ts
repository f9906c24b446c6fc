import { createHash } from 'node:crypto';
import type { QueueSettings } from '../../api/contract/pipeline.ts';

/** Every name of Levada in a vhost begins so: permissions can be given by it. */
export const prefix = 'levada.';

/** Copies that are to be delivered to one queue alone: its routing keys are {@link retryKey}s. */
export const retryExchange = `${prefix}retry`;
/** Where the broker and consumers put dead letters, by the same keys. */
export const deadExchange = `${prefix}dead`;
/** What came back from a delay after its queue had gone. Kept: nothing may be lost, and nothing may block the delays. */
export const lostExchange = `${prefix}lost`;
export const lostQueue = `${prefix}lost`;

/** Milliseconds. A queue each, since messages of one queue leave it in their order. */
export const rungs = [1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000] as const;
export const topRung = 3_600_000;

/** The shortest rung that is not shorter than `ms`; the highest where there is none. */
export const rungFor = (ms: number): number => rungs.find((rung) => rung >= ms) ?? topRung;

/** Exchange and queue of a rung. */
export const rungName = (rung: number): string => `${prefix}delay.${rung}`;

const dotted = (pipeline: string): string => pipeline.replace('/', '.');

/** A pipeline's exchange: topics are types of events. */
export const exchangeName = (pipeline: string): string => `${prefix}${dotted(pipeline)}`;

/** Holds what the pipeline has in the broker: whoever comes next finds what was made before. */
export const recordName = (pipeline: string): string => `${prefix}${dotted(pipeline)}.record`;

/** Routing key of one queue, whatever the broker calls it. */
export const retryKey = (pipeline: string, queue: string): string => `${pipeline}/${queue}`;

export const deadQueueName = (pipeline: string, queue: string): string => `${prefix}${dotted(pipeline)}.${queue}.dead`;

/** A queue as it is declared. */
export interface DeclaredQueue {
  readonly name: string;
  readonly arguments: Readonly<Record<string, string | number>>;
}

/** Deliveries are never counted against what is only looked at, and no default of a broker may drop it. */
const neverLimited = 1_000_000_000;

/** Dead-lettering that loses nothing: the message leaves this queue when the next one has it. */
const atLeastOnce = { 'x-dead-letter-strategy': 'at-least-once', 'x-overflow': 'reject-publish' } as const;

/** Settings that can change without making the queue anew, as keys of a policy. */
function policyOf({ maxLength, deliveryLimit }: QueueSettings): Record<string, number> {
  return {
    ...(maxLength !== undefined && { 'max-length': maxLength }),
    'delivery-limit': deliveryLimit ?? defaultDeliveryLimit,
  };
}

/** RabbitMQ 4's own; before, there was none, and a message that kills its consumer came back for ever. */
const defaultDeliveryLimit = 20;

/** A queue of a step. */
export interface StepQueue extends DeclaredQueue {
  /** Settings that can change without making it anew. */
  readonly policy: Readonly<Record<string, number>>;
  /** Whether events come to it by their types. */
  readonly events: boolean;
  /** Whether what is to be tried again comes back to it. */
  readonly retries: boolean;
}

/**
 * The queues of a step, that of events first. What has waited on a rung comes back to one without a length: a full one
 * would refuse it, and 32 messages that are refused stop the rung for all pipelines.
 *
 * @param byPolicy whether settings that can change are kept in a policy
 */
export function stepQueues(
  pipeline: string,
  queue: string,
  { maxLength, ...settings }: QueueSettings,
  byPolicy: boolean,
): StepQueue[] {
  const made = (suffix: string, values: QueueSettings): Omit<StepQueue, 'events' | 'retries'> => {
    const policy = policyOf(values);
    const fixed = argumentsOf(retryKey(pipeline, queue), values, byPolicy ? {} : policy);
    return { name: `${prefix}${dotted(pipeline)}.${queue}.${suffix}${hashOf(fixed)}`, arguments: fixed, policy };
  };
  if (maxLength === undefined) return [{ ...made('', settings), events: true, retries: true }];
  return [
    { ...made('', { ...settings, maxLength }), events: true, retries: false },
    { ...made('retry.', settings), events: false, retries: true },
  ];
}

/** What cannot change is in a queue's name, so that another value is another queue. */
const argumentsOf = (
  key: string,
  { replicas }: QueueSettings,
  policy: Readonly<Record<string, number>>,
): Record<string, string | number> => ({
  'x-queue-type': 'quorum',
  'x-dead-letter-exchange': deadExchange,
  'x-dead-letter-routing-key': key,
  ...atLeastOnce,
  ...(replicas !== undefined && { 'x-quorum-initial-group-size': replicas }),
  ...Object.fromEntries(Object.entries(policy).map(([name, value]) => [`x-${name}`, value])),
});

export const deadQueue = (pipeline: string, queue: string): DeclaredQueue => ({
  name: deadQueueName(pipeline, queue),
  arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': neverLimited },
});

export const recordQueue = (pipeline: string): DeclaredQueue => ({
  name: recordName(pipeline),
  arguments: { 'x-queue-type': 'quorum', 'x-max-length': 1, 'x-delivery-limit': neverLimited },
});

export const lost: DeclaredQueue = {
  name: lostQueue,
  arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': neverLimited },
};

/** When its time is over, a message goes on to the queue whose key it came with. */
export const rungQueue = (rung: number): DeclaredQueue => ({
  name: rungName(rung),
  arguments: {
    'x-queue-type': 'quorum',
    'x-message-ttl': rung,
    'x-dead-letter-exchange': retryExchange,
    'x-delivery-limit': neverLimited,
    ...atLeastOnce,
  },
});

/** The same whatever the order of the keys. */
function hashOf(values: Readonly<Record<string, string | number>>): string {
  const sorted = Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex').slice(0, 8);
}
