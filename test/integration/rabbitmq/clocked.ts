/**
 * A consumer whose clock others set: a line for each delivery that has ended, with its time. Settings come by stdin.
 *
 *     node clocked.ts PIPELINE
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import type { RabbitSettings } from '../../../brokers/rabbitmq/settings.ts';
import { RabbitTransport } from '../../../runtime/transports/rabbitmq/transport.ts';
import { hostOf, retry } from './hosting.ts';

const [pipeline = ''] = process.argv.slice(2);
const settings = (await json(process.stdin)) as RabbitSettings;
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);

/** When each was handled last, monotonic: the wait for another attempt is counted from then, whatever the broker takes besides. */
const handled = new Map<unknown, number>();

// Fails the first attempt of those that ask for it.
const handler = createServer((request, response) => {
  handled.set(request.headers['ce-id'], performance.now());
  const fails = request.headers['ce-subject'] !== undefined && request.headers['x-levada-attempt'] === '1';
  request.resume().on('end', () => {
    if (fails) response.writeHead(500).end();
    else response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
});
await new Promise<void>((resolve) => handler.listen(0, '127.0.0.1', resolve));
const { port } = handler.address() as AddressInfo;

const transport = new RabbitTransport(settings);
const host = hostOf(transport, ({ message: { id }, end, error }) =>
  say({ id, end, error, now: Date.now(), handled: handled.get(id) }),
);
await host.apply({
  topology: {
    pipeline,
    queues: [
      { name: 'work', bindings: [{ pipeline, type: 'order' }] },
      { name: 'out', bindings: [{ pipeline, type: 'done' }] },
    ],
  },
  sources: [],
  consumers: [
    {
      kind: 'consumer',
      pipeline,
      name: 'work',
      action: { kind: 'http', url: `http://127.0.0.1:${port}/`, timeoutMs: 5_000 },
      emits: [{ type: 'done' }],
      retry,
      idempotency: { retentionMs: 86_400_000 },
      concurrency: 4,
    },
  ],
});
say({ end: 'ready', now: Date.now() });
