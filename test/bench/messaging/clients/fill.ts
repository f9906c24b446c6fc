/** Publishes to a queue with confirmations, by a bare amqplib. */
import { connect } from 'amqplib';
import { clientOptions } from './arguments.ts';
import { orderBody } from './body.ts';
import { finish } from './meter.ts';
import { publishAll } from './publishing.ts';

const { uri, queue, ...counts } = clientOptions();
const connection = await connect(uri, { noDelay: true });
const channel = await connection.createConfirmChannel();
const options = { persistent: true, contentType: 'application/json' };
const timing = await publishAll(
  counts,
  (n) =>
    new Promise((resolve, reject) => {
      channel.sendToQueue(queue, orderBody(n), { ...options, messageId: String(n) }, (error: unknown) => {
        if (error) reject(error);
        else resolve();
      });
    }),
);
await finish(timing, () => connection.close());
