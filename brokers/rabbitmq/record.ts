import type { Channel, ConfirmChannel, GetMessage } from 'amqplib';
import type { Binding } from '../../api/contract/pipeline.ts';
import { LevadaError } from '../../api/errors.ts';
import { declare } from './declare.ts';
import { recordName, recordQueue, retryExchange } from './names.ts';

/** One queue that was made for a pipeline. */
export interface RecordedQueue {
  /** Name of the step. */
  readonly queue: string;
  /** What it is bound to. Empty: it is being emptied. */
  readonly bindings: readonly Binding[];
  /** Whether a policy of its name holds its settings. */
  readonly byPolicy: boolean;
}

/** What there is of a pipeline in the broker, by name there. AMQP cannot list queues, so it is kept in one. */
export type PipelineRecord = Readonly<Record<string, RecordedQueue>>;

/** Two operators never run at once, but one may read while the next one begins. */
const attempts = 20;

/** @returns what was written last; nothing where nothing was */
export async function readRecord(channel: Channel, pipeline: string): Promise<PipelineRecord> {
  const { name, arguments: args } = recordQueue(pipeline);
  for (let attempt = 0; attempt < attempts; attempt++) {
    const { messageCount } = await channel.assertQueue(name, { durable: true, arguments: args });
    const message = await channel.get(name);
    if (message) {
      channel.nack(message, false, true);
      return parse(message, pipeline);
    }
    if (messageCount === 0 && attempt > 1) return {};
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new LevadaError('BrokerUnavailable', { detail: `${name} is being read by somebody else` });
}

function parse(message: GetMessage, pipeline: string): PipelineRecord {
  try {
    return (JSON.parse(message.content.toString()) as { queues: PipelineRecord }).queues;
  } catch (cause) {
    const detail = 'what is in it was not written by Levada';
    throw new LevadaError('QueueConflict', { found: recordName(pipeline), detail }, { cause });
  }
}

/** The queue keeps the newest one only. Not by the default exchange: it is nobody's whose names begin with `levada.`. */
export async function writeRecord(channel: ConfirmChannel, pipeline: string, queues: PipelineRecord): Promise<void> {
  const queue = recordQueue(pipeline);
  await declare(channel, queue);
  await channel.bindQueue(queue.name, retryExchange, queue.name);
  const content = Buffer.from(JSON.stringify({ queues }));
  channel.publish(retryExchange, queue.name, content, { persistent: true, contentType: 'application/json' });
  await channel.waitForConfirms();
}
