/** Pipelines on a real API server and a real RabbitMQ; only the kubelet is stood in for. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorCodeOf } from '../api/errors.ts';
import { clientOf } from '../test/support/cluster.ts';
import { installGateway, removeGateway } from '../test/support/gateway.ts';
import { allow, operatorRules, RunningOperator, without } from '../test/support/operator.ts';
import { conditionOf, onClusterWithRabbit, PipelineCluster } from '../test/support/pipeline-cluster.ts';
import { startProxy } from '../test/support/proxy.ts';
import { until } from '../test/support/wait.ts';
import { childTypes } from './drivers/kubernetes/types.ts';
import type { StoredObject } from './engine/objects.ts';

onClusterWithRabbit((broker) => {
  let cluster: PipelineCluster;
  beforeAll(async () => {
    cluster = await PipelineCluster.start(broker);
  });
  afterAll(() => cluster.close());

  const operator = (options: ConstructorParameters<typeof RunningOperator>[1] = {}) =>
    new RunningOperator(clientOf(cluster.plane, cluster.plane.admin), options);

  it('runs what is applied: an order that is posted comes to its step', async () => {
    await using shop = await cluster.shop();
    await using _ = operator();
    await shop.apply('orders', [shop.step('check')]);
    const live = await shop.says('orders', 'Ready', 'True Running');
    expect(live.status?.sources).toEqual([
      { name: 'api', ready: true, url: `http://orders-api.${shop.namespace}.svc/orders/` },
    ]);
    expect(live.metadata.finalizers).toEqual(['levada.dev/broker']);
    expect(conditionOf(live, 'BrokerConnected')?.status).toBe('True');
    expect(conditionOf(live, 'TopologyReady')?.status).toBe('True');
    expect(await shop.children('orders')).toEqual([
      'ConfigMap orders-api',
      'ConfigMap orders-check',
      'ConfigMap orders-plan',
      'Deployment orders-api',
      'Deployment orders-check',
      'Service orders-api',
    ]);
    await shop.order('orders', { id: 1 });
    await until('it is handled', () => shop.handler.got('check').length === 1);
    expect(shop.handler.got('check')).toEqual([{ id: 1 }]);
    await shop.remove('orders');
    await shop.hasGone('orders');
    expect(await shop.depth(`levada.${shop.namespace}.orders.record`)).toBeUndefined();
    await until('its children are gone', async () => (await shop.children('orders')).length === 0);
  });

  it('a step that is removed handles what waits for it, and then its queue goes', async () => {
    await using shop = await cluster.shop();
    await using _ = operator();
    shop.handler.hold('slow');
    await shop.apply('orders', [shop.step('check'), shop.step('slow', { concurrency: 1 })]);
    await shop.says('orders', 'Ready', 'True Running');
    for (let id = 1; id <= 3; id++) await shop.order('orders', { id });
    await until('one is in hand', () => shop.handler.got('slow').length === 1);
    await shop.apply('orders', [shop.step('check')]);
    await until('it is being emptied', async () => {
      const { status } = await shop.read('orders');
      return status?.steps.some(({ name, state }) => name === 'slow' && state === 'Draining');
    });
    await shop.order('orders', { id: 4 });
    shop.handler.letGo('slow');
    await until('it has gone', async () => !(await shop.children('orders')).includes('Deployment orders-slow'));
    await until('nothing is said of it', async () => (await shop.read('orders')).status?.steps.length === 1);
    await shop.says('orders', 'Ready', 'True Running');
    const ids = shop.handler.got('slow').map((data) => (data as { id: number }).id);
    expect(new Set(ids)).toEqual(new Set([1, 2, 3]));
    await until('the other step has all', () => shop.handler.got('check').length === 4);
  });

  it('settings of queues that change make them anew, and nothing that waits is lost', async () => {
    await using shop = await cluster.shop();
    await using _ = operator();
    shop.handler.hold('check');
    const steps = [shop.step('check', { concurrency: 1 })];
    await shop.apply('orders', steps);
    await shop.says('orders', 'Ready', 'True Running');
    for (let id = 1; id <= 3; id++) await shop.order('orders', { id });
    await until('one is in hand', () => shop.handler.got('check').length === 1);
    const before = await shop.queuesOf('orders', 'check');
    const broker = { rabbitmq: { secretRef: { name: 'rabbitmq' }, queues: { deliveryLimit: 7 } } };
    await shop.apply('orders', steps, { broker });
    await until('there are two', async () => (await shop.queuesOf('orders', 'check')).length === 2);
    await shop.order('orders', { id: 4 });
    shop.handler.letGo('check');
    await until(
      'all are handled',
      () => new Set(shop.handler.got('check').map((one) => JSON.stringify(one))).size === 4,
    );
    await until('only the new one is left', async () => {
      const now = await shop.queuesOf('orders', 'check');
      return now.length === 1 && now[0] !== before[0];
    });
    expect(await shop.depth(before[0] ?? '')).toBeUndefined();
    await shop.says('orders', 'Ready', 'True Running');
  });

  it('a Secret that is missing is said; when it comes it runs, and when it changes its pods do', async () => {
    await using shop = await cluster.shop();
    await using _ = operator();
    await shop.removeSecret('rabbitmq');
    await shop.apply('orders', [shop.step('check')]);
    const without = await shop.says('orders', 'Ready', 'False SecretNotFound');
    expect(conditionOf(without, 'BrokerConnected')).toMatchObject({ status: 'False', reason: 'SecretNotFound' });
    expect(conditionOf(without, 'Stalled')?.status).toBe('False');
    expect(await shop.children('orders')).toEqual([]);
    await shop.secret('rabbitmq', shop.uri.replace(':guest@', ':wrong@'));
    await shop.says('orders', 'Ready', 'False BrokerRefused');
    await shop.secret('rabbitmq', shop.uri);
    await shop.says('orders', 'Ready', 'True Running');
    const pids = cluster.kubelet.pids(shop.namespace, 'orders-check');
    // Another user of the same broker.
    await shop.secret('rabbitmq', await shop.otherUser());
    await until('other pods run', () => {
      const now = cluster.kubelet.pids(shop.namespace, 'orders-check');
      return now.length === 1 && now[0] !== pids[0];
    });
    await shop.says('orders', 'Ready', 'True Running');
    await shop.order('orders', { id: 1 });
    await until('it is handled', () => shop.handler.got('check').length === 1);
    // What runs goes on without it.
    await shop.removeSecret('rabbitmq');
    await shop.says('orders', 'Ready', 'False SecretNotFound');
    await shop.order('orders', { id: 2 });
    await until('it is handled as well', () => shop.handler.got('check').length === 2);
    await shop.secret('rabbitmq', shop.uri);
    await shop.says('orders', 'Ready', 'True Running');
  });

  it('without a broker of its own it has the operator’s, by a copy of its Secret', async () => {
    await using shop = await cluster.shop();
    const byDefault = { namespace: shop.namespace, name: 'rabbitmq' };
    {
      await using _ = operator();
      await shop.apply('orders', [shop.step('check')], { broker: undefined });
      const live = await shop.says('orders', 'Ready', 'False BrokerRequired');
      expect(conditionOf(live, 'Ready')?.message).toContain('--broker-secret');
    }
    await using _ = operator({ broker: byDefault });
    await shop.says('orders', 'Ready', 'True Running');
    expect(await shop.children('orders')).toContain('Secret orders-broker');
    await shop.order('orders', { id: 1 });
    await until('it is handled', () => shop.handler.got('check').length === 1);
    // A pod that cannot run: those of before stay, and may be started anew with what they mount.
    const images = { template: (image: string) => ({ containers: [{ name: 'levada', image }] }) };
    const stuck = { podTemplate: { spec: images.template('missing:1') } };
    await shop.apply('orders', [shop.step('check')], stuck);
    await shop.says('orders', 'Ready', 'False ImageUnavailable');
    expect(await shop.children('orders')).toContain('Secret orders-broker');
    await shop.apply('orders', [shop.step('check')]);
    await until('the copy has gone', async () => !(await shop.children('orders')).includes('Secret orders-broker'));
    await shop.says('orders', 'Ready', 'True Running');
  });

  it('an operator that is started anew knows everything, and has nothing to do', async () => {
    await using shop = await cluster.shop();
    const pids = () => ['api', 'check'].map((part) => cluster.kubelet.pids(shop.namespace, `orders-${part}`));
    {
      await using _ = operator();
      await shop.apply('orders', [shop.step('check')]);
      await shop.says('orders', 'Ready', 'True Running');
    }
    const before = pids();
    const { metadata } = await shop.read('orders');
    const generations = () =>
      Promise.all(
        ['api', 'check'].map(async (part) => {
          const place = { namespace: shop.namespace, name: `orders-${part}` };
          return (await cluster.admin.get(childTypes.Deployment, place)).metadata.generation;
        }),
      );
    const made = await generations();
    // As from a backup: another object, with the same in it.
    await shop.removeSecret('rabbitmq');
    await shop.secret('rabbitmq', shop.uri);
    await using again = operator();
    await until('it leads', () => again.operator.leads);
    await until('it has looked', async () =>
      /controller_runtime_reconcile_total\{[^}]*result="success"\} [2-9]/.test(await again.metrics.registry.metrics()),
    );
    await shop.order('orders', { id: 1 });
    await until('it is handled', () => shop.handler.got('check').length === 1);
    await shop.says('orders', 'Ready', 'True Running');
    expect(pids()).toEqual(before);
    expect(await generations()).toEqual(made);
    expect((await shop.read('orders')).metadata.generation).toBe(metadata.generation);
  });

  it('puts right what was edited or deleted by hand', async () => {
    await using shop = await cluster.shop();
    await using _ = operator();
    await shop.apply('orders', [shop.step('check')]);
    await shop.says('orders', 'Ready', 'True Running');
    await shop.deleteChild('Deployment', 'orders-check');
    await shop.deleteChild('Service', 'orders-api');
    await shop.deleteChild('ConfigMap', 'orders-plan');
    await until('all are there again', async () => (await shop.children('orders')).length === 6);
    await shop.says('orders', 'Ready', 'True Running');
    await shop.order('orders', { id: 1 });
    await until('it is handled', () => shop.handler.got('check').length === 1);
  });

  it('a step with idempotency is not accepted on a cluster, and what ran before goes on', async () => {
    await using shop = await cluster.shop();
    await using _ = operator();
    await shop.apply('orders', [shop.step('check')]);
    await shop.says('orders', 'Ready', 'True Running');
    await shop.apply('orders', [shop.step('check', { idempotency: {} })]);
    const live = await shop.says('orders', 'Accepted', 'False StoreRequired');
    expect(conditionOf(live, 'Accepted')?.message).toMatch(/^spec\.steps\[0\]\.idempotency: the step "check" /);
    await shop.order('orders', { id: 1 });
    await until('it is handled', () => shop.handler.got('check').length === 1);
  });

  it('deleted while messages wait: they are handled first; dead letters stay, and an event says so', async () => {
    await using shop = await cluster.shop();
    await using _ = operator();
    shop.handler.hold('check');
    await shop.apply('orders', [
      shop.step('check', { concurrency: 1 }),
      shop.step('bad', { http: { url: `${shop.handler.url}/422/bad` } }),
    ]);
    await shop.says('orders', 'Ready', 'True Running');
    for (let id = 1; id <= 2; id++) await shop.order('orders', { id });
    await until('there are dead letters', async () => (await shop.read('orders')).status?.deadLetters === 2);
    await shop.remove('orders');
    await shop.says('orders', 'Ready', 'False Removing');
    const said = / of check\. To leave them in the broker set spec\.deletionPolicy: Retain\.$/;
    let message: string | undefined;
    // What is in hand elsewhere is told by pods, which may be a moment late.
    await until(
      'it says what it waits for',
      async () => {
        message = conditionOf(await shop.read('orders'), 'Ready')?.message;
        return said.test(message ?? '');
      },
      { seen: () => String(message) },
    );
    shop.handler.letGo('check');
    await shop.hasGone('orders');
    expect(new Set(shop.handler.got('check').map((one) => JSON.stringify(one))).size).toBe(2);
    expect(await shop.depth(`levada.${shop.namespace}.orders.bad.dead`)).toBe(2);
    expect(await shop.depth(`levada.${shop.namespace}.orders.check.dead`)).toBeUndefined();
    const [left] = (await shop.events('orders')).filter((one) => one.includes('LeftBehind'));
    expect(left).toContain('in the broker stay 0 messages and 2 dead letters of bad');
  });

  it('with Retain it goes at once, and another one of its name has everything', async () => {
    await using shop = await cluster.shop();
    await using _ = operator();
    shop.handler.hold('check');
    const steps = [shop.step('check', { concurrency: 1 })];
    await shop.apply('orders', steps, { deletionPolicy: 'Retain' });
    await shop.says('orders', 'Ready', 'True Running');
    for (let id = 1; id <= 2; id++) await shop.order('orders', { id });
    await shop.remove('orders');
    await shop.hasGone('orders');
    expect(await shop.depth(`levada.${shop.namespace}.orders.record`)).toBe(1);
    shop.handler.letGo('check');
    await shop.apply('orders', steps);
    await shop.says('orders', 'Ready', 'True Running');
    await until(
      'both are handled',
      () => new Set(shop.handler.got('check').map((one) => JSON.stringify(one))).size === 2,
    );
  });

  it('a namespace that is deleted takes it along, and an event or the log says what is left', async () => {
    await using shop = await cluster.shop();
    await using running = operator();
    shop.handler.hold('check');
    await shop.apply('orders', [shop.step('check', { concurrency: 1 })]);
    await shop.says('orders', 'Ready', 'True Running');
    for (let id = 1; id <= 2; id++) await shop.order('orders', { id });
    await shop.removeNamespace();
    await shop.hasGone('orders');
    expect(running.log.join('\n')).toMatch(/EventPipeline\/[^ ]+ is deleted: in the broker stay [12] messages/);
  });

  it('two pipelines of a namespace share a broker; one takes what the other emits', async () => {
    await using shop = await cluster.shop();
    await using _ = operator();
    await shop.apply('orders', [shop.step('check')]);
    await shop.apply('mirror', [{ ...shop.step('copy'), consumes: ['copied'] }], {
      sources: [{ name: 'other', emits: 'copied', event: { pipeline: 'orders', type: 'order.created' } }],
    });
    await shop.says('orders', 'Ready', 'True Running');
    await shop.says('mirror', 'Ready', 'True Running');
    await shop.order('orders', { id: 1 });
    await until('both have it', () => shop.handler.got('check').length === 1 && shop.handler.got('copy').length === 1);
    await shop.remove('orders');
    await shop.hasGone('orders');
    await shop.says('mirror', 'Accepted', 'False PipelineNotFound');
  });

  it('an http source is led to from outside, by an Ingress or by an HTTPRoute, while that is asked for', async () => {
    await installGateway(cluster.admin);
    try {
      await using shop = await cluster.shop();
      await using _ = operator();
      const source = { name: 'api', emits: 'order.created', http: { path: '/orders/' } };
      const apply = (expose?: object) =>
        shop.apply('orders', [shop.step('check')], {
          sources: [{ ...source, http: { ...source.http, ...(expose && { expose }) } }],
        });
      const place = { namespace: shop.namespace, name: 'orders-api' };
      const spec = async (kind: 'Ingress' | 'HTTPRoute') =>
        (await cluster.admin.get<StoredObject & { spec: object }>(childTypes[kind], place)).spec;
      const hasGone = (kind: 'Ingress' | 'HTTPRoute') =>
        until(`no ${kind} is left`, () =>
          spec(kind).then(
            () => false,
            (error) => errorCodeOf(error) === 'ClusterNotFound',
          ),
        );
      await apply({ ingress: { host: 'orders.example.com' } });
      await shop.says('orders', 'Ready', 'True Running');
      const backend = { service: { name: 'orders-api', port: { name: 'http' } } };
      expect(await spec('Ingress')).toMatchObject({
        rules: [{ host: 'orders.example.com', http: { paths: [{ path: '/orders/', backend }] } }],
      });
      const httpRoute = { parentRefs: [{ name: 'public' }], hostnames: ['orders.example.com'] };
      await apply({ httpRoute });
      await hasGone('Ingress');
      await shop.says('orders', 'Ready', 'True Running');
      expect(await spec('HTTPRoute')).toMatchObject({
        ...httpRoute,
        rules: [{ matches: [{ path: { value: '/orders/' } }], backendRefs: [{ name: 'orders-api', port: 80 }] }],
      });
      await apply();
      await hasGone('HTTPRoute');
      await shop.says('orders', 'Ready', 'True Running');
    } finally {
      await removeGateway(cluster.admin);
    }
  });

  it('a container step: its image beside the consumer; one that cannot be had is said', async () => {
    await using shop = await cluster.shop();
    await using _ = operator();
    const box = (image: string) => [
      shop.step('check'),
      { name: 'box', consumes: ['order.created'], container: { image } },
    ];
    await shop.apply('orders', box('missing/box:1'));
    const live = await shop.says('orders', 'Ready', 'False ImageUnavailable');
    expect(conditionOf(live, 'Ready')?.message).toContain('missing/box:1');
    await shop.apply('orders', box('box:2'));
    await shop.says('orders', 'Ready', 'True Running');
    expect(await shop.children('orders')).toContain('Service orders-box');
  });

  it('with the broker away what runs stays as it is, an edit waits, and all is right when it is back', async () => {
    await using shop = await cluster.shop();
    const { host, port } = broker.settings;
    const proxy = await startProxy(() => ({ host, port }));
    await using _ = operator();
    await shop.secret('rabbitmq', shop.uri, { port: proxy.port });
    proxy.refuse();
    await shop.apply('orders', [shop.step('check')]);
    const away = await shop.says('orders', 'Ready', 'False BrokerUnavailable');
    expect(conditionOf(away, 'TopologyReady')?.status).not.toBe('True');
    expect(await shop.children('orders')).toEqual([]);
    proxy.heal();
    await shop.says('orders', 'Ready', 'True Running');
    const before = cluster.kubelet.pids(shop.namespace, 'orders-check');
    proxy.refuse();
    proxy.cut();
    await shop.says('orders', 'BrokerConnected', 'False BrokerUnavailable');
    await shop.apply('orders', [shop.step('check'), shop.step('late')]);
    await shop.says('orders', 'Ready', 'False BrokerUnavailable');
    expect(await shop.children('orders')).not.toContain('Deployment orders-late');
    proxy.heal();
    await shop.says('orders', 'Ready', 'True Running');
    expect(cluster.kubelet.pids(shop.namespace, 'orders-check')).toEqual(before);
    await shop.order('orders', { id: 1 });
    await until('both have it', () => shop.handler.got('check').length === 1 && shop.handler.got('late').length === 1);
    proxy.refuse();
    proxy.cut();
    await shop.remove('orders');
    const stays = await shop.says('orders', 'Ready', 'False BrokerUnavailable');
    expect(conditionOf(stays, 'Ready')?.message).toContain('spec.deletionPolicy: Retain');
    proxy.heal();
    await shop.hasGone('orders');
    expect(await shop.depth(`levada.${shop.namespace}.orders.record`)).toBeUndefined();
    await proxy.close();
  });

  it('a queue that is gone is made anew, and the status says what is lost', async () => {
    await using shop = await cluster.shop();
    await using running = operator();
    await shop.apply('orders', [shop.step('check')]);
    await shop.says('orders', 'Ready', 'True Running');
    const [queue = ''] = await shop.queuesOf('orders', 'check');
    const channel = await shop.amqp.createChannel();
    await channel.deleteQueue(queue);
    let seen = '';
    const isSaid = async () => {
      const { status } = await shop.read('orders');
      seen = JSON.stringify(status);
      return status?.steps[0]?.lostAt !== undefined;
    };
    // By the consumer that is cancelled, at once; else by the look every 30 s, which is what is promised.
    await until('it is said', isSaid, { timeoutMs: 60_000, seen: () => `${seen}\n${running.log.join('\n')}` });
    await shop.says('orders', 'Ready', 'True Running');
    await shop.order('orders', { id: 1 });
    await until('it is handled', () => shop.handler.got('check').length === 1, { seen: () => running.log.join('\n') });
  });

  it('deleted before it was ready, it leaves nothing', async () => {
    await using shop = await cluster.shop();
    await using _ = operator();
    await shop.apply('orders', [shop.step('check')]);
    await until('it is being made', async () => (await shop.children('orders')).length > 0);
    await shop.remove('orders');
    await shop.hasGone('orders');
    expect(await shop.depth(`levada.${shop.namespace}.orders.record`)).toBeUndefined();
    expect(await shop.queuesOf('orders', 'check')).toEqual([]);
  });

  it('deleted in the foreground its pods go first: what waits stays in the broker, and an event says so', async () => {
    await using shop = await cluster.shop();
    await using _ = operator();
    shop.handler.hold('check');
    await shop.apply('orders', [shop.step('check', { concurrency: 1 })]);
    await shop.says('orders', 'Ready', 'True Running');
    for (let id = 1; id <= 2; id++) await shop.order('orders', { id });
    await until('one is in hand', () => shop.handler.got('check').length === 1);
    await shop.remove('orders', 'Foreground');
    await shop.hasGone('orders');
    await until('an event says so', async () =>
      (await shop.events('orders')).some((one) => /LeftBehind .* in the broker stay [12] messages/.test(one)),
    );
    expect(await shop.queuesOf('orders', 'check')).toHaveLength(1);
  });

  it('goes without its queues when nobody knows any more where they are', async () => {
    await using shop = await cluster.shop();
    {
      await using _ = operator();
      await shop.apply('orders', [shop.step('check')]);
      await shop.says('orders', 'Ready', 'True Running');
    }
    await shop.removeSecret('rabbitmq');
    await shop.remove('orders');
    await using _ = operator();
    await shop.hasGone('orders');
    const [left] = (await shop.events('orders')).filter((one) => one.includes('LeftBehind'));
    expect(left).toContain('no Secret');
    expect(await shop.queuesOf('orders', 'check')).toHaveLength(1);
  });

  describe('rights', () => {
    it('where the operator has no broker of its own, none to write Secrets is needed, also not for a copy of before', async () => {
      await using shop = await cluster.shop();
      await allow(cluster.admin, await operatorRules());
      const nobody = () => clientOf(cluster.plane, cluster.plane.nobody);
      {
        await using _ = new RunningOperator(nobody(), { broker: { namespace: shop.namespace, name: 'rabbitmq' } });
        await shop.apply('orders', [shop.step('check')], { broker: undefined });
        await shop.says('orders', 'Ready', 'True Running');
      }
      await allow(cluster.admin, await operatorRules(false));
      await using _ = new RunningOperator(nobody());
      await shop.apply('orders', [shop.step('check')]);
      await shop.says('orders', 'Ready', 'True Running');
      await shop.remove('orders');
      await shop.hasGone('orders');
    });

    /** Rights that a pipeline needs beside those of models, which a condition can name. */
    const told = [
      ['levada.dev', 'eventpipelines', 'patch'],
      ['', 'secrets', 'get'],
      ['', 'secrets', 'create'],
    ] as const;

    it.for(told)('without %s %s %s a condition names it; with it, it runs', async ([group, resource, verb]) => {
      await using shop = await cluster.shop();
      const rules = await operatorRules();
      await allow(cluster.admin, without(rules, resource, verb));
      const client = clientOf(cluster.plane, cluster.plane.nobody);
      await using _ = new RunningOperator(client, { broker: { namespace: shop.namespace, name: 'rabbitmq' } });
      await shop.apply('orders', [shop.step('check')], { broker: undefined });
      const live = await shop.says('orders', 'Ready', 'False ClusterForbidden');
      expect(conditionOf(live, 'Ready')?.message).toContain(
        `cannot ${verb} resource "${resource}" in API group "${group}"`,
      );
      await allow(cluster.admin, rules);
      await shop.says('orders', 'Ready', 'True Running');
      await shop.remove('orders');
      await shop.hasGone('orders');
    });
  });
});
