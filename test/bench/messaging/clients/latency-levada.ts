/** `--role consume` prints READY and, at the end, latencies; `--role publish` sends at a fixed rate. */
import { readJson } from '../../../../runtime/events/json.ts';
import { clientOptions } from './arguments.ts';
import { Latencies, paced } from './latency.ts';
import { levada } from './levada.ts';
import { finish } from './meter.ts';

const { uri, queue: pipeline, role, prefetch, ...shape } = clientOptions();
const { transport, queue, name, publish } = await levada(uri, pipeline);

async function consume(): Promise<object> {
  const latencies = new Latencies(shape);
  const ended = Promise.withResolvers<object>();
  await transport.consume(name, prefetch, ({ message, settle }) => {
    const isLast = latencies.take(readJson(message.data));
    settle({ kind: 'done', emits: [] }).then(() => isLast && ended.resolve(latencies.result()), ended.reject);
  });
  console.log('READY');
  return await ended.promise;
}

if (role === 'consume') await finish({ ...(await consume()), queue }, () => transport.close());
else {
  await paced(shape, publish);
  await finish({}, () => transport.close());
}
