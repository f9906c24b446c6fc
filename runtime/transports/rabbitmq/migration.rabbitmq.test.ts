/** A queue that another one takes the place of, and what processes have in hand of it. */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { settingsFromUri } from '../../../brokers/rabbitmq/settings.ts';
import { freshVhost, onEachRabbit } from '../../../test/support/rabbitmq.ts';
import { until } from '../../../test/support/wait.ts';
import { message } from '../conformance/messages.ts';
import type { Delivery } from '../transport.ts';
import { RabbitTransport } from './transport.ts';

onEachRabbit((broker) => {
  test('what a process has in hand and has not told yet is not lost with it', async () => {
    const settings = settingsFromUri(await freshVhost(broker), 'the test');
    let told = 0;
    const making = new RabbitTransport(settings, { othersInHand: () => ({ unsettled: told, delayed: 0 }) });
    const worker = new RabbitTransport(settings);
    try {
      const pipeline = `test/${randomUUID()}`;
      const queues = [{ name: 'a', bindings: [{ pipeline, type: 'order' }] }];
      const sources = () => making.broker.placement(pipeline)?.queues['a']?.from.length;
      await making.apply({ pipeline, queues, settings: { maxLength: 1_000 } });
      worker.place(making.broker.placement(pipeline)!);
      const held: Delivery[] = [];
      await worker.consume({ pipeline, queue: 'a' }, 1, (delivery) => held.push(delivery));
      await making.publish(pipeline, [message('1')]);
      await until('it is in hand', () => held.length === 1);
      await making.apply({ pipeline, queues, settings: { maxLength: 2_000 } });
      await making.depths(pipeline);
      expect(sources()).toBe(2);
      told = 1;
      await worker.close(); // as if killed: nothing is settled
      told = 0;
      const seen: string[] = [];
      await making.consume({ pipeline, queue: 'a' }, 1, (delivery) => {
        seen.push(delivery.message.id);
        void delivery.settle({ kind: 'done', emits: [] });
      });
      await until('another one has it', () => seen.length === 1);
      await until('the old queue goes', async () => {
        await making.depths(pipeline);
        return sources() === 1;
      });
      expect(seen).toEqual(['1']);
    } finally {
      await worker.close();
      await making.close();
    }
  });
});
