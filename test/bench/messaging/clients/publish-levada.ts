/** Publishes events to a pipeline's own queue. */
import { clientOptions } from './arguments.ts';
import { levada } from './levada.ts';
import { finish } from './meter.ts';
import { publishAll } from './publishing.ts';

const { uri, queue: pipeline, ...counts } = clientOptions();
const { transport, queue, publish } = await levada(uri, pipeline);
const timing = await publishAll(counts, (n) => publish(n));
await finish({ ...timing, queue }, () => transport.close());
