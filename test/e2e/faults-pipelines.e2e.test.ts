/** What goes wrong with pipelines on a real cluster, over the RabbitMQ of the chart, and what the operator makes of it. */
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { dlqCommand } from '../../cli/dlq.ts';
import { run } from '../../cli/testing.ts';
import { conditionOf, Namespace, operatorNamespace, showOnFailure } from '../support/e2e.ts';
import { ChartBroker, sinkPod, sunk } from '../support/e2e-pipeline.ts';
import { irisModel } from '../support/up.ts';
import { until } from '../support/wait.ts';

const apiVersion = 'levada.dev/v1alpha1';
let namespace: Namespace;
let broker: ChartBroker;

beforeAll(async () => {
  namespace = await Namespace.create();
  broker = await ChartBroker.install(namespace);
  await broker.secret(namespace);
  await namespace.apply(sinkPod());
  await namespace.kubectl('wait', '--for=condition=Ready', 'pod/sink', '--timeout=120s');
});
afterAll(async () => {
  await namespace[Symbol.asyncDispose]();
  await broker?.[Symbol.asyncDispose](); // it may not have come so far
});
showOnFailure(() => namespace);

/** On the broker of the Secret `rabbitmq`: a source `api`, and a step `check` that takes orders to `url`. */
function pipeline(name: string, url: string, spec: object = {}): object {
  return {
    apiVersion,
    kind: 'EventPipeline',
    metadata: { name },
    spec: {
      broker: { rabbitmq: { secretRef: { name: 'rabbitmq' } } },
      sources: [{ name: 'api', emits: 'order.created', http: { path: '/orders/' } }],
      steps: [{ name: 'check', consumes: ['order.created'], http: { url } }],
      ...spec,
    },
  };
}

/** Posts an order, once the source takes it. */
async function order(name: string, id: number, at = namespace): Promise<void> {
  const path = `/api/v1/namespaces/${at.name}/services/${name}-api:80/proxy/orders/`;
  let said = '';
  const post = async () => {
    said = await at.post(path, { id }).catch(String);
    return !said.startsWith('Error');
  };
  await until(`${name} takes order ${id}`, post, { seen: () => said });
}

async function comes(id: number): Promise<void> {
  let seen = '';
  await until(
    `order ${id} comes to its step`,
    async () => {
      const all = await sunk(namespace);
      seen = JSON.stringify(all);
      return all.some(({ data }) => data['id'] === id);
    },
    { timeoutMs: 120_000, seen: () => seen },
  );
}

/** It goes, all that was made for it, and its queues. */
async function remove(name: string): Promise<void> {
  await namespace.kubectl('delete', 'eventpipeline', name, '--timeout=120s');
  const kinds = 'deployments,replicasets,services,configmaps,pods,secrets';
  let left: string[] = [];
  await until(
    `nothing is left of ${name}`,
    async () => {
      const objects = await namespace.names(kinds, `--selector=levada.dev/pipeline=${name}`);
      left = [...objects, ...(await broker.queues(`levada.${namespace.name}.${name}.`))];
      return left.length === 0;
    },
    { timeoutMs: 120_000, seen: () => left.join('\n') },
  );
}

it('what the API server refuses: kubectl says which field, what was found, and what is allowed', async () => {
  const http = { url: 'http://sink/' };
  const step = { name: 'check', consumes: ['order.created'] };
  for (const [spec, ...said] of [
    [
      { steps: [{ ...step, http, publish: { queue: 'other' } }] },
      'spec.steps[0]',
      'exactly one of http, model, transform, fanout, publish, container; found [ http publish ]',
    ],
    [
      { steps: [{ ...step, http: { ...http, timeout: '6m' } }] },
      'spec.steps[0].http.timeout',
      'timeout is between 1ms and 5m; found 6m',
    ],
    [{ steps: [{ ...step, name: 'Check', http }] }, 'spec.steps[0].name', '"Check"', "should match '^[a-z0-9]"],
    [{ steps: [{ ...step, http: { ...http, method: 'PUT' } }] }, 'unknown field "spec.steps[0].http.method"'],
    [{ sources: [] }, 'spec.sources', 'should have at least 1 items'],
  ] as const) {
    const answer = await namespace.refuses(pipeline('bad', '', spec));
    for (const part of said) expect(answer).toContain(part);
  }
  expect(await namespace.names('eventpipelines')).toEqual([]);
});

it('what the operator refuses: Accepted=False with its code, field, what was found and what is allowed', async () => {
  const steps = [{ name: 'check', consumes: ['order.paid'], http: { url: 'http://sink/' } }];
  await namespace.apply([pipeline('refused', '', { steps })]);
  const live = await namespace.says('eventpipeline/refused', 'Accepted', 'False EventNotEmitted');
  const said = 'spec.steps[0].consumes[0]: nothing emits "order.paid"; emitted are: order.created';
  expect(conditionOf(live, 'Accepted')?.message).toContain(said);
  expect(conditionOf(live, 'Ready')).toMatchObject({ status: 'False', reason: 'EventNotEmitted' });
  await namespace.apply([pipeline('refused', 'http://sink/')]);
  await namespace.says('eventpipeline/refused', 'Ready', 'True Running');
  await remove('refused');
});

it('deleted while it is being made it leaves nothing', async () => {
  const isMade = async (what: string) => {
    await until(`${what} is there`, async () => (await namespace.kubectl('get', what, '-o', 'name')) !== '');
  };
  for (const what of ['eventpipeline/brief', 'deployment/brief-check']) {
    await namespace.apply([pipeline('brief', 'http://sink/')]);
    await isMade(what);
    await remove('brief');
  }
});

