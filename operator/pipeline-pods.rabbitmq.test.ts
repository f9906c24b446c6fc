/** What a user says of the pods of a pipeline, and of what leads to it, on a real API server and a real RabbitMQ. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { errorCodeOf } from '../api/errors.ts';
import { clientOf } from '../test/support/cluster.ts';
import { RunningOperator } from '../test/support/operator.ts';
import { conditionOf, onClusterWithRabbit, PipelineCluster, type Shop } from '../test/support/pipeline-cluster.ts';
import { until } from '../test/support/wait.ts';
import { childTypes } from './drivers/kubernetes/types.ts';
import type { StoredObject } from './engine/objects.ts';

// biome-ignore lint/suspicious/noExplicitAny: what is looked at differs by kind
type Live = StoredObject & { spec: any };

onClusterWithRabbit((broker) => {
  let cluster: PipelineCluster;
  beforeAll(async () => {
    cluster = await PipelineCluster.start(broker);
  });
  afterAll(() => cluster.close());

  it('they are as the pipeline and the step say; what the API server refuses is said, and nothing is applied', async () => {
    await using shop = await cluster.shop();
    await using _ = new RunningOperator(clientOf(cluster.plane, cluster.plane.admin));
    const podOf = async (part: string) => (await deploymentOf(shop, part)).spec.template.spec;
    const laid = (operator: string) => ({ podTemplate: { spec: { tolerations: [{ key: 'a', operator }] } } });
    const ofAll = { resources: { requests: { cpu: '1m' } }, ...laid('Exists') };
    await shop.apply('orders', [shop.step('check', { resources: { limits: { memory: '1Gi' } } })], ofAll);
    await shop.says('orders', 'Ready', 'True Running');
    const before = await podOf('check');
    const tolerations = [{ key: 'a', operator: 'Exists' }];
    const container = { name: 'levada', resources: { limits: { memory: '1Gi' } } };
    expect(before).toMatchObject({ tolerations, containers: [container] });
    const ofApi = { name: 'levada', resources: { requests: { cpu: '1m' } } };
    expect(await podOf('api')).toMatchObject({ tolerations, containers: [ofApi] });

    await shop.apply('orders', [shop.step('check', laid('Sometimes')), shop.step('late')], ofAll);
    const refused = await shop.says('orders', 'Accepted', 'False PodTemplateRefused');
    expect(conditionOf(refused, 'Accepted')?.message).toMatch(
      /^spec\.steps\[0\]\.podTemplate: .*spec\.template\.spec\.tolerations\[0\]\.operator/,
    );
    expect(conditionOf(refused, 'Ready')?.status).toBe('False');
    expect(await podOf('check')).toEqual(before);
    expect(await shop.queuesOf('orders', 'late')).toEqual([]);

    await shop.apply('orders', [shop.step('check')], laid('Sometimes'));
    const ofBoth = await shop.says('orders', 'Accepted', 'False PodTemplateRefused');
    expect(conditionOf(ofBoth, 'Accepted')?.message).toMatch(/^spec\.podTemplate: /);

    await shop.apply('orders', [shop.step('check')]);
    await shop.says('orders', 'Ready', 'True Running');
    expect(await podOf('check')).not.toHaveProperty('tolerations');
    // Deleted while it is refused it goes all the same.
    await shop.apply('orders', [shop.step('check')], laid('Sometimes'));
    await shop.says('orders', 'Accepted', 'False PodTemplateRefused');
    await shop.remove('orders');
    await shop.hasGone('orders');
  });

  it('an Ingress leads to a source, is changed with it, and goes with what asked for it', async () => {
    await using shop = await cluster.shop();
    await using _ = new RunningOperator(clientOf(cluster.plane, cluster.plane.admin));
    const ingress = () =>
      cluster.admin.get<Live>(childTypes.Ingress, { namespace: shop.namespace, name: 'orders-api' });
    const exposed = (host: string) => ({
      sources: [{ name: 'api', emits: 'order.created', http: { path: '/orders/', expose: { ingress: { host } } } }],
    });
    await shop.apply('orders', [shop.step('check')], exposed('a.example.com'));
    await shop.says('orders', 'Ready', 'True Running');
    const backend = { service: { name: 'orders-api', port: { name: 'http' } } };
    const paths = [{ path: '/orders/', pathType: 'Exact', backend }];
    expect((await ingress()).spec.rules).toEqual([{ host: 'a.example.com', http: { paths } }]);
    await shop.apply('orders', [shop.step('check')], exposed('b.example.com'));
    await until('it is changed', async () => (await ingress()).spec.rules[0].host === 'b.example.com');
    await shop.apply('orders', [shop.step('check')]);
    await until('it has gone', () =>
      ingress().then(
        () => false,
        (error: unknown) => errorCodeOf(error) === 'ClusterNotFound',
      ),
    );
    await shop.says('orders', 'Ready', 'True Running');
  });
});

const deploymentOf = (shop: Shop, part: string): Promise<Live> =>
  shop.cluster.admin.get<Live>(childTypes.Deployment, { namespace: shop.namespace, name: `orders-${part}` });
