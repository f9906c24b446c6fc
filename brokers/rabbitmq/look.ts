import type { Channel } from 'amqplib';
import { errorCodeOf } from '../../api/errors.ts';
import type { Link } from './link.ts';

/** Messages that wait, and consumers; none of a queue that is gone. @throws as {@link Link.use} */
export async function lookAt(link: Link, name: string): Promise<{ messageCount: number; consumerCount: number }> {
  try {
    return await link.use(name, (channel) => channel.checkQueue(name));
  } catch (error) {
    if (errorCodeOf(error) === 'QueueNotFound') return { messageCount: 0, consumerCount: 0 };
    throw error;
  }
}

type Check = (channel: Channel, name: string) => Promise<unknown>;

/** @param check asks for a queue, where nothing else is said. @throws as {@link Link.use} */
export async function exists(
  link: Link,
  name: string,
  check: Check = (channel) => channel.checkQueue(name),
): Promise<boolean> {
  try {
    await link.use(name, (channel) => check(channel, name));
    return true;
  } catch (error) {
    if (errorCodeOf(error) === 'QueueNotFound') return false;
    throw error;
  }
}