it('the broker is away when it is applied: it says so; when it is back it runs', async () => {
  await broker.scale(0);
  await namespace.apply([pipeline('away', 'http://sink/', { broker: undefined })]);
  const live = await namespace.says('eventpipeline/away', 'Ready', 'False BrokerUnavailable');
  expect(conditionOf(live, 'BrokerConnected')).toMatchObject({ status: 'False', reason: 'BrokerUnavailable' });
  expect(conditionOf(live, 'Ready')?.message).toContain(`levada-rabbitmq.${operatorNamespace}.svc`);
  expect(conditionOf(live, 'Stalled')?.status).toBe('False');
  expect(await namespace.names('deployments')).toEqual([]);
  await broker.scale(1);
  await namespace.says('eventpipeline/away', 'Ready', 'True Running');
  await order('away', 1);
  await comes(1);
  await remove('away');
});

it('its Secret changes: its pods do; its Secret goes: that is said, and what runs goes on', async () => {
  const name = 'eventpipeline/secret';
  const pods = () => namespace.names('pods', '--selector=levada.dev/pipeline=secret');
  await namespace.apply([pipeline('secret', 'http://sink/')]);
  await namespace.says(name, 'Ready', 'True Running');
  const before = await pods();
  expect(before).toHaveLength(2);

  const other = { username: 'other', password: 'not-a-secret' };
  await broker.ctl('add_user', other.username, other.password);
  await broker.ctl('set_user_tags', other.username, 'management', 'policymaker');
  await broker.ctl('set_permissions', other.username, '.*', '.*', '.*');
  await broker.secret(namespace, other);
  let now: string[] = [];
  await until(
    'all pods are others',
    async () => {
      now = await pods();
      return now.length === 2 && now.every((pod) => !before.includes(pod));
    },
    { timeoutMs: 180_000, seen: () => `${before.join()} ${now.join()}` },
  );
  await namespace.says(name, 'Ready', 'True Running');
  expect(await broker.ctl('list_connections', 'user')).toContain('other');
  await order('secret', 2);
  await comes(2);

  await namespace.kubectl('delete', 'secret', 'rabbitmq');
  const gone = await namespace.says(name, 'Ready', 'False SecretNotFound');
  expect(conditionOf(gone, 'Ready')?.message).toContain(`${namespace.name}/rabbitmq`);
  await order('secret', 3);
  await comes(3);
  expect(await pods()).toEqual(now);
  await broker.secret(namespace);
  await namespace.says(name, 'Ready', 'True Running');
  await remove('secret');
});

it('dead letters, by `levada dlq` through the API server: listed, replayed, dropped', async () => {
  const flags = ['--kubeconfig', inject('e2e').kubeconfig, '-n', namespace.name];
  const dlq = (...args: string[]) => run(dlqCommand(), 'dead', ...args, ...flags);
  await namespace.apply([pipeline('dead', 'http://sink/422')]);
  await namespace.says('eventpipeline/dead', 'Ready', 'True Running');
  for (const id of [4, 5]) await order('dead', id);
  let listed = '';
  await until(
    'both are dead letters',
    async () => {
      listed = (await dlq('ls')).stdout;
      return listed.match(/check +\S+ +order\.created +HandlerRejected/g)?.length === 2;
    },
    { timeoutMs: 120_000, seen: () => listed },
  );
  const { items } = JSON.parse((await dlq('ls', '-o', 'json')).stdout) as {
    items: Array<{ id: string; data: object }>;
  };
  const [first] = items.filter(({ data }) => JSON.stringify(data).includes('4'));
  expect((await dlq('show', first?.id ?? '')).stdout).toContain('"id": 4');
  await namespace.apply([pipeline('dead', 'http://sink/204')]);
  // Until then a pod of before may take what is replayed.
  await namespace.says('eventpipeline/dead', 'Reconciling', 'False Settled');
  const before = (await sunk(namespace)).length;
  expect((await dlq('replay', first?.id ?? '')).stdout).toContain('1 dead letter replayed');
  await until('it is handled', async () => (await sunk(namespace)).length > before);
  expect((await dlq('drop', '--all')).stdout).toContain('1 dead letter dropped');
  expect((await dlq('ls')).stdout).toContain('no dead letters');
  const came = await sunk(namespace);
  expect(came.slice(before).map(({ data }) => data['id'])).toEqual([4]);
  await remove('dead');
});

it('a namespace that is deleted goes with all that is in it, and the log says what stays in the broker', async () => {
  const doomed = await Namespace.create();
  await broker.secret(doomed);
  await doomed.kubectl('create', 'configmap', 'iris', `--from-file=${irisModel(1)}`);
  const versions = [{ name: 'v1', uri: 'configmap://iris/model.onnx' }];
  await doomed.apply([
    pipeline('orders', 'http://nobody/'),
    { apiVersion, kind: 'ModelDeployment', metadata: { name: 'iris' }, spec: { versions } },
  ]);
  await doomed.says('modeldeployment/iris', 'Ready', 'True Serving');
  await doomed.says('eventpipeline/orders', 'Ready', 'True Running');
  await order('orders', 6, doomed);
  await doomed.kubectl('delete', 'namespace', doomed.name, '--timeout=180s');
  const log = await broker.namespace.kubectl('logs', 'deployment/levada', '--tail=1000');
  const said = new RegExp(`EventPipeline/${doomed.name}/orders is deleted: in the broker stay [1-9]\\d* messages`);
  expect(log).toMatch(said);
  expect(await broker.queues(`levada.${doomed.name}.orders.check.`)).not.toEqual([]);
});
