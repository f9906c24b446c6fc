import { expect, test } from 'vitest';
import type { PipelineUnitConfig, PipelineUnitStatus } from '../../api/contract/pipeline-unit.ts';
import { pathOf, type ResourceType, type StoredObject } from '../../operator/engine/objects.ts';
import { clientOf, freshNamespace, onCluster } from './cluster.ts';
import { StandInKubelet } from './kubelet.ts';
import { call } from './serve.ts';
import { until } from './wait.ts';

interface Pod extends StoredObject {
  readonly status: {
    readonly phase: string;
    readonly podIP?: string;
    readonly containerStatuses?: readonly object[];
    readonly initContainerStatuses?: readonly object[];
  };
}

const pods: ResourceType = { apiVersion: 'v1', kind: 'Pod', plural: 'pods' };
const pipeline = 'test/orders';
const config: PipelineUnitConfig = {
  kind: 'pipeline',
  pipeline,
  unit: 'orders-check',
  topology: { pipeline, queues: [] },
  placement: { pipeline, queues: {}, types: [] },
  consumers: [],
  sources: [],
  names: { local: {}, services: {} },
  secret: '/etc/levada/broker',
  secretName: 'test/mq',
  listen: { host: '0.0.0.0', serving: 8080, admin: 9090 },
};

const pod = {
  metadata: { name: 'orders-check-1' },
  spec: {
    automountServiceAccountToken: false,
    initContainers: [{ name: 'box', image: 'box:1', restartPolicy: 'Always' }],
    containers: [
      {
        name: 'consumers',
        image: 'levada:test',
        command: ['node', 'runtime/main.ts', '--config', '/etc/levada/unit.json'],
        volumeMounts: [
          { name: 'config', mountPath: '/etc/levada' },
          { name: 'broker', mountPath: '/etc/levada/broker' },
        ],
      },
    ],
    volumes: [
      { name: 'config', configMap: { name: 'orders-check' } },
      { name: 'broker', secret: { secretName: 'mq' } },
    ],
  },
};

onCluster((cluster) => {
  test('a pod of a pipeline waits for its Secret, and reads it from a folder', async () => {
    const client = clientOf(cluster, cluster.admin);
    const namespace = await freshNamespace(client);
    const create = (plural: string, body: object) =>
      client.call({ method: 'POST', path: `/api/v1/namespaces/${namespace}/${plural}`, body });
    const kubelet = new StandInKubelet(client);
    await kubelet.start();
    try {
      const data = { 'unit.json': JSON.stringify(config) };
      await create('configmaps', { metadata: { name: 'orders-check' }, data });
      await create('pods', pod);
      const status = async () => (await client.get<Pod>(pods, { namespace, name: 'orders-check-1' })).status;
      const states = async (): Promise<object[]> => {
        const { containerStatuses = [], initContainerStatuses = [] } = await status();
        return [...initContainerStatuses, ...containerStatuses];
      };
      await until('it waits', async () => (await states()).length === 2);
      const waiting = { waiting: { reason: 'ContainerCreating' } };
      expect(await states()).toMatchObject([
        { name: 'box', ready: false, state: waiting },
        { name: 'consumers', ready: false, state: waiting },
      ]);

      // Nobody listens there: what the runtime says shows what it has read.
      const stringData = { host: '127.0.0.1', port: '1', username: 'levada', password: 'correct horse' };
      await create('secrets', { metadata: { name: 'mq' }, stringData });
      const address = await until('it has an address', async () => (await status()).podIP);
      expect(await states()).toMatchObject([
        { name: 'box', ready: true, state: { running: {} } },
        { name: 'consumers', ready: false, state: { running: {} } },
      ]);
      const said = await until('it answers', async () => {
        const { json } = await call(`http://${address}:9090/status`);
        return (json as PipelineUnitStatus).failure;
      });
      expect(said.code).toBe('BrokerUnavailable');
      await client.call({ method: 'DELETE', path: pathOf(pods, { namespace, name: 'orders-check-1' }) });
    } finally {
      await kubelet.close();
      await client.close();
    }
  });
});
