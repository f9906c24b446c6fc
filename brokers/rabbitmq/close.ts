import type { Channel, ChannelModel } from 'amqplib';

/** A broker that is short of memory or disk does not read what is asked, and one that has gone answers nothing. */
const longestMs = 2_000;

/**
 * Closes a channel or a connection. Resolves when it has ended, by whatever: amqplib's own promise never settles when
 * the connection ends before the broker has answered. Never rejects, and does not wait for ever.
 */
export function close(one: Channel | ChannelModel): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, longestMs);
    const ended = () => {
      clearTimeout(timer);
      resolve();
    };
    one.once('close', ended);
    one.close().then(ended, ended); // it has ended already
  });
}
