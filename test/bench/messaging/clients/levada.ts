import { settingsFromUri } from '../../../../brokers/rabbitmq/settings.ts';
import type { Message } from '../../../../runtime/events/message.ts';
import { RabbitTransport } from '../../../../runtime/transports/rabbitmq/transport.ts';
import { orderBody } from './body.ts';

const type = 'order.placed';
const step = 'sink';

/** Our transport, with a pipeline of one queue. */
export async function levada(uri: string, pipeline: string) {
  const transport = new RabbitTransport(settingsFromUri(uri, 'the benchmark'), { log: (text) => console.error(text) });
  await transport.apply({ pipeline, queues: [{ name: step, bindings: [{ pipeline, type }] }] });
  const placed = transport.broker.placement(pipeline)?.queues[step]?.from ?? [];
  return {
    transport,
    name: { pipeline, queue: step },
    /** What the broker calls it. */
    queue: placed[0]?.name ?? '',
    publish: (n: number, due = 0) => transport.publish(pipeline, [order(n, due)]),
  };
}

const order = (n: number, due: number): Message => ({
  ...{ id: String(n), source: '/bench/api', type, datacontenttype: 'application/json', extensions: {} },
  data: orderBody(n, due),
  delivery: { attempt: 1 },
});
