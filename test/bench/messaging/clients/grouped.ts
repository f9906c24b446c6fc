import type { Channel, ConsumeMessage } from 'amqplib';

/** Without a message for so long, what is left of a group is acknowledged. */
const idleMs = 5;

/**
 * A bare consumer that acknowledges so many messages with one frame.
 *
 * @param take returns whether the message was the last one
 * @returns resolves after the last one, rejects when the queue has gone
 */
export async function consumeGrouped(
  channel: Channel,
  { queue, prefetch, group }: { queue: string; prefetch: number; group: number },
  take: (message: ConsumeMessage) => boolean,
): Promise<{ ended: Promise<void> }> {
  const ended = Promise.withResolvers<void>();
  // A group must not hold everything that the broker may have out.
  const size = Math.max(1, Math.min(group, Math.floor(prefetch / 2)));
  let waiting = 0;
  let last: ConsumeMessage | undefined;
  let seen: ConsumeMessage | undefined;
  const acknowledge = () => {
    if (last && waiting > 0) channel.ack(last, true);
    waiting = 0;
  };
  const idle = setInterval(() => {
    if (seen === last) acknowledge();
    seen = last;
  }, idleMs);
  await channel.prefetch(prefetch);
  await channel.consume(queue, (message) => {
    if (!message) return ended.reject(new Error('the queue has gone'));
    const isLast = take(message);
    last = message;
    waiting++;
    if (waiting >= size || isLast) acknowledge();
    if (isLast) ended.resolve();
  });
  return { ended: ended.promise.finally(() => clearInterval(idle)) };
}
