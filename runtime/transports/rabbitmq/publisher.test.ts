import { EventEmitter } from 'node:events';
import type { ChannelModel } from 'amqplib';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { Link, LinkListener } from '../../../brokers/rabbitmq/link.ts';
import { type Outgoing, Publisher } from './publisher.ts';

/** A channel whose confirmations come when the test says so: no broker can be made to leave out one queue for long. */
class FakeChannel extends EventEmitter {
  readonly confirmations: Array<(error?: unknown) => void> = [];
  closed = false;

  publish(_exchange: string, _key: string, _content: Buffer, _options: object, confirmed: () => void): boolean {
    this.confirmations.push(confirmed);
    return true;
  }

  async close(): Promise<void> {
    this.closed = true;
    this.emit('close');
  }
}

async function connect() {
  const channels: FakeChannel[] = [];
  const resets: string[] = [];
  const connection = {
    async createConfirmChannel() {
      const channel = new FakeChannel();
      channels.push(channel);
      return channel;
    },
  } as unknown as ChannelModel;
  const link = {
    connection,
    ready: async () => connection,
    reset: (reason: string) => resets.push(reason),
    listen(listener: LinkListener) {
      listener.up?.(connection);
      return () => {};
    },
  } as unknown as Link;
  const publisher = new Publisher(link);
  await vi.advanceTimersByTimeAsync(0);
  const now = () => channels.at(-1) as FakeChannel;
  return { publisher, channels, resets, now };
}

const outgoing: Outgoing = {
  ...{ exchange: 'levada.default.orders', routingKey: 'order.created', content: Buffer.from('{}') },
  ...{ options: {}, mandatory: false },
};

/** What became of it so far. */
function outcome(published: Promise<void>): { now: unknown } {
  const seen: { now: unknown } = { now: 'under way' };
  published.then(
    () => {
      seen.now = 'confirmed';
    },
    (error: { code: unknown }) => {
      seen.now = error.code;
    },
  );
  return seen;
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('gives up what the broker has not confirmed 30 s after a later one, and nothing else', async () => {
  const { publisher, resets, now } = await connect();
  const stuck = outcome(publisher.publish(outgoing));
  for (let second = 0; second < 40; second++) {
    const other = outcome(publisher.publish(outgoing));
    now().confirmations.at(-1)?.();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(other.now).toBe('confirmed');
    if (second < 28) expect(stuck.now).toBe('under way');
  }
  expect(stuck.now).toBe('BrokerUnavailable');
  expect(resets).toEqual([]);
  expect(now().closed).toBe(false);
  await publisher.close();
});

it('does not give up what only comes in its turn, however long all take', async () => {
  const { publisher, now } = await connect();
  const all = Array.from({ length: 60 }, () => outcome(publisher.publish(outgoing)));
  for (const [index, one] of all.entries()) {
    await vi.advanceTimersByTimeAsync(1_000);
    now().confirmations[index]?.();
    await vi.advanceTimersByTimeAsync(0);
    expect(one.now).toBe('confirmed');
  }
  await publisher.close();
});

it('takes a broker that confirms nothing for 30 s for gone', async () => {
  const { publisher, resets } = await connect();
  const stuck = outcome(publisher.publish(outgoing));
  await vi.advanceTimersByTimeAsync(29_500);
  expect(resets).toEqual([]);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(resets).toEqual(['no confirmation within 30 s']);
  expect(stuck.now).toBe('under way'); // until the connection has ended
  const closing = publisher.close();
  await vi.advanceTimersByTimeAsync(3_000);
  await closing;
  expect(stuck.now).toBe('BrokerUnavailable');
});

it('makes its channel anew when 50,000 have gone past one that was given up, and what is sent meanwhile waits for that', async () => {
  const { publisher, channels, now } = await connect();
  const stuck = outcome(publisher.publish(outgoing));
  const send = async (count: number) => {
    const sent = Array.from({ length: count }, () => publisher.publish(outgoing));
    await vi.advanceTimersByTimeAsync(0);
    for (const confirmed of now().confirmations.slice(-count)) confirmed();
    await Promise.all(sent);
  };
  await send(1);
  await vi.advanceTimersByTimeAsync(31_000);
  expect(stuck.now).toBe('BrokerUnavailable');
  for (let sent = 0; sent < 49_000; sent += 1_000) await send(1_000);
  await vi.advanceTimersByTimeAsync(3_000);
  expect(channels).toHaveLength(1);
  await send(1_000);
  await vi.advanceTimersByTimeAsync(1_000);
  const next = outcome(publisher.publish(outgoing));
  await vi.advanceTimersByTimeAsync(3_000);
  expect(channels[0]?.closed).toBe(true);
  expect(channels).toHaveLength(2);
  expect(now().confirmations).toHaveLength(1);
  now().confirmations[0]?.();
  await vi.advanceTimersByTimeAsync(0);
  expect(next.now).toBe('confirmed');
  await publisher.close();
});

it('a confirmation that comes after it was given up changes nothing', async () => {
  const { publisher, now } = await connect();
  const stuck = outcome(publisher.publish(outgoing));
  const later = outcome(publisher.publish(outgoing));
  now().confirmations[1]?.();
  await vi.advanceTimersByTimeAsync(31_000);
  expect([stuck.now, later.now]).toEqual(['BrokerUnavailable', 'confirmed']);
  now().confirmations[0]?.();
  await vi.advanceTimersByTimeAsync(0);
  expect(stuck.now).toBe('BrokerUnavailable');
  await publisher.close();
});
