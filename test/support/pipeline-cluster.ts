/** A cluster that runs pipelines: API server, controllers and RabbitMQ are real; only the kubelet is stood in for. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type ChannelModel, connect } from 'amqplib';
import { describe } from 'vitest';
import type { Condition } from '../../api/v1alpha1/common.ts';
import type { EventPipelineStatus } from '../../api/v1alpha1/event-pipeline.ts';
import { type RabbitSettings, settingsFromUri } from '../../brokers/rabbitmq/settings.ts';
import { type ControlPlane, missingControlPlane, startControlPlane } from '../../hack/cluster.ts';
import {
  type ChildKind,
  childTypes,
  eventPipelines,
  namespaces,
  secrets,
} from '../../operator/drivers/kubernetes/types.ts';
import type { KubeClient } from '../../operator/engine/client.ts';
import { leases } from '../../operator/engine/elector.ts';
import { pathOf, type StoredObject } from '../../operator/engine/objects.ts';
import { clientOf, freshNamespace, installKinds } from './cluster.ts';
import { StandInKubelet } from './kubelet.ts';
import { freshVhost, newestRabbit } from './rabbitmq.ts';
import { until } from './wait.ts';

const missing = await missingControlPlane();
if (missing !== undefined && process.env['CI'] === 'true') throw new Error(missing); // in CI nothing is left out

/** Tests on a cluster and a broker. Of several versions the newest: what differs between them is tested without a cluster. */
export function onClusterWithRabbit(tests: (broker: { settings: RabbitSettings; management: string }) => void): void {
  if (missing !== undefined) {
    describe.skip(`kube-apiserver (skipped: ${missing})`, () => {});
    return;
  }
  const { name, uri, management = '', missing: why = 'no reason' } = newestRabbit();
  if (uri === undefined) describe.skip(`RabbitMQ ${name} (skipped: ${why})`, () => {});
  else describe(`RabbitMQ ${name}`, () => tests({ settings: settingsFromUri(uri, 'the test'), management }));
}

export interface LivePipeline extends StoredObject {
  readonly spec: object;
  readonly status?: EventPipelineStatus;
}

/** What is on the cluster and in the broker, for one test file. */
export class PipelineCluster {
  readonly plane: ControlPlane;
  readonly admin: KubeClient;
  readonly kubelet: StandInKubelet;
  readonly broker: { readonly settings: RabbitSettings; readonly management: string };

  static async start(broker: { settings: RabbitSettings; management: string }): Promise<PipelineCluster> {
    const plane = await startControlPlane();
    const cluster = new PipelineCluster(plane, broker);
    const { admin } = cluster;
    await installKinds(admin);
    plane.startControllers([
      'deployment-controller',
      'replicaset-controller',
      'garbage-collector-controller',
      'namespace-controller',
    ]);
    const lease = {
      apiVersion: leases.apiVersion,
      kind: leases.kind,
      metadata: { name: 'levada', namespace: 'default' },
    };
    await admin.call({ method: 'POST', path: pathOf(leases, { namespace: 'default' }), body: lease });
    await cluster.kubelet.start();
    return cluster;
  }

  private constructor(plane: ControlPlane, broker: { settings: RabbitSettings; management: string }) {
    this.plane = plane;
    this.admin = clientOf(plane, plane.admin);
    this.kubelet = new StandInKubelet(this.admin);
    this.broker = broker;
  }

  async close(): Promise<void> {
    await this.kubelet.close();
    await this.admin.close();
    await this.plane.remove();
  }

  /** A namespace and a vhost of its own, with the Secret `rabbitmq`. */
  async shop(): Promise<Shop> {
    const namespace = await freshNamespace(this.admin);
    const uri = await freshVhost(this.broker);
    const shop = new Shop(this, namespace, uri);
    await shop.open();
    return shop;
  }
}

/** One namespace with pipelines, a handler that they call, and a look into their vhost. */
export class Shop implements AsyncDisposable {
  readonly cluster: PipelineCluster;
  readonly namespace: string;
  readonly uri: string;
  readonly handler = new Handler();
  amqp!: ChannelModel;

  constructor(cluster: PipelineCluster, namespace: string, uri: string) {
    this.cluster = cluster;
    this.namespace = namespace;
    this.uri = uri;
  }

  async open(): Promise<void> {
    await this.handler.start();
    this.amqp = await connect(this.uri);
    await this.secret('rabbitmq', this.uri);
  }

