/** What came back from a delay after its queue had gone is kept, and brought back with the queue. */
import { randomUUID } from 'node:crypto';
import { connect } from 'amqplib';
import { expect, test } from 'vitest';
import { lostQueue, workQueue } from '../../../brokers/rabbitmq/names.ts';
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
      await channel.deleteQueue(workQueue(pipeline, 'a', {}, false).name);
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
});
