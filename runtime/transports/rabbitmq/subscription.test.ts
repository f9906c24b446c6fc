import { EventEmitter } from 'node:events';
import type { ChannelModel } from 'amqplib';
import { expect, it } from 'vitest';
import type { Link, LinkListener } from '../../../brokers/rabbitmq/link.ts';
import { until } from '../../../test/support/wait.ts';
import { Subscription } from './subscription.ts';

class FakeChannel extends EventEmitter {
  readonly consumed: string[] = [];
  deliver: (deliveryTag: number) => void = () => {};
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

  async consume(queue: string, take: (message: unknown) => void): Promise<{ consumerTag: string }> {
    if (!this.#isOpen) throw new Error('Channel closed');
    this.deliver = (deliveryTag) => take({ fields: { deliveryTag } });
    this.consumed.push(queue);
    return { consumerTag: 'tag' };
  }

  async cancel(): Promise<void> {}
  ack(): void {}
  nack(): void {}

  async close(): Promise<void> {
    this.emit('close');
  }
}

type Use = (what: string, work: (channel: unknown) => Promise<unknown>) => Promise<unknown>;

/** A subscription to the queue `work`, by a connection with these channels. */
function subscribe(next: (count: number) => FakeChannel, use: Use) {
  const channels: FakeChannel[] = [];
  const log: string[] = [];
  const delivered: unknown[] = [];
  const connection = {
    async createConfirmChannel() {
      const channel = next(channels.length);
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
    use,
  } as unknown as Link;
  const subscription = new Subscription(link, {
    ...{ what: 'queue work', limit: 4 },
    ...{
      deliver: (received: unknown) => delivered.push(received),
      missing: () => {},
      log: (text: string) => log.push(text),
    },
  });
  subscription.use([{ name: 'work', adopted: false }]);
  return { subscription, channels, log, delivered };
}

const asks: Use = (_, work) => work({ checkQueue: async () => ({}) });

it('consumes on the next channel when one ends between two answers', async () => {
  const { subscription, channels } = subscribe((count) => new FakeChannel(count === 0), asks);
  await until('the second channel has a consumer', () => channels[1]?.consumed.length === 1, { timeoutMs: 3_000 });
  expect(channels.map(({ consumed }) => consumed)).toEqual([[], ['work']]);
  await subscription.end();
});

it('says what keeps it from consuming, once, and tries again while its channel is there', async () => {
  let refused = 2;
  const use: Use = (what, work) => (refused-- > 0 ? Promise.reject(new Error('not allowed')) : asks(what, work));
  const { subscription, channels, log } = subscribe(() => new FakeChannel(false), use);
  await until('it is said', () => subscription.failure?.message === 'not allowed');
  await until('it consumes', () => channels[0]?.consumed.length === 1, { timeoutMs: 5_000 });
  await until('it is over', () => subscription.failure === undefined);
  expect(channels).toHaveLength(1);
  expect(log).toEqual(['queue work: not allowed']);
  await subscription.end();
});

it('hands out what came while nothing was allowed, as soon as one is', async () => {
  const { subscription, channels, delivered } = subscribe(() => new FakeChannel(false), asks);
  await until('it consumes', () => channels[0]?.consumed.length === 1);
  subscription.limit(0);
  channels[0]?.deliver(1); // before the broker has heard of it
  expect(delivered).toHaveLength(0);
  subscription.limit(1);
  expect(delivered).toHaveLength(1);
  await subscription.end();
});
