import { createServer, type Socket } from 'node:net';
import { type KubeConfig, PortForward } from '@kubernetes/client-node';
import { errorCodeOf, LevadaError, messageOf } from '../api/errors.ts';
import { type RabbitSettings, settingsFromSecret } from '../brokers/rabbitmq/settings.ts';
import type { KubeClient } from '../operator/engine/client.ts';
import { pathOf, type ResourceType, type StoredObject } from '../operator/engine/objects.ts';

const secrets: ResourceType = { apiVersion: 'v1', kind: 'Secret', plural: 'secrets' };
const services: ResourceType = { apiVersion: 'v1', kind: 'Service', plural: 'services' };
const pods: ResourceType = { apiVersion: 'v1', kind: 'Pod', plural: 'pods' };

interface Place {
  readonly namespace: string;
  readonly name: string;
}

/** What a Secret says of a broker. @throws LevadaError SecretNotFound, SecretInvalid, Cluster… */
export async function settingsOf(client: KubeClient, place: Place): Promise<RabbitSettings> {
  const found = `${place.namespace}/${place.name}`;
  try {
    const { data = {} } = await client.get<StoredObject & { data?: Record<string, string> }>(secrets, place);
    const decoded = Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]);
    return settingsFromSecret(Object.fromEntries(decoded), found);
  } catch (error) {
    if (errorCodeOf(error) !== 'ClusterNotFound') throw error;
    throw new LevadaError('SecretNotFound', { found, allowed: 'a Secret of that namespace' }, { cause: error });
  }
}

const inCluster = /^(?<name>[a-z][-a-z0-9]*)([.](?<place>[a-z0-9][-a-z0-9]*)([.]svc([.].+)?)?)?$/;

/** The Service that a host may be inside of a cluster: `NAME`, `NAME.NAMESPACE`, `NAME.NAMESPACE.svc` and what follows. */
export function serviceOf(host: string, namespace: string): Place | undefined {
  const { name, place = namespace } = inCluster.exec(host)?.groups ?? {};
  return name === undefined ? undefined : { namespace: place, name };
}

export interface LiveService extends StoredObject {
  readonly spec: {
    readonly selector?: Readonly<Record<string, string>>;
    readonly ports?: ReadonlyArray<{ readonly port: number; readonly targetPort?: number | string }>;
  };
}

export interface LivePod extends StoredObject {
  readonly spec?: {
    readonly containers: ReadonlyArray<{
      readonly ports?: ReadonlyArray<{ readonly name?: string; readonly containerPort: number }>;
    }>;
  };
  readonly status?: {
    readonly conditions?: ReadonlyArray<{ readonly type: string; readonly status: string }>;
  };
}

/**
 * The pod that answers for a port of a Service, and the port there.
 *
 * @throws LevadaError BrokerUnavailable where none does
 */
export function podBehind(service: LiveService, port: number, found: readonly LivePod[]): Place & { port: number } {
  const { name, namespace = '' } = service.metadata;
  const unavailable = (detail: string) =>
    new LevadaError('BrokerUnavailable', { detail: `the Service ${namespace}/${name} ${detail}` });
  const target = service.spec.ports?.find((one) => one.port === port);
  if (!target) throw unavailable(`has no port ${port}`);
  const isReady = ({ metadata, status }: LivePod) =>
    metadata.deletionTimestamp === undefined &&
    status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') === true;
  const pod = found.find(isReady);
  if (!pod) throw unavailable('has no pod that is ready');
  const { targetPort = port } = target;
  const ports = pod.spec?.containers.flatMap((container) => container.ports ?? []) ?? [];
  const number =
    typeof targetPort === 'number' ? targetPort : ports.find((one) => one.name === targetPort)?.containerPort;
  if (number === undefined)
    throw unavailable(`leads to the port ${targetPort}, which the pod ${pod.metadata.name} has not`);
  return { namespace, name: pod.metadata.name, port: number };
}

export interface Reached {
  readonly settings: RabbitSettings;
  close(): Promise<void>;
}

/** Joins a connection to a port of a pod; rejects when there is no way to it. */
export type Forward = (pod: Place & { port: number }, socket: Socket) => Promise<void>;

/**
 * A way to a broker that the pods of `namespace` reach by `settings`. A Service of the cluster is reached through the API server,
 * with the rights of who asks: its name may mean another host here, and that must not get the password. Any other host,
 * and all of them inside of a pod, is reached directly.
 *
 * @throws LevadaError BrokerUnavailable, Cluster…
 */
export async function reach(
  client: KubeClient,
  settings: RabbitSettings,
  { namespace, isInside, forward }: { namespace: string; isInside: boolean; forward: Forward },
): Promise<Reached> {
  const place = isInside ? undefined : serviceOf(settings.host, namespace);
  const service = place && (await serviceAt(client, place));
  if (!service) return { settings, close: async () => {} };
  const labels = Object.entries(service.spec.selector ?? {}).map(([key, value]) => `${key}=${value}`);
  const { items } = await client.call<{ items: LivePod[] }>({
    method: 'GET',
    path: pathOf(pods, { namespace: place.namespace }),
    query: { labelSelector: labels.join(',') },
  });
  const pod = podBehind(service, settings.port, labels.length > 0 ? items : []);
  const { port, close } = await listen((socket) => forward(pod, socket));
  return { settings: { ...settings, serverName: settings.host, host: '127.0.0.1', port }, close };
}

async function serviceAt(client: KubeClient, place: Place): Promise<LiveService | undefined> {
  try {
    return await client.get<LiveService>(services, place);
  } catch (error) {
    if (errorCodeOf(error) === 'ClusterNotFound') return undefined;
    throw error;
  }
}

/** A port of this machine, each connection to which is joined to another one. */
async function listen(join: (socket: Socket) => Promise<void>): Promise<{ port: number; close(): Promise<void> }> {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on('error', () => {}); // its other end is told by `close`
    socket.on('close', () => open.delete(socket));
    join(socket).catch((error: unknown) => socket.destroy(error as Error));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a port of this machine is none');
  return {
    port: address.port,
    close: async () => {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** As `kubectl port-forward`: over a WebSocket through the API server, which asks whether that is allowed. */
export const forwardBy =
  (config: KubeConfig): Forward =>
  async ({ namespace, name, port }, socket) => {
    try {
      const asked = await new PortForward(config).portForward(namespace, name, [port], socket, null, socket);
      const stream = typeof asked === 'function' ? asked() : asked;
      stream?.addEventListener('close', () => socket.destroy());
      socket.on('close', () => stream?.close());
    } catch (error) {
      const detail = `pods/portforward of ${namespace}/${name}: ${messageOf(error)}`;
      throw new LevadaError('BrokerUnavailable', { detail }, { cause: error });
    }
  };
