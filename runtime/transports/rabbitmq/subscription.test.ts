import { EventEmitter } from 'node:events';
import type { ChannelModel } from 'amqplib';
import { expect, it } from 'vitest';
import type { Link, LinkListener } from '../../../brokers/rabbitmq/link.ts';
import { until } from '../../../test/support/wait.ts';
import { Subscription } from './subscription.ts';

class FakeChannel extends EventEmitter {
  readonly consumed: string[] = [];
  readonly #endsAtPrefetch: boolean;
  #isOpen = true;

  constructor(endsAtPrefetch: boolean) {
    super();
    this.#endsAtPrefetch = endsAtPrefetch;
  }

  /** The answer and the end of the channel come in one piece from the network: who waits for the answer hears of both. */
  prefetch(): Promise<void> {
    return new Promise((resolve) =>
      setImmediate(() => {
        resolve();
        if (!this.#endsAtPrefetch) return;
        this.#isOpen = false;
        this.emit('close');
      }),
    );
  }

  async consume(queue: string): Promise<{ consumerTag: string }> {
    if (!this.#isOpen) throw new Error('Channel closed');
    this.consumed.push(queue);
    return { consumerTag: 'tag' };
  }

  async close(): Promise<void> {
    this.emit('close');
  }
}

it('consumes on the next channel when one ends between two answers', async () => {
  const channels: FakeChannel[] = [];
  const connection = {
    async createConfirmChannel() {
      const channel = new FakeChannel(channels.length === 0);
      channels.push(channel);
      return channel;
    },
  } as unknown as ChannelModel;
  const link = {
    connection,
    listen(listener: LinkListener) {
      listener.up?.(connection);
      return () => {};
    },
    use: (_: string, work: (channel: unknown) => Promise<unknown>) => work({ checkQueue: async () => ({}) }),
  } as unknown as Link;
  const subscription = new Subscription(link, {
    ...{ what: 'queue work', limit: 4 },
    ...{ deliver: () => {}, missing: () => {}, log: () => {} },
  });
  subscription.use([{ name: 'work', adopted: false }]);
  await until('the second channel has a consumer', () => channels[1]?.consumed.length === 1, { timeoutMs: 3_000 });
  expect(channels.map(({ consumed }) => consumed)).toEqual([[], ['work']]);
  await subscription.end();
});
