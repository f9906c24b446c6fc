import type { Channel, ConfirmChannel, GetMessage } from 'amqplib';
import type { Binding } from '../../api/contract/pipeline.ts';
import { LevadaError } from '../../api/errors.ts';
import { declare } from './declare.ts';
import type { Links } from './link.ts';
import { exists } from './look.ts';
import { recordName, recordQueue, retryExchange } from './names.ts';

/** One queue that was made for a pipeline. */
export interface RecordedQueue {
  /** Name of the step. */
  readonly queue: string;
  /** Types of events that it is bound to. Empty, where it is not wanted: it is being emptied. */
  readonly bindings: readonly Binding[];
  /** Whether a policy of its name holds its settings. */
  readonly byPolicy: boolean;
  /** Whether what is tried again comes back to it: of a step that is gone it goes last. */
  readonly retries?: boolean;
}

/** What there is of a pipeline in the broker, by name there. AMQP cannot list queues, so it is kept in one. */
export type PipelineRecord = Readonly<Record<string, RecordedQueue>>;

/** Two operators never run at once, but one may read while the next one begins. */
const attempts = 20;
/** Milliseconds. Longer than the broker keeps messages in hand of a connection that has fallen silent: two heartbeats. */
const heldForMs = 180_000;

/** Records of pipelines. */
export class Records {
  readonly #links: Links;
  /** By pipeline: since when its record could not be read, monotonic milliseconds. */
  readonly #unreadSince = new Map<string, number>();

  constructor(links: Links) {
    this.#links = links;
  }

  /** @throws LevadaError BrokerUnavailable, QueueConflict */
  async read(pipeline: string): Promise<PipelineRecord> {
    const name = recordName(pipeline);
    if (!(await exists(this.#links.consuming, name))) return {};
    // An empty one is in somebody's hands: taken for nothing, all that it tells of would be forgotten.
    const record = await this.#links.consuming.use(name, (channel) => readRecord(channel, pipeline));
    const now = performance.now();
    const since = this.#unreadSince.get(pipeline) ?? now;
    // Nobody can have it in hand so long: whoever made the queue died before writing.
    if (record || now - since >= heldForMs) {
      this.#unreadSince.delete(pipeline);
      return record ?? {};
    }
    this.#unreadSince.set(pipeline, since);
    throw new LevadaError('BrokerUnavailable', { detail: `${name} is being read by somebody else` });
  }

  /** @throws LevadaError BrokerFull, BrokerUnavailable, BrokerForbidden, QueueConflict */
  write(pipeline: string, record: PipelineRecord): Promise<void> {
    return this.#links.publishing.use(recordName(pipeline), (channel) => writeRecord(channel, pipeline, record));
  }
}

/** @returns what was written last; `undefined`: somebody else has it in hand, or it was never written */
async function readRecord(channel: Channel, pipeline: string): Promise<PipelineRecord | undefined> {
  const name = recordName(pipeline);
  for (let attempt = 0; attempt < attempts; attempt++) {
    const message = await channel.get(name);
    if (message) {
      channel.nack(message, false, true);
      return parse(message, pipeline);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return undefined;
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
async function writeRecord(channel: ConfirmChannel, pipeline: string, queues: PipelineRecord): Promise<void> {
  const queue = recordQueue(pipeline);
  await declare(channel, queue);
  await channel.bindQueue(queue.name, retryExchange, queue.name);
  const content = Buffer.from(JSON.stringify({ queues }));
  channel.publish(retryExchange, queue.name, content, { persistent: true, contentType: 'application/json' });
  await channel.waitForConfirms();
}
