/** A `queue` source over a real broker, in this process. */
import { randomBytes } from 'node:crypto';
import type { ConsumerConfig } from '../../../api/contract/pipeline.ts';
import { systemClock } from '../../../runtime/clock.ts';
import { MemoryDedupStore } from '../../../runtime/delivery/memory-store.ts';
import type { Message } from '../../../runtime/events/message.ts';
import type { End } from '../../../runtime/pipeline/ends.ts';
import { PipelineHost } from '../../../runtime/pipeline/host.ts';
import type { RabbitTransport } from '../../../runtime/transports/rabbitmq/transport.ts';
import { until } from '../../support/wait.ts';
import { type Broker, Others, openRig, type Rig } from './harness.ts';

/** Runs consumers of a transport. Whoever gets it closes it. */
export function hostOf(transport: RabbitTransport, ended: (end: End) => void): PipelineHost {
  return new PipelineHost({
    transport,
    environment: () => ({
      resolve: (url) => url,
      publish: (target, message) => transport.publishTo(target, message),
    }),
    dedup: new MemoryDedupStore(),
    clock: systemClock,
    date: () => new Date(),
    random: randomBytes,
    listen: () => ({ host: '127.0.0.1', port: 0 }),
    changed: () => {},
    ended,
    log: () => {},
    drainMs: 5_000,
  });
}

export const retry = { maxAttempts: 3, initialMs: 1_000, factor: 2, maxMs: 5_000 } as const;

export interface Adopting extends AsyncDisposable {
  readonly rig: Rig;
  readonly others: Others;
  /** Somebody else's queue. */
  readonly queue: string;
  readonly host: PipelineHost;
  /** What the source has made of the messages. */
  readonly emitted: readonly Message[];
  readonly ends: readonly End[];
  hasEmitted(count: number): Promise<unknown>;
  deadLetters(): Promise<Message[]>;
}

/** A source `legacy` that adopts a classic queue. @param exists whether the queue is there from the beginning */
export async function adopting(broker: Broker, { exists = true } = {}): Promise<Adopting> {
  const rig = await openRig(broker);
  const others = await Others.open(rig.settings);
  const queue = 'order_created_events';
  if (exists) await others.channel.assertQueue(queue, { durable: true });
  const { pipeline } = rig;
  const ends: End[] = [];
  const host = hostOf(rig.rabbit, (end) => void ends.push(end));
  const config: ConsumerConfig = {
    kind: 'consumer',
    pipeline,
    name: 'legacy',
    action: { kind: 'adopt' },
    emits: [{ type: 'order.created' }],
    retry,
    concurrency: 4,
  };
  const sink = { name: 'sink', bindings: [{ pipeline, type: 'order.created' }] };
  await host.apply({
    topology: { pipeline, queues: [{ name: 'legacy', bindings: [], adopts: queue }, sink] },
    sources: [],
    consumers: [config],
  });
  const emitted: Message[] = [];
  await rig.rabbit.consume({ pipeline, queue: 'sink' }, 10, (delivery) => {
    emitted.push(delivery.message);
    delivery.settle({ kind: 'done', emits: [] }).catch(() => {}); // delivered again
  });
  return {
    rig,
    others,
    queue,
    host,
    emitted,
    ends,
    hasEmitted: (count) =>
      until(`${count} events`, () => emitted.length >= count, { seen: () => JSON.stringify(ends).slice(0, 2_000) }),
    async deadLetters() {
      const found: Message[] = [];
      await rig.visitDead('legacy', (message) => {
        found.push(message);
        return 'keep';
      });
      return found;
    },
    async [Symbol.asyncDispose]() {
      await host.close();
      await others[Symbol.asyncDispose]();
      await rig[Symbol.asyncDispose]();
    },
  };
}
