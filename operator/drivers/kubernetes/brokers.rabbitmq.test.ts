/** What the operator itself puts into a pipeline's queues. */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { settingsFromUri } from '../../../brokers/rabbitmq/settings.ts';
import { openInbox } from '../../../runtime/transports/conformance/inbox.ts';
import { message } from '../../../runtime/transports/conformance/messages.ts';
import { RabbitTransport } from '../../../runtime/transports/rabbitmq/transport.ts';
import { freshVhost, onEachRabbit } from '../../../test/support/rabbitmq.ts';
import { Brokers } from './brokers.ts';

onEachRabbit((broker) => {
  test('what is published for a model arrives where it is bound, or is refused', async () => {
    const settings = settingsFromUri(await freshVhost(broker), 'the test');
    const pipeline = `test/${randomUUID()}`;
    const brokers = new Brokers({ inHand: () => ({ unsettled: 0, delayed: 0 }), changed: () => {}, log: () => {} });
    const transport = new RabbitTransport(settings);
    try {
      const session = brokers.take(pipeline, settings);
      const event = message('v2-a-0/model.promoted', { type: 'model.promoted', subject: 'v2' });
      const publish = (key: string) => session.publish(pipeline, event, key);
      await expect(publish('model.promoted@iris')).rejects.toMatchObject({ code: 'QueueNotFound' });
      const bindings = [{ pipeline, type: 'model.promoted@iris' }];
      const topology = { pipeline, queues: [{ name: 'news', bindings }] };
      await session.broker.apply(topology);
      await publish('model.promoted@iris');
      await expect(publish('model.promoted@other')).rejects.toMatchObject({ code: 'PublishUnroutable' });
      expect(await session.broker.depths(pipeline)).toMatchObject({ news: { ready: 1, dead: 0 } });
      await transport.apply(topology);
      const inbox = await openInbox(transport, pipeline, 'news', 10);
      const [delivery] = await inbox.has(1);
      expect(delivery?.message).toMatchObject({ id: 'v2-a-0/model.promoted', type: 'model.promoted', subject: 'v2' });
      // It is mended as any other binding is.
      expect(await session.broker.mend(pipeline)).toBe(false);
    } finally {
      await transport.close();
      await brokers.close();
    }
  });
});
