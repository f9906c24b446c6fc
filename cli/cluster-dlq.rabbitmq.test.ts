/** `levada dlq` on a cluster: a real API server and a real broker. What a kubelet would join is joined here. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { settingsFromUri } from '../brokers/rabbitmq/settings.ts';
import { type ControlPlane, kubeconfigOf, missingControlPlane, startControlPlane } from '../hack/cluster.ts';
import { typeOf } from '../operator/drivers/kubernetes/types.ts';
import type { KubeClient } from '../operator/engine/client.ts';
import { pathOf, type StoredObject } from '../operator/engine/objects.ts';
import { RabbitTransport } from '../runtime/transports/rabbitmq/transport.ts';
import { clientOf, freshNamespace } from '../test/support/cluster.ts';
import { freshVhost, onNewestRabbit } from '../test/support/rabbitmq.ts';
import { root } from '../test/support/up.ts';
import { until } from '../test/support/wait.ts';
import { reach } from './cluster-broker.ts';
import { dlqCommand } from './dlq.ts';
import { run } from './testing.ts';

const missing = await missingControlPlane();
if (missing !== undefined && process.env['CI'] === 'true') throw new Error(missing);

describe.skipIf(missing !== undefined)(`levada dlq${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let plane: ControlPlane;
  let client: KubeClient;
  let folder: string;
  beforeAll(async () => {
    plane = await startControlPlane();
    client = clientOf(plane, plane.admin);
    folder = await mkdtemp(join(tmpdir(), 'levada-dlq-'));
    const crd = parse(await readFile(join(root, 'crds/levada.dev_eventpipelines.yaml'), 'utf8')) as StoredObject;
    await client.call({ method: 'POST', path: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', body: crd });
    const path = pathOf(typeOf('EventPipeline'));
    await until('the kind is served', () => client.call({ method: 'GET', path }).then(() => true));
  });
  afterAll(async () => {
    await client.close();
    await plane.remove();
    await rm(folder, { recursive: true, force: true });
  });

  onNewestRabbit(
    (broker) => {
      /** A pipeline whose step has given up some orders, its Secret, and how the command is told of it. */
      async function gaveUp(count = 3) {
        const namespace = await freshNamespace(client);
        const uri = await freshVhost(broker);
        const pipeline = `${namespace}/orders`;
        const transport = new RabbitTransport(settingsFromUri(uri, 'the test'));
        const bindings = [{ pipeline, type: 'order.created' }];
        await transport.apply({ pipeline, queues: [{ name: 'check', bindings }] });
        const order = (n: number) => ({
          id: `order-${n}`,
          source: 'test',
          type: 'order.created',
          extensions: {},
          datacontenttype: 'application/json',
          data: Buffer.from(JSON.stringify({ n })),
          delivery: { attempt: 1 },
        });
        await transport.publish(
          pipeline,
          Array.from({ length: count }, (_, index) => order(index + 1)),
        );
        const consumer = await transport.consume({ pipeline, queue: 'check' }, 10, (delivery) => {
          const dead = {
            step: 'check',
            reason: 'HandlerRejected' as const,
            attempt: 1,
            error: 'no',
            time: '2030-01-01T12:00:00.000Z',
          };
          const message = { ...delivery.message, delivery: { attempt: 1, dead } };
          delivery.settle({ kind: 'dead', message }).catch(() => {});
        });
        const dead = async () => (await transport.depths(pipeline))['check']?.dead;
        await until('all are dead letters', async () => (await dead()) === count);
        await consumer.close();
        const spec = {
          broker: { rabbitmq: { secretRef: { name: 'broker' } } },
          sources: [{ name: 'api', emits: 'order.created', http: { path: '/' } }],
          steps: [{ name: 'check', consumes: ['order.created'], http: { url: 'http://checks/' } }],
        };
        await client.apply(typeOf('EventPipeline'), { metadata: { namespace, name: 'orders' }, spec } as StoredObject, {
          fieldManager: 'test',
        });
        const secret = (data: object) =>
          client.apply(
            { apiVersion: 'v1', kind: 'Secret', plural: 'secrets' },
            { metadata: { namespace, name: 'broker' }, stringData: data } as StoredObject,
            { fieldManager: 'test' },
          );
        const flags = ['--kubeconfig', plane.kubeconfig, '-n', namespace];
        const dlq = (...args: string[]) => run(dlqCommand(), 'orders', ...args, ...flags);
        const ready = async () => (await transport.depths(pipeline))['check']?.ready;
        return { namespace, uri, pipeline, transport, secret, dlq, dead, ready, flags };
      }

      it('lists, shows, drops and replays what a step has given up, by the Secret of the pipeline', async () => {
        const { namespace, uri, transport, secret, dlq, dead, ready } = await gaveUp();
        await expect(dlq('ls')).rejects.toMatchObject({
          code: 'SecretNotFound',
          message: expect.stringContaining(`${namespace}/broker`),
        });
        await secret({ uri });
        const { stdout } = await dlq('ls');
        expect(stdout).toMatch(/^STEP +ID +TYPE +REASON/);
        expect(stdout.match(/check +order-\d +order\.created +HandlerRejected/g)).toHaveLength(3);
        expect((await dlq('show', 'order-2')).stdout).toContain('"n": 2');
        expect((await dlq('replay', '--all', '--where', 'n > 1', '--dry-run')).stdout).toContain(
          '2 dead letters would be',
        );
        await expect(dlq('replay', '--all', '--to', 'nobody')).rejects.toMatchObject({
          code: 'Usage',
          message: '--to: found nobody; allowed: a step that runs: check',
        });
        expect((await dlq('drop', 'order-3')).stdout).toContain('1 dead letter dropped');
        expect((await dlq('replay', '--all')).stdout).toContain('2 dead letters replayed');
        expect(await dlq('replay', '--all')).toMatchObject({ exitCode: 1 });
        await until('they are in the queue of their step', async () => (await ready()) === 2 && (await dead()) === 0);
        await transport.close();
      });

      it('killed in the middle of a replay it loses nothing, and at most what it had in hand is there twice', async () => {
        const count = 600;
        const { uri, pipeline, transport, secret, dlq, dead, ready, flags } = await gaveUp(count);
        await secret({ uri });
        const command = [join(root, 'cli/main.ts'), 'dlq', 'orders', 'replay', '--all', ...flags];
        const child = spawn(process.execPath, command, { stdio: 'ignore' });
        const ended = once(child, 'exit');
        await until('some are replayed', async () => ((await ready()) ?? 0) > 0);
        child.kill('SIGKILL');
        expect(await ended).toEqual([null, 'SIGKILL']);
        await until('what it had in hand is back', async () => ((await ready()) ?? 0) + ((await dead()) ?? 0) >= count);
        expect(await dead()).toBeGreaterThan(0);
        const { stdout } = await dlq('ls', '-o', 'json');
        const { items } = JSON.parse(stdout) as { items: Array<{ id: string }> };
        const replayed: string[] = [];
        const consumer = await transport.consume({ pipeline, queue: 'check' }, 100, (delivery) => {
          replayed.push(delivery.message.id);
          delivery.settle({ kind: 'done', emits: [] }).catch(() => {});
        });
        await until('the queue of the step is empty', async () => (await ready()) === 0 && replayed.length > 0);
        await consumer.close();
        const all = [...items.map(({ id }) => id), ...replayed];
        expect(new Set(all).size).toBe(count);
        expect(all.length - count).toBeLessThanOrEqual(1);
        await transport.close();
      });

      it('asks with the rights of the user, and says which one is missing', async () => {
        const { namespace, uri, transport, secret } = await gaveUp();
        await secret({ uri });
        const kubeconfig = join(folder, 'nobody');
        await writeFile(kubeconfig, JSON.stringify(kubeconfigOf(plane, plane.nobody)), { mode: 0o600 });
        const asked = run(dlqCommand(), 'orders', 'ls', '--kubeconfig', kubeconfig, '-n', namespace);
        await expect(asked).rejects.toMatchObject({
          code: 'ClusterForbidden',
          message: expect.stringContaining('cannot get resource "eventpipelines"'),
        });
        await transport.close();
      });

      it('reaches a broker behind a Service through a pod, with its name for TLS', async () => {
        const { namespace, uri, pipeline, transport } = await gaveUp();
        const settings = settingsFromUri(uri, 'the test');
        const labels = { app: 'rabbitmq' };
        const ports = [{ name: 'amqp', containerPort: 15672 }];
        const body = {
          metadata: { name: 'rabbitmq-0', labels },
          spec: { containers: [{ name: 'a', image: 'a', ports }] },
        };
        const pods = pathOf({ apiVersion: 'v1', kind: 'Pod', plural: 'pods' }, { namespace });
        await client.call({ method: 'POST', path: pods, body });
        const service = {
          metadata: { name: 'rabbitmq' },
          spec: { selector: labels, ports: [{ port: 5672, targetPort: 'amqp' }] },
        };
        const services = pathOf({ apiVersion: 'v1', kind: 'Service', plural: 'services' }, { namespace });
        await client.call({ method: 'POST', path: services, body: service });
        const asked: string[] = [];
        const inside = { ...settings, host: `rabbitmq.${namespace}.svc`, port: 5672 };
        const way = () =>
          reach(client, inside, {
            namespace,
            isInside: false,
            forward: async (pod, socket) => {
              asked.push(`${pod.namespace}/${pod.name}:${pod.port}`);
              const broker = connect(settings.port, settings.host).on('error', () => socket.destroy());
              socket.pipe(broker).pipe(socket);
            },
          });
        await expect(way()).rejects.toMatchObject({ code: 'BrokerUnavailable' }); // its pod is not ready
        const status = { conditions: [{ type: 'Ready', status: 'True' }] };
        const merge = 'application/merge-patch+json';
        await client.call({ method: 'PATCH', path: `${pods}/rabbitmq-0/status`, body: { status }, contentType: merge });
        const reached = await way();
        expect(reached.settings).toMatchObject({ host: '127.0.0.1', serverName: inside.host });
        const through = new RabbitTransport(reached.settings);
        expect(await through.lookAt(pipeline).depths(pipeline)).toMatchObject({ check: { dead: 3 } });
        expect(new Set(asked)).toEqual(new Set([`${namespace}/rabbitmq-0:15672`]));
        await through.close();
        await reached.close();
        // Inside of a cluster, and where no such Service is, it is asked itself.
        for (const [host, isInside] of [
          [inside.host, true],
          ['elsewhere', false],
        ] as const) {
          const direct = await reach(client, { ...inside, host }, { namespace, isInside, forward: async () => {} });
          expect(direct.settings).toEqual({ ...inside, host });
        }
        await transport.close();
      });
    },
    { concurrent: false },
  ); // what the command prints is taken from this process
});
