/** What tests of pipelines on a whole cluster share: pods with a Service, what comes out, the chart's RabbitMQ. */
import { join } from 'node:path';
import { inject } from 'vitest';
import { helmed, imageVersion, type Namespace, operatorNamespace } from './e2e.ts';
import type { Sunk } from './shop-all.ts';
import { root } from './up.ts';

/** A pod and the Service that leads to it. */
export function podWithService(name: string, image: string, port: number, container: object = {}): object[] {
  return [
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, labels: { app: name } },
      spec: {
        terminationGracePeriodSeconds: 0,
        enableServiceLinks: false,
        containers: [{ name, image, readinessProbe: { tcpSocket: { port }, periodSeconds: 1 }, ...container }],
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name },
      spec: {
        selector: { app: name },
        ports: [{ name: 'main', port: name === 'rabbitmq' ? port : 80, targetPort: port }],
      },
    },
  ];
}

const file = '/tmp/sink.jsonl';

/** What takes everything: test/support/sink.ts at http://sink/. */
export const sinkPod = (): object[] =>
  podWithService('sink', `levada/client:${imageVersion}`, 8080, {
    command: ['node', 'test/support/sink.ts', file, '8080'],
  });

/** What came to {@link sinkPod} so far. */
export async function sunk(namespace: Namespace): Promise<readonly Sunk[]> {
  const print = `process.stdout.write(fs.existsSync('${file}') ? fs.readFileSync('${file}') : '')`;
  const text = await namespace.kubectl('exec', 'sink', '--', 'node', '-e', print);
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Sunk);
}

/** Debian's own rabbitmqctl would be another user, with another cookie. */
const rabbitmqctl = ['/usr/lib/rabbitmq/bin/rabbitmqctl', '--silent'];

/** Name and number of messages of each queue of a broker. @param where its pod or its set, for `kubectl exec` */
export async function queuesIn(namespace: Namespace, where: string): Promise<string[][]> {
  const lines = await namespace.kubectl('exec', where, '--', ...rabbitmqctl, 'list_queues', 'name', 'messages');
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t'));
}

const set = 'statefulset/levada-rabbitmq';

/** The RabbitMQ that the chart installs, which is the operator's own then. */
export class ChartBroker implements AsyncDisposable {
  readonly namespace: Namespace;

  private constructor(namespace: Namespace) {
    this.namespace = namespace;
  }

  static async install(namespace: Namespace): Promise<ChartBroker> {
    const values = { enabled: true, image: `levada/rabbitmq:${imageVersion}`, pullPolicy: 'Never', 'storage.size': 0 };
    const flags = Object.entries(values).flatMap(([name, value]) => ['--set', `rabbitmq.${name}=${value}`]);
    const chart = join(root, 'charts/levada');
    await helmed(inject('e2e').kubeconfig, 'upgrade', 'levada', chart, '--reuse-values', '--wait', ...flags);
    return new ChartBroker(namespace.in(operatorNamespace));
  }

  /** 0: it is away; 1: it is there, and empty. */
  async scale(replicas: 0 | 1): Promise<void> {
    await this.namespace.kubectl('scale', set, `--replicas=${replicas}`);
    if (replicas === 1) await this.namespace.kubectl('rollout', 'status', set, '--timeout=180s');
    else await this.namespace.kubectl('wait', '--for=delete', 'pod/levada-rabbitmq-0', '--timeout=120s');
  }

  /** @returns what it prints */
  ctl(...args: string[]): Promise<string> {
    return this.namespace.kubectl('exec', set, '--', ...rabbitmqctl, ...args);
  }

  /** Names of queues that begin so. */
  async queues(begin: string): Promise<string[]> {
    const all = await queuesIn(this.namespace, set);
    return all.flatMap(([name = '']) => (name.startsWith(begin) ? [name] : []));
  }

  /** A Secret `rabbitmq` that leads to it. @param change another user, say */
  async secret(namespace: Namespace, change: object = {}): Promise<void> {
    const { data } = await this.namespace.get<{ data: Record<string, string> }>('secret', 'levada-rabbitmq');
    const said = ['host', 'port', 'username', 'password'].map((key) => [key, atob(data[key] ?? '')]);
    const stringData = { ...Object.fromEntries(said), ...change };
    await namespace.apply([{ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'rabbitmq' }, stringData }]);
  }

  /** As it was before: the next file has another release, or the same one. */
  async [Symbol.asyncDispose](): Promise<void> {
    await helmed(inject('e2e').kubeconfig, 'rollback', 'levada', '--wait');
    await this.namespace.kubectl('delete', 'secret', 'levada-rabbitmq', '--ignore-not-found'); // the chart keeps it
  }
}
