import { until } from '../../../test/support/wait.ts';
import type { Consumer, Delivery, Transport } from '../transport.ts';

/** A consumer that remembers what it got. */
export interface Inbox {
  readonly consumer: Consumer;
  /** Of all deliveries, in their order. */
  readonly ids: string[];
  /** Of handlers that were given to `each`. */
  readonly failures: unknown[];
  /** All deliveries, when there are that many. */
  has(count: number): Promise<readonly Delivery[]>;
  /** Handles those that come from now on. */
  each(handle: (delivery: Delivery) => Promise<void>): void;
}

export async function openInbox(transport: Transport, pipeline: string, queue: string, limit: number): Promise<Inbox> {
  const deliveries: Delivery[] = [];
  const ids: string[] = [];
  const failures: unknown[] = [];
  let handle: ((delivery: Delivery) => Promise<void>) | undefined;
  const consumer = await transport.consume({ pipeline, queue }, limit, (delivery) => {
    deliveries.push(delivery);
    ids.push(delivery.message.id);
    handle?.(delivery).catch((error: unknown) => failures.push(error));
  });
  return {
    consumer,
    ids,
    failures,
    has: (count) =>
      until(`${count} deliveries from ${queue}`, () => deliveries.length >= count && deliveries, {
        seen: () => ids.join(' '),
      }),
    each(handler) {
      handle = handler;
    },
  };
}