  /** @param change of where it is */
  async secret(name: string, uri: string, change: Partial<RabbitSettings> = {}): Promise<void> {
    const { host, port, username, password, vhost } = { ...settingsFromUri(uri, 'the test'), ...change };
    await this.cluster.admin.apply(
      secrets,
      {
        metadata: { namespace: this.namespace, name },
        stringData: { host, port: String(port), username, password, vhost },
      } as unknown as StoredObject,
      { fieldManager: 'kubectl' },
    );
  }

  /** Another user of the same vhost. @returns the URI */
  async otherUser(): Promise<string> {
    const { vhost } = settingsFromUri(this.uri, 'the test');
    const user = `other-${vhost.slice(-8)}`;
    await this.#manage('PUT', `users/${user}`, { password: 'another', tags: 'management' });
    await this.#manage('PUT', `permissions/${vhost}/${user}`, { configure: '.*', write: '.*', read: '.*' });
    return this.uri.replace('//guest:guest@', `//${user}:another@`);
  }

  /** What the broker calls the queues of a step: several while one takes the place of another. */
  async queuesOf(pipeline: string, step: string): Promise<string[]> {
    const { vhost } = settingsFromUri(this.uri, 'the test');
    const queues = (await this.#manage('GET', `queues/${vhost}`)) as Array<{ name: string }>;
    const form = new RegExp(`^levada\\.${this.namespace}\\.${pipeline}\\.${step}\\.[0-9a-f]{8}$`);
    return queues.map(({ name }) => name).filter((name) => form.test(name));
  }

  async #manage(method: string, path: string, body?: object): Promise<unknown> {
    const { username, password } = this.cluster.broker.settings;
    const response = await fetch(`${this.cluster.broker.management}/api/${path}`, {
      method,
      headers: {
        authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
        'content-type': 'application/json',
      },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }

  async deleteChild(kind: ChildKind, name: string): Promise<void> {
    const { namespace, cluster } = this;
    await cluster.admin.call({ method: 'DELETE', path: pathOf(childTypes[kind], { namespace, name }) });
  }

  async removeNamespace(): Promise<void> {
    await this.cluster.admin.call({ method: 'DELETE', path: pathOf(namespaces, { name: this.namespace }) });
  }

  async removeSecret(name: string): Promise<void> {
    const { namespace, cluster } = this;
    await cluster.admin.call({ method: 'DELETE', path: pathOf(secrets, { namespace, name }) });
  }

  /** The pipeline `name`: an http source `api`, and `steps`. */
  apply(name: string, steps: readonly object[], spec: object = {}): Promise<LivePipeline> {
    const broker = { rabbitmq: { secretRef: { name: 'rabbitmq' } } };
    const source = { name: 'api', emits: 'order.created', http: { path: '/orders/' } };
    return this.cluster.admin.apply<LivePipeline>(
      eventPipelines,
      {
        metadata: { namespace: this.namespace, name },
        spec: { broker, sources: [source], steps, ...spec },
      } as unknown as LivePipeline,
      { fieldManager: 'kubectl' },
    );
  }

  /** A step that takes order.created to the handler. */
  step(name: string, change: object = {}): object {
    return { name, consumes: ['order.created'], http: { url: `${this.handler.url}/${name}` }, ...change };
  }

  read(name: string): Promise<LivePipeline> {
    return this.cluster.admin.get<LivePipeline>(eventPipelines, { namespace: this.namespace, name });
  }

  says(name: string, type: string, text: string, timeoutMs = 60_000): Promise<LivePipeline> {
    let seen = '';
    return until(
      `${name}: ${type} is ${text}`,
      async () => {
        const live = await this.read(name);
        seen = JSON.stringify(live.status, null, 1);
        const found = conditionOf(live, type);
        const isNow = found?.observedGeneration === live.metadata.generation;
        return isNow && `${found?.status} ${found?.reason}` === text && live;
      },
      { timeoutMs, seen: () => seen },
    );
  }

  async remove(name: string, propagationPolicy = 'Background'): Promise<void> {
    const path = pathOf(eventPipelines, { namespace: this.namespace, name });
    await this.cluster.admin.call({ method: 'DELETE', path, body: { propagationPolicy } });
  }

  hasGone(name: string): Promise<boolean> {
    let seen = '';
    const isGone = async () => {
      try {
        const { metadata, status } = await this.read(name);
        seen = JSON.stringify({ metadata, status }, null, 1);
        return false;
      } catch {
        return true;
      }
    };
    return until(`${name} is gone`, isGone, { timeoutMs: 60_000, seen: () => seen });
  }

  /** Names of the children of a pipeline, with their kinds, hashes left out. */
  async children(name: string): Promise<string[]> {
    const { ConfigMap, Deployment, PodDisruptionBudget, Service } = childTypes;
    const lists = [ConfigMap, Deployment, PodDisruptionBudget, Service, secrets].map(async (type) => {
      const path = pathOf(type, { namespace: this.namespace });
      const { items } = await this.cluster.admin.call<{ items: StoredObject[] }>({ method: 'GET', path });
      return items
        .filter(({ metadata }) => metadata.ownerReferences?.some((owner) => owner.name === name))
        .map(({ metadata }) => `${type.kind} ${metadata.name.replace(/-[0-9a-f]{16}$/, '')}`);
    });
    return (await Promise.all(lists)).flat().toSorted();
  }

  async events(name: string): Promise<string[]> {
    const path = `/apis/events.k8s.io/v1/namespaces/${this.namespace}/events`;
    const { items } = await this.cluster.admin.call<{
      items: Array<{ reason: string; type: string; note: string; regarding: { name: string } }>;
    }>({ method: 'GET', path });
    return items
      .filter(({ regarding }) => regarding.name === name)
      .map(({ type, reason, note }) => `${type} ${reason} ${note}`);
  }

  /** Posts an order to the source of a pipeline, once it takes it. */
  async order(name: string, order: object): Promise<void> {
    const selector = { 'levada.dev/pipeline': name, 'levada.dev/part': 'api' };
    await until(
      'the source takes it',
      async () => {
        const [pod] = this.cluster.kubelet.endpoints(this.namespace, selector);
        if (pod === undefined) return false;
        const response = await fetch(`${pod}/orders/`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(order),
        });
        await response.body?.cancel();
        return response.ok;
      },
      { timeoutMs: 60_000 },
    );
  }

  /** Messages in a queue; `undefined`: there is no such queue. */
  async depth(queue: string): Promise<number | undefined> {
    const channel = await this.amqp.createChannel();
    channel.on('error', () => {});
    try {
      const { messageCount } = await channel.checkQueue(queue);
      await channel.close();
      return messageCount;
    } catch {
      return undefined;
    }
  }

  /** Pods that go on would slow down the tests that follow. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { admin } = this.cluster;
    const path = pathOf(eventPipelines, { namespace: this.namespace });
    const { items } = await admin.call<{ items: LivePipeline[] }>({ method: 'GET', path });
    for (const { metadata } of items) {
      const body = { metadata: { finalizers: null } };
      const contentType = 'application/merge-patch+json';
      await admin.call({ method: 'PATCH', path: `${path}/${metadata.name}`, body, contentType });
      await this.remove(metadata.name).catch(() => {}); // it was being deleted
    }
    await this.amqp.close();
    await this.handler.close();
  }
}

export const conditionOf = ({ status }: LivePipeline, type: string): Condition | undefined =>
  status?.conditions.find((one) => one.type === type);

/** Answers 204 to each event, or what its path begins with, and keeps what it got; paths that are `held` are answered when they are let go. */
export class Handler {
  readonly #server: Server;
  readonly #got: Array<{ readonly path: string; readonly data: unknown }> = [];
  readonly #held = new Map<string, Array<() => void>>();

  constructor() {
    this.#server = createServer((req, res) => {
      const chunks: Buffer[] = [];
      req.on('data', (chunk: Buffer) => chunks.push(chunk));
      req.on('end', () => {
        const path = (req.url ?? '/').slice(1);
        this.#got.push({ path, data: JSON.parse(Buffer.concat(chunks).toString('utf8')) });
        const status = Number(/^\d{3}/.exec(path)?.[0] ?? 204);
        const end = () => void res.writeHead(status).end();
        const held = this.#held.get(path);
        if (held) held.push(end);
        else end();
      });
    });
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
  }

  got(path: string): unknown[] {
    return this.#got.filter((one) => one.path === path).map(({ data }) => data);
  }

  hold(path: string): void {
    this.#held.set(path, []);
  }

  letGo(path: string): void {
    const held = this.#held.get(path) ?? [];
    this.#held.delete(path);
    for (const end of held) end();
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
