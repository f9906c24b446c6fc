import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { containerPorts } from '../../api/contract/names.ts';
import type { KubeClient } from '../../operator/engine/client.ts';
import { pathOf, type ResourceType, type StoredObject } from '../../operator/engine/objects.ts';
import { Reflector } from '../../operator/engine/reflector.ts';
import { root } from './up.ts';

const pods: ResourceType = { apiVersion: 'v1', kind: 'Pod', plural: 'pods' };
const configMaps: ResourceType = { apiVersion: 'v1', kind: 'ConfigMap', plural: 'configmaps' };

interface Pod extends StoredObject {
  readonly spec: {
    readonly containers: ReadonlyArray<{ readonly image: string; readonly command?: readonly string[] }>;
    readonly volumes?: ReadonlyArray<{ readonly configMap?: { readonly name: string } }>;
  };
}

interface Running {
  readonly child: ChildProcess;
  readonly address: string;
  isReady: boolean;
}

/** The third number of an address is this process's own, so that test files do not meet. */
let addresses = 0;
const nextAddress = (): string => {
  addresses++;
  return `127.${64 + (process.pid % 128)}.${(Math.floor(process.pid / 128) + Math.floor(addresses / 250)) % 256}.${1 + (addresses % 250)}`;
};

/**
 * In the stead of a kubelet: starts the runtime of each pod as a process of this machine, on a loopback address of its own,
 * with the configuration that its ConfigMap holds, and says in the pod's status what becomes of it. An image whose name
 * begins with `missing` cannot be pulled.
 */
export class StandInKubelet {
  readonly #client: KubeClient;
  readonly #pods: Reflector<Pod>;
  readonly #running = new Map<string, Running>();
  readonly #work = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #folder = '';

  constructor(client: KubeClient) {
    this.#client = client;
    this.#pods = new Reflector<Pod>(client, {
      type: pods,
      backoff: { firstMs: 20, maxMs: 200 },
      failed: () => {},
    });
    this.#pods.onChange((now, before) => {
      if (now && !before) this.#do(this.#start(now));
      if (!now && before) this.#running.get(before.metadata.uid ?? '')?.child.kill('SIGTERM');
    });
    this.#timer = setInterval(() => {
      for (const pod of this.#pods.values()) this.#do(this.#probe(pod));
    }, 100);
  }

  async start(): Promise<void> {
    this.#folder = await mkdtemp(join(tmpdir(), 'levada-kubelet-'));
    await this.#pods.start();
  }

  /** Of the processes of a Deployment that run. */
  pids(namespace: string, deployment: string): number[] {
    return [...this.#pods.values()].flatMap(({ metadata }) => {
      const { child } = this.#running.get(metadata.uid ?? '') ?? {};
      const isOf =
        metadata.namespace === namespace && metadata.name.replace(/-[a-z0-9]+-[a-z0-9]+$/, '') === deployment;
      return isOf && child?.pid !== undefined && child.exitCode === null && child.signalCode === null
        ? [child.pid]
        : [];
    });
  }

  /** Where the ready pods of a selector listen. */
  endpoints(namespace: string, selector: Readonly<Record<string, string>>): string[] {
    return [...this.#pods.values()].flatMap(({ metadata }) => {
      const { address, isReady = false } = this.#running.get(metadata.uid ?? '') ?? {};
      const isOf = Object.entries(selector).every(([name, value]) => metadata.labels?.[name] === value);
      const isThere = metadata.namespace === namespace && isOf && isReady && address !== undefined;
      return isThere ? [`http://${address}:${containerPorts.serving}`] : [];
    });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#pods.close();
    await Promise.all(this.#work);
    await Promise.all(
      [...this.#running.values()].map(async ({ child }) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const ended = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        await ended;
      }),
    );
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** A pod that has gone meanwhile is no failure. */
  #do(work: Promise<void>): void {
    const caught = work.catch(() => {});
    this.#work.add(caught);
    void caught.finally(() => this.#work.delete(caught));
  }

  async #start(pod: Pod): Promise<void> {
    const { namespace = '', uid = '' } = pod.metadata;
    const [container] = pod.spec.containers;
    if (!container || this.#running.has(uid)) return;
    if (container.image.startsWith('missing')) {
      const waiting = { reason: 'ImagePullBackOff', message: `Back-off pulling image "${container.image}"` };
      return this.#say(pod, { phase: 'Pending', containerStatuses: [{ ...this.#about(pod), state: { waiting } }] });
    }
    const name = pod.spec.volumes?.find(({ configMap }) => configMap)?.configMap?.name ?? '';
    const found = await this.#client.get<StoredObject & { data: Record<string, string> }>(configMaps, {
      namespace,
      name,
    });
    const address = nextAddress();
    const config = JSON.parse(found.data['unit.json'] ?? '') as { listen: { host: string } };
    const file = join(this.#folder, `${uid}.json`);
    await writeFile(file, JSON.stringify({ ...config, listen: { ...config.listen, host: address } }));
    const child = spawn(process.execPath, [join(root, 'runtime/main.ts'), '--config', file], { stdio: 'ignore' });
    child.on('error', () => {});
    this.#running.set(uid, { child, address, isReady: false });
    await this.#say(pod, { phase: 'Running', podIP: address, podIPs: [{ ip: address }] });
  }

  async #probe(pod: Pod): Promise<void> {
    const running = this.#running.get(pod.metadata.uid ?? '');
    if (!running) return;
    const url = `http://${running.address}:${containerPorts.admin}/readyz`;
    const isReady = await fetch(url, { signal: AbortSignal.timeout(1_000) }).then(
      async (response) => {
        await response.body?.cancel();
        return response.ok;
      },
      () => false,
    );
    if (isReady === running.isReady) return;
    running.isReady = isReady;
    const status = isReady ? 'True' : 'False';
    const conditions = ['Ready', 'ContainersReady'].map((type) => ({ type, status }));
    const started = { running: { startedAt: new Date().toISOString().replace(/\.\d+Z$/, 'Z') } };
    await this.#say(pod, {
      phase: 'Running',
      conditions: [...conditions, { type: 'PodScheduled', status: 'True' }],
      containerStatuses: [{ ...this.#about(pod), ready: isReady, state: started }],
    });
  }

  #about(pod: Pod): object {
    const image = pod.spec.containers[0]?.image ?? '';
    return { name: 'model-server', image, imageID: '', ready: false, restartCount: 0 };
  }

  async #say({ metadata: { namespace = '', name } }: Pod, status: object): Promise<void> {
    await this.#client.call({
      method: 'PATCH',
      path: pathOf(pods, { namespace, name, subresource: 'status' }),
      contentType: 'application/strategic-merge-patch+json',
      body: { status },
    });
  }
}
