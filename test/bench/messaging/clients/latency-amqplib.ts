/** The same as latency-levada.ts, by a bare amqplib: confirmations, acknowledgements in groups. */
import { connect } from 'amqplib';
import { clientOptions } from './arguments.ts';
import { orderBody } from './body.ts';
import { consumeGrouped } from './grouped.ts';
import { Latencies, paced } from './latency.ts';
import { finish } from './meter.ts';

const { uri, role, ...options } = clientOptions();
const connection = await connect(uri, { noDelay: true });

async function consume(): Promise<object> {
  const channel = await connection.createChannel();
  const latencies = new Latencies(options);
  const { ended } = await consumeGrouped(channel, options, ({ content }) =>
    latencies.take(JSON.parse(content.toString())),
  );
  console.log('READY');
  await ended;
  return latencies.result();
}

async function publish(): Promise<object> {
  const channel = await connection.createConfirmChannel();
  const properties = { persistent: true, contentType: 'application/json' };
  await paced(
    options,
    (n, due) =>
      new Promise((resolve, reject) => {
        channel.sendToQueue(options.queue, orderBody(n, due), { ...properties, messageId: String(n) }, (error) => {
          if (error) reject(error as Error);
          else resolve();
        });
      }),
  );
  return {};
}

await finish(await (role === 'consume' ? consume() : publish()), () => connection.close());
