/**
 * The seed's own programs, each with the other half done by Levada. They are unchanged but for the host of the broker and
 * the inventory's sleep.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { type Rabbit, type RabbitVersion, rabbitVersions, startRabbit } from '../../../hack/rabbitmq.ts';
import { freePort } from '../../../operator/drivers/local/ports.ts';
import { handlerServer } from '../../../runtime/steps/testing.ts';
import { requireSeedPython } from '../../support/models.ts';
import { post } from '../../support/serve.ts';
import { root, Workspace } from '../../support/up.ts';
import { until } from '../../support/wait.ts';

/** The programs name no port. */
const amqpPort = 5672;
const orders = Array.from({ length: 50 }, (_, n) => ({
  items: [`item ${n}`, 'mouse'],
  total_amount: n + 0.5,
  user_id: n,
}));
/** Posts an order. @returns the id that it was given */
async function order(url: string, body: object): Promise<string> {
  const { json } = await post(url, body);
  return (json as { order_id: string }).order_id;
}

/** Levada's half, in the folder `half`. */
const writeHalf = (workspace: Workspace, name: string, spec: object) =>
  workspace.write('half/half.json', {
    apiVersion: 'levada.dev/v1alpha1',
    kind: 'EventPipeline',
    metadata: { name },
    spec,
  });

/** An address of this machine on which nobody has the port. */
async function freeAddress(): Promise<string> {
  for (let n = 2; n < 250; n++) {
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(amqpPort, `127.0.0.${n}`, () => resolve(true));
    });
    server.close();
    if (free) return `127.0.0.${n}`;
  }
  throw new Error(`port ${amqpPort} is taken on all of 127.0.0.2 to 127.0.0.249`);
}

/** One of the programs, in a folder of its own. */
class Program {
  output = '';
  readonly #child: ChildProcess;

  static async start(
    workspace: Workspace,
    host: string,
    python: string,
    name: string,
    args: string[],
  ): Promise<Program> {
    const source = await readFile(join(root, 'test/fixtures/seed', `${name}.py`), 'utf8');
    const changed = source
      .replace("RABBITMQ_HOST = 'localhost'", `RABBITMQ_HOST = '${host}'`)
      .replace('time.sleep(2)', 'time.sleep(0)');
    expect(changed).not.toBe(source);
    await workspace.write(`seed/${name}.py`, changed);
    return new Program(spawn(python, args, { cwd: workspace.path('seed'), stdio: ['ignore', 'pipe', 'pipe'] }));
  }

  private constructor(child: ChildProcess) {
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    }
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, 'close');
    this.#child.kill('SIGKILL');
    await ended;
  }
}

const versions = inject('rabbitmq').filter(({ name }) => rabbitVersions.includes(name as RabbitVersion));
describe.each(versions)('RabbitMQ $name', ({ name, missing }) => {
  let rabbit: Rabbit;
  beforeAll(async () => {
    if (missing !== undefined) return;
    rabbit = await startRabbit(name as RabbitVersion, { address: await freeAddress(), amqpPort });
  });
  afterAll(() => rabbit?.remove());

  test('order_service.py publishes, and a `queue` source of Levada takes it from there', async (context) => {
    if (missing !== undefined) context.skip(missing);
    const python = await requireSeedPython(context);
    await using workspace = await Workspace.create();
    await using handler = await handlerServer((res) => void res.writeHead(204).end());
    workspace.env['LEVADA_BROKER_URL'] = rabbit.uri;
    await writeHalf(workspace, 'orders', {
      sources: [{ name: 'legacy', emits: 'order.created', id: 'order_id', queue: { name: 'order_created_events' } }],
      steps: [{ name: 'inventory', consumes: ['order.created'], http: { url: 'http://handler/' } }],
    });
    await workspace.write('half/levada.local.yaml', { hosts: { handler: handler.url } });
    // Levada first: there is no such queue yet, which it says and waits for.
    let up = workspace.spawn(['up', 'half']);
    await up.says('the broker has no queue order_created_events', { timeoutMs: 60_000 });
    const http = await freePort();
    const args = ['-m', 'uvicorn', 'order_service:app', '--host', '127.0.0.1', '--port', String(http)];
    const service = await Program.start(workspace, rabbit.address, python, 'order_service', args);
    const url = `http://127.0.0.1:${http}/orders/`;
    await until('it listens', () => fetch(url).then(() => true), { seen: () => service.output });
    const sent = new Map<string, object>();
    const orderAll = async (bodies: readonly object[]) => {
      for (const body of bodies) {
        const id = await order(url, body);
        sent.set(id, { ...body, order_id: id, status: 'pending' });
      }
    };
    const got = () => new Map(handler.requests.map(({ headers, body }) => [headers['ce-id'], JSON.parse(body)]));
    const all = () =>
      until('all are handled', () => got().size === sent.size, {
        timeoutMs: 60_000,
        seen: () => `${got().size} of ${sent.size}`,
      });
    await orderAll(orders);
    await all();
    // And the other way round: the program goes on while Levada is away, its own queue_declare included.
    await up.interrupt();
    await orderAll(orders.slice(0, 10));
    up = workspace.spawn(['up', 'half']);
    await all();
    expect(Object.fromEntries(got())).toEqual(Object.fromEntries(sent));
    expect(service.output).not.toContain('ERROR');
    await service.stop();
    await up.interrupt();
  });

  test('a `publish` step of Levada puts it there, and inventory_service.py handles it', async (context) => {
    if (missing !== undefined) context.skip(missing);
    const python = await requireSeedPython(context);
    await using workspace = await Workspace.create();
    workspace.env['LEVADA_BROKER_URL'] = rabbit.uri;
    await writeHalf(workspace, 'shop', {
      sources: [
        {
          name: 'api',
          emits: 'order.created',
          http: {
            path: '/orders/',
            assign: { order_id: '{% $uuid() %}', status: 'pending' },
            response: { body: { order_id: '{% order_id %}' } },
          },
        },
      ],
      steps: [{ name: 'out', consumes: ['order.created'], publish: { queue: 'order_created_events', format: 'json' } }],
    });
    const up = workspace.spawn(['up', 'half']);
    await up.says('shop: Running', { timeoutMs: 60_000 });
    const url = `${(await workspace.get('shop')).services['shop-api']}/orders/`;
    const sent: string[] = [];
    const start = () => Program.start(workspace, rabbit.address, python, 'inventory_service', ['inventory_service.py']);
    let service = await start();
    const all = () =>
      until(
        'all are handled',
        () => sent.every((id) => service.output.includes(`Inventory for order ${id} deducted`)),
        {
          timeoutMs: 60_000,
          seen: () => service.output.slice(-2_000),
        },
      );
    for (const body of orders) sent.push(await order(url, body));
    await all();
    expect(service.output).not.toContain('ERROR');
    // It goes, orders come meanwhile, and it comes back: its queue_declare finds the queue as it has made it.
    await service.stop();
    sent.length = 0;
    for (const body of orders.slice(0, 10)) sent.push(await order(url, body));
    service = await start();
    await all();
    expect(service.output).not.toContain('ERROR');
    await service.stop();
    await up.interrupt();
  });
});
