/** A queue that another one takes the place of, and what processes have in hand of it. */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { settingsFromUri } from '../../../brokers/rabbitmq/settings.ts';
import { Others } from '../../../test/integration/rabbitmq/harness.ts';
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
      await making.apply({ pipeline, queues, settings: { deliveryLimit: 10 } });
      worker.place(making.broker.placement(pipeline)!);
      const held: Delivery[] = [];
      await worker.consume({ pipeline, queue: 'a' }, 1, (delivery) => held.push(delivery));
      await making.publish(pipeline, [message('1')]);
      await until('it is in hand', () => held.length === 1);
      await making.apply({ pipeline, queues, settings: { deliveryLimit: 11 } });
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

  test('a queue that is empty for the broker only because one has fallen silent stays', async () => {
    const settings = settingsFromUri(await freshVhost(broker), 'the test');
    const making = new RabbitTransport(settings);
    const silent = new RabbitTransport(settings);
    try {
      const pipeline = `test/${randomUUID()}`;
      const queues = [{ name: 'a', bindings: [{ pipeline, type: 'order' }] }];
      const sources = () => making.broker.placement(pipeline)?.queues['a']?.from.length;
      await making.apply({ pipeline, queues, settings: { deliveryLimit: 10 } });
      silent.place(making.broker.placement(pipeline)!);
      const held: Delivery[] = [];
      // It has a message in hand, of which nobody here knows, and hears of no placement any more.
      await silent.consume({ pipeline, queue: 'a' }, 1, (delivery) => held.push(delivery));
      await making.publish(pipeline, [message('1')]);
      await until('it is in hand', () => held.length === 1);
      const [old] = making.broker.placement(pipeline)!.queues['a']!.from;
      await making.apply({ pipeline, queues, settings: { deliveryLimit: 11 } });
      await until('consumers are told to leave', async () => {
        await making.depths(pipeline);
        return sources() === 1;
      });
      const looks = Array.from({ length: 20 });
      for (const _ of looks) {
        await making.depths(pipeline);
        await new Promise((resolve) => setTimeout(resolve, 150));
      }
      const seen: string[] = [];
      await making.consume({ pipeline, queue: 'a' }, 1, (delivery) => {
        seen.push(delivery.message.id);
        void delivery.settle({ kind: 'done', emits: [] });
      });
      await silent.close(); // the broker has noticed
      await until('another one has it', async () => {
        await making.depths(pipeline);
        return seen.length === 1;
      });
      await using others = await Others.open(settings);
      await until('the old queue goes', async () => {
        await making.depths(pipeline);
        return others.channel.checkQueue(old!.name).then(
          () => false,
          () => true,
        );
      });
    } finally {
      await silent.close();
      await making.close();
    }
  });
});
