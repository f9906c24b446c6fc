import type { Channel, ChannelModel } from 'amqplib';

/**
 * Closes a channel or a connection. Resolves when it has ended, by whatever: amqplib's own promise never settles when
 * the connection ends before the broker has answered. Never rejects.
 */
export function close(one: Channel | ChannelModel): Promise<void> {
  return new Promise((resolve) => {
    one.once('close', () => resolve());
    one.close().then(resolve, () => resolve()); // it has ended already
  });
}
