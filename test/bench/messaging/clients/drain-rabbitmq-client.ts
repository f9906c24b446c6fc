/** The npm package rabbitmq-client, from a folder of its own: it parses JSON by itself, and acknowledges each message. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { clientOptions } from './arguments.ts';
import { finish, Meter, orderOf, type Timing } from './meter.ts';

interface Emitter {
  close(): Promise<void>;
  on(event: 'error', listener: (error: Error) => void): void;
}
interface ConsumerOptions {
  queue: string;
  queueOptions: { passive: boolean };
  qos: { prefetchCount: number };
}
interface Client {
  Connection: new (
    url: string,
  ) => Emitter & {
    createConsumer(options: ConsumerOptions, handler: (message: { body: unknown }) => Promise<void>): Emitter;
  };
}

const { uri, queue, prefetch, packages, ...counts } = clientOptions();
const { Connection } = createRequire(join(packages, 'package.json'))('rabbitmq-client') as Client;
const connection = new Connection(uri);
const meter = new Meter(counts);
const ended = Promise.withResolvers<Timing>();
connection.on('error', ended.reject);
const options = { queue, queueOptions: { passive: true }, qos: { prefetchCount: prefetch } };
const consumer = connection.createConsumer(options, async ({ body }) => {
  orderOf(body);
  if (meter.count()) ended.resolve(meter.timing());
});
consumer.on('error', ended.reject);
const timing = await ended.promise;
// Waits for the acknowledgements.
await consumer.close();
await finish(timing, () => connection.close());
