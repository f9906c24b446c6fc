import type { ConfirmChannel, GetMessage } from 'amqplib';
import { deadExchange, lost, retryExchange } from './names.ts';

/** In one look: the rest has its turn at the next. */
export const lostAtOnce = 1_000;

/**
 * Sends back what had no queue when its time came, and has one now: a copy that is confirmed first. What a queue refuses
 * because it is full waits for another look.
 *
 * @param isThere whether a queue gets what has this key
 * @returns how many
 */
export async function bringBack(channel: ConfirmChannel, isThere: (key: string) => boolean): Promise<number> {
  const { messageCount } = await channel.checkQueue(lost.name);
  const looks = Math.min(messageCount, lostAtOnce);
  const kept: GetMessage[] = [];
  /** Keys whose queue takes no more: the others are not held up. */
  const full = new Set<string>();
  let count = 0;
  for (let look = 0; look < looks; look++) {
    const message = await channel.get(lost.name);
    if (!message) break; // somebody else takes them
    const { routingKey } = message.fields;
    if (!isThere(routingKey) || !isOurs(message) || full.has(routingKey)) {
      kept.push(message);
    } else if (await send(channel, message)) {
      count++;
    } else {
      full.add(routingKey);
      kept.push(message);
    }
  }
  // Where nobody wants so many, they go behind the others: given back, they would be all that the next look sees. By
  // their exchange, which still leads nowhere but here.
  const crowded = kept.length === lostAtOnce && messageCount > looks;
  for (const message of kept) {
    const isGone = crowded && isOurs(message) && !full.has(message.fields.routingKey) && (await send(channel, message));
    if (!isGone) channel.nack(message, false, true);
  }
  return count;
}

const isOurs = ({ fields: { exchange } }: GetMessage): boolean =>
  exchange === retryExchange || exchange === deadExchange;

/** @returns whether the broker took it; where the channel has ended, what is done with it next throws */
async function send(channel: ConfirmChannel, message: GetMessage): Promise<boolean> {
  const { exchange, routingKey } = message.fields;
  const { contentType, messageId, headers } = message.properties as unknown as Record<string, unknown>;
  channel.publish(exchange, routingKey, message.content, {
    persistent: true,
    ...(typeof contentType === 'string' && { contentType }),
    ...(typeof messageId === 'string' && { messageId }),
    headers: (headers ?? {}) as Record<string, unknown>,
  });
  const isTaken = await channel.waitForConfirms().then(
    () => true,
    () => false,
  );
  if (isTaken) channel.ack(message);
  return isTaken;
}
