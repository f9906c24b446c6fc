import type { Channel } from 'amqplib';
import {
  type DeclaredQueue,
  deadExchange,
  lost,
  lostExchange,
  retryExchange,
  rungName,
  rungQueue,
  rungs,
} from './names.ts';

const durable = { durable: true } as const;

/** A queue, and its binding to the exchange of dead letters where it has a key. */
export async function declare(channel: Channel, queue: DeclaredQueue, dead?: { readonly key: string }): Promise<void> {
  await channel.assertQueue(queue.name, { durable: true, arguments: queue.arguments });
  if (dead) await channel.bindQueue(queue.name, deadExchange, dead.key);
}

/** What all pipelines of a vhost share: the ways to one queue alone, and the ladder of delays. */
export async function declareCommon(channel: Channel): Promise<void> {
  await channel.assertExchange(lostExchange, 'fanout', durable);
  await declare(channel, lost);
  await channel.bindQueue(lost.name, lostExchange, '');
  const alternateExchange = lostExchange;
  await channel.assertExchange(retryExchange, 'direct', { ...durable, alternateExchange });
  await channel.assertExchange(deadExchange, 'direct', { ...durable, alternateExchange });
  for (const rung of rungs) {
    const queue = rungQueue(rung);
    // An exchange each: a message must keep the key of its queue for the way back.
    await channel.assertExchange(rungName(rung), 'fanout', durable);
    await declare(channel, queue);
    await channel.bindQueue(queue.name, rungName(rung), '');
  }
}
