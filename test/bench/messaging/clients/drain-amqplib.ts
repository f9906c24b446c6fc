/** A bare consumer: JSON parsed, acknowledged one by one (`--group 1`) or so many with one frame. */
import { connect } from 'amqplib';
import { clientOptions } from './arguments.ts';
import { consumeGrouped } from './grouped.ts';
import { finish, Meter, orderOf, type Timing } from './meter.ts';

const { uri, ...options } = clientOptions();
const connection = await connect(uri, { noDelay: true });
const channel = await connection.createChannel();
const meter = new Meter(options);
let timing: Timing | undefined;
const { ended } = await consumeGrouped(channel, options, ({ content }) => {
  orderOf(JSON.parse(content.toString()));
  const isLast = meter.count();
  if (isLast) timing = meter.timing();
  return isLast;
});
await ended;
await finish({ ...timing }, async () => {
  // The connection's end would overtake the channel's last acknowledgements.
  await channel.close();
  await connection.close();
});
