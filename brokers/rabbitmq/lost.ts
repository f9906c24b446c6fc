import type { ConfirmChannel, GetMessage } from 'amqplib';
import { deadExchange, lost, retryExchange } from './names.ts';

/** In one look: the rest has its turn at the next. */
const atMost = 1_000;

/**
 * Sends back what had no queue when its time came, and has one now: a copy that is confirmed first.
 *
 * @param isThere whether a queue gets what has this key
 * @returns how many
 */
export async function bringBack(channel: ConfirmChannel, isThere: (key: string) => boolean): Promise<number> {
  const { messageCount } = await channel.checkQueue(lost.name);
  const kept: GetMessage[] = [];
  let count = 0;
  for (let look = 0; look < Math.min(messageCount, atMost); look++) {
    const message = await channel.get(lost.name);
    if (!message) break; // somebody else takes them
    const { exchange, routingKey } = message.fields;
    if (!isThere(routingKey) || (exchange !== retryExchange && exchange !== deadExchange)) {
      kept.push(message);
      continue;
    }
    const { contentType, messageId, headers } = message.properties as unknown as Record<string, unknown>;
    channel.publish(exchange, routingKey, message.content, {
      persistent: true,
      ...(typeof contentType === 'string' && { contentType }),
      ...(typeof messageId === 'string' && { messageId }),
      headers: (headers ?? {}) as Record<string, unknown>,
    });
    await channel.waitForConfirms();
    channel.ack(message);
    count++;
  }
  for (const message of kept) channel.nack(message, false, true);
  return count;
}
