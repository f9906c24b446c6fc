/** What came back from a delay after its queue had gone is kept, and brought back with the queue. */
import { randomUUID } from 'node:crypto';
import { connect } from 'amqplib';
import { expect, test } from 'vitest';
import { bringBack } from '../../../brokers/rabbitmq/lost.ts';
import { lostQueue, retryExchange, retryKey, stepQueues } from '../../../brokers/rabbitmq/names.ts';
import { settingsFromUri } from '../../../brokers/rabbitmq/settings.ts';
import { freshVhost, onEachRabbit } from '../../../test/support/rabbitmq.ts';
import { until } from '../../../test/support/wait.ts';
import { message } from '../conformance/messages.ts';
import { RabbitTransport } from './transport.ts';

onEachRabbit((broker) => {
  test('a retry of a queue that was deleted meanwhile', async () => {
    const uri = await freshVhost(broker);
    const transport = new RabbitTransport(settingsFromUri(uri, 'the test'));
    const admin = await connect(uri);
    try {
      const pipeline = `test/${randomUUID()}`;
      const bindings = [{ pipeline, type: 'order' }];
      await transport.apply({ pipeline, queues: [{ name: 'a', bindings }] });
      await transport.publish(pipeline, [message('1')]);
      const seen: string[] = [];
      const consumer = await transport.consume({ pipeline, queue: 'a' }, 1, (delivery) => {
        const { id, delivery: info } = delivery.message;
        seen.push(`${id} ${info.attempt}`);
        const again = message('1', { delivery: { attempt: 2 } });
        void delivery.settle(
          info.attempt === 1 ? { kind: 'retry', message: again, delayMs: 1_000 } : { kind: 'done', emits: [] },
        );
      });
      await until('it waits', async () => (await transport.depths(pipeline))['a']?.delayed === 1);
      const channel = await admin.createChannel();
      await channel.deleteQueue(stepQueues(pipeline, 'a', {}, false)[0]!.name);
      await until('it is kept', async () => (await channel.checkQueue(lostQueue)).messageCount === 1);
      await transport.broker.mend(pipeline);
      await until('it is delivered', () => seen.length === 2, { seen: () => seen.join() });
      expect(seen).toEqual(['1 1', '1 2']);
      expect((await channel.checkQueue(lostQueue)).messageCount).toBe(0);
      await consumer.close();
    } finally {
      await admin.close();
      await transport.close();
    }
  });

  test('what a full queue refuses stays, and what others have lost is brought back all the same', async () => {
    const uri = await freshVhost(broker);
    const transport = new RabbitTransport(settingsFromUri(uri, 'the test'));
    const admin = await connect(uri);
    try {
      const pipeline = `test/${randomUUID()}`;
      const queues = ['full', 'free'].map((name) => ({ name, bindings: [{ pipeline, type: name }] }));
      await transport.apply({ pipeline, queues });
      const channel = await admin.createConfirmChannel();
      const [full, free] = ['full', 'free'].map((name) => stepQueues(pipeline, name, {}, false)[0]!.name) as [
        string,
        string,
      ];
      // A queue without a length takes everything: one of somebody else's that has one stands in its place.
      for (const queue of [full, free]) await channel.deleteQueue(queue);
      for (const name of ['full', 'free', 'full']) {
        channel.publish(retryExchange, retryKey(pipeline, name), Buffer.from('{}'), { persistent: true });
      }
      await channel.waitForConfirms();
      await until('they are kept', async () => (await channel.checkQueue(lostQueue)).messageCount === 3);
      const stand = { durable: true, arguments: { 'x-max-length': 0, 'x-overflow': 'reject-publish' } };
      await channel.assertQueue('stand-in', stand);
      await channel.bindQueue('stand-in', retryExchange, retryKey(pipeline, 'full'));
      await channel.assertQueue('other', { durable: true });
      await channel.bindQueue('other', retryExchange, retryKey(pipeline, 'free'));
      expect(await bringBack(channel, () => true)).toBe(1);
      expect((await channel.checkQueue('other')).messageCount).toBe(1);
      await until('the others are there still', async () => (await channel.checkQueue(lostQueue)).messageCount === 2);
    } finally {
      await admin.close();
      await transport.close();
    }
  });
});
