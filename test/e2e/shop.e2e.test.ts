/** examples/shop on a cluster, over a RabbitMQ that runs there: the same results as on a laptop. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, inject, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { imageVersion, Namespace } from '../support/e2e.ts';
import { podWithService, queuesIn, sinkPod, sunk } from '../support/e2e-pipeline.ts';
import { type ShopOrder, shopFolder } from '../support/shop.ts';
import { checkAllOrders, type ShopRun, type Sunk, shopTypes } from '../support/shop-all.ts';
import { until } from '../support/wait.ts';

interface Pipeline {
  spec: { broker?: object; steps: object[] };
}

const fraudModel = join(shopFolder, 'models/fraud/1/model.onnx');
const credentials = { username: 'shop', password: 'not-a-secret' };

/** What a cluster of a user's has beside Levada: a broker with its Secret, a service, and something that takes what comes out. */
const others = (namespace: string) => [
  ...podWithService('rabbitmq', `levada/rabbitmq:${imageVersion}`, 5672, {
    env: [
      { name: 'RABBITMQ_DEFAULT_USER', value: credentials.username },
      { name: 'RABBITMQ_DEFAULT_PASS', value: credentials.password },
    ],
  }),
  {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'rabbitmq' },
    stringData: { host: `rabbitmq.${namespace}.svc`, ...credentials },
  },
  ...podWithService('inventory', 'shop/inventory:1', 8080),
  ...sinkPod(),
];

/** shop.yaml as it is, but for where its broker is, and a step that hands on what comes out. */
async function resources(): Promise<object[]> {
  const text = await readFile(join(shopFolder, 'shop.yaml'), 'utf8');
  const [pipeline, model] = parseAllDocuments(text).map((document) => document.toJS() as object);
  const { spec } = pipeline as Pipeline;
  spec.broker = { rabbitmq: { secretRef: { name: 'rabbitmq' } } };
  spec.steps.push({ name: 'sink', consumes: shopTypes, http: { url: 'http://sink/' } });
  return [pipeline ?? {}, model ?? {}];
}

class ClusterShop implements ShopRun {
  readonly #namespace: Namespace;
  #sunk: readonly Sunk[] = [];

  constructor(namespace: Namespace) {
    this.#namespace = namespace;
  }

  async order(order: ShopOrder): Promise<string> {
    const path = `/api/v1/namespaces/${this.#namespace.name}/services/orders-api:80/proxy/orders/`;
    const answer = await this.#namespace.post(path, order);
    return (JSON.parse(answer) as { order_id: string }).order_id;
  }

  /** Also what waits to be tried again; not the record of what has been made, and not what is dead. */
  async idle(): Promise<void> {
    const waits = ([name]: readonly string[]) =>
      /^levada\.(delay\.|.*\.orders\.)/.test(name ?? '') && !/\.(record|dead)$/.test(name ?? '');
    await until('nothing is left in the queues', async () => (await this.#queues()).filter(waits).length === 0, {
      timeoutMs: 120_000,
    });
  }

  async emitted(type: string, orderId: string): Promise<Sunk> {
    const find = () => this.#sunk.find((one) => one.type === type && one.data['order_id'] === orderId);
    const look = async () => {
      await this.#look();
      return find();
    };
    return until(`${type} of ${orderId}`, async () => find() ?? look(), { timeoutMs: 60_000 });
  }

  async hasEmitted(type: string, orderId: string): Promise<boolean> {
    await this.#look();
    return this.#sunk.some((one) => one.type === type && one.data['order_id'] === orderId);
  }

  async deadLetters(): Promise<readonly unknown[]> {
    return (await this.#queues()).filter(([name]) => name?.endsWith('.dead'));
  }

  /** Name and number of messages of each queue that holds any. */
  async #queues(): Promise<string[][]> {
    const queues = await queuesIn(this.#namespace, 'rabbitmq');
    if (!queues.some(([name]) => name?.endsWith('.record'))) {
      throw new Error(`not the queues of a pipeline: ${JSON.stringify(queues)}`);
    }
    return queues.filter(([, messages]) => messages !== '0');
  }

  async #look(): Promise<void> {
    this.#sunk = await sunk(this.#namespace);
  }
}

it('all orders give the expected results', async () => {
  await using namespace = await Namespace.create();
  await namespace.kubectl('create', 'configmap', 'fraud-model', `--from-file=${fraudModel}`);
  await namespace.apply(others(namespace.name));
  await namespace.kubectl('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=180s');
  const began = performance.now();
  await namespace.apply(await resources());
  await namespace.says('modeldeployment/fraud', 'Ready', 'True Serving');
  await namespace.says('eventpipeline/orders', 'Ready', 'True Running', 240_000);
  const shop = new ClusterShop(namespace);
  const first = await shop.order({ items: ['laptop'], user_id: 7, total_amount: 20 });
  await shop.emitted('order.enriched', first);
  const applied = (performance.now() - began) / 1000;
  const { installSeconds } = inject('e2e');
  process.stderr.write(
    `e2e: from helm install to the first order scored and enriched: ${(installSeconds + applied).toFixed(1)} s ` +
      `(the operator ${installSeconds.toFixed(1)}, the shop from kubectl apply on ${applied.toFixed(1)})\n`,
  );
  await checkAllOrders(shop);
  const status = await namespace.kubectl('get', 'eventpipeline', 'orders', '-o', 'json');
  expect(status).not.toContain(credentials.password);
});
