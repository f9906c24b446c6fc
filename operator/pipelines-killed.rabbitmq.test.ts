/** An operator that is killed while it makes, changes and removes a pipeline, on a real API server and a real RabbitMQ. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { OperatorProcess } from '../test/support/operator-process.ts';
import { onClusterWithRabbit, PipelineCluster } from '../test/support/pipeline-cluster.ts';
import { until } from '../test/support/wait.ts';

onClusterWithRabbit((broker) => {
  let cluster: PipelineCluster;
  beforeAll(async () => {
    cluster = await PipelineCluster.start(broker);
  });
  afterAll(() => cluster.close());

  /** @returns how many writes it took, and whether the operator was killed after one of them */
  async function run(killAt: number): Promise<{ writes: number; wasKilled: boolean }> {
    await using shop = await cluster.shop();
    await using operator = await OperatorProcess.start(cluster.plane, cluster.admin, killAt);
    const steps = [shop.step('check', { concurrency: 1 })];
    await shop.apply('orders', steps);
    await shop.says('orders', 'Ready', 'True Running');
    const accepted: number[] = [];
    let isOver = false;
    const load = (async () => {
      for (let id = 1; !isOver; id++) {
        await shop.order('orders', { id });
        accepted.push(id);
      }
    })();
    const broker = { rabbitmq: { secretRef: { name: 'rabbitmq' }, queues: { deliveryLimit: 7 } } };
    const [before] = await shop.queuesOf('orders', 'check');
    await shop.apply('orders', steps, { broker });
    await until(
      'only the new queue is left',
      async () => {
        const now = await shop.queuesOf('orders', 'check');
        return now.length === 1 && now[0] !== before;
      },
      { timeoutMs: 120_000 },
    );
    await shop.says('orders', 'Ready', 'True Running');
    isOver = true;
    await load;
    await shop.remove('orders');
    await shop.hasGone('orders');
    await until('its children are gone', async () => (await shop.children('orders')).length === 0);
    const wasKilled = await operator.wasKilled();
    const got = new Set(shop.handler.got('check').map((data) => (data as { id: number }).id));
    expect(accepted.length).toBeGreaterThan(0);
    expect(accepted.filter((id) => !got.has(id))).toEqual([]);
    expect(await shop.queuesOf('orders', 'check')).toEqual([]);
    expect(await shop.depth(`levada.${shop.namespace}.orders.record`)).toBeUndefined();
    return { writes: operator.proxy.writes, wasKilled };
  }

  it('after any of its writes the next one comes to the same, and no event is lost', { timeout: 900_000 }, async () => {
    const { writes } = await run(0);
    expect(writes).toBeGreaterThan(10);
    // Each takes seconds: `npm run prove -- operator` has them all, any other run one, drawn anew.
    const every = process.env['LEVADA_PROVE'] ? 1 : writes - 1;
    const first = 1 + Math.floor(Math.random() * every);
    let kills = 0;
    for (let killAt = first; killAt < writes; killAt += every) if ((await run(killAt)).wasKilled) kills++;
    expect(kills).toBeGreaterThan(0);
  });
});
