/** Our transport; the queue is somebody else's, adopted as a `queue` source does. */
import { settingsFromUri } from '../../../../brokers/rabbitmq/settings.ts';
import { readJson } from '../../../../runtime/events/json.ts';
import { RabbitTransport } from '../../../../runtime/transports/rabbitmq/transport.ts';
import { clientOptions } from './arguments.ts';
import { finish, Meter, orderOf, type Timing } from './meter.ts';

const { uri, queue, prefetch, ...counts } = clientOptions();
const transport = new RabbitTransport(settingsFromUri(uri, 'the benchmark'), { log: (text) => console.error(text) });
const pipeline = `bench/${queue}`;
await transport.apply({ pipeline, queues: [{ name: 'drain', bindings: [], adopts: queue }] });
const meter = new Meter(counts);
const ended = Promise.withResolvers<Timing>();
const consumer = await transport.consume({ pipeline, queue: 'drain' }, prefetch, ({ message, settle }) => {
  orderOf(readJson(message.data));
  const isLast = meter.count();
  const settled = settle({ kind: 'done', emits: [] });
  if (isLast) {
    const timing = meter.timing();
    settled.then(() => ended.resolve(timing), ended.reject);
  } else settled.catch(ended.reject);
});
const timing = await ended.promise;
await consumer.close();
// What was made for it goes; the drained queue is not ours.
await transport.apply({ pipeline, queues: [] });
await finish(timing, () => transport.close());
