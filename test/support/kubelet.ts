import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { containerPorts } from '../../api/contract/names.ts';
import { errorCodeOf } from '../../api/errors.ts';
import type { KubeClient } from '../../operator/engine/client.ts';
import { pathOf, type ResourceType, type StoredObject } from '../../operator/engine/objects.ts';
import { Reflector } from '../../operator/engine/reflector.ts';
import { root } from './up.ts';

const pods: ResourceType = { apiVersion: 'v1', kind: 'Pod', plural: 'pods' };
const configMaps: ResourceType = { apiVersion: 'v1', kind: 'ConfigMap', plural: 'configmaps' };
const secrets: ResourceType = { apiVersion: 'v1', kind: 'Secret', plural: 'secrets' };

interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly volumeMounts?: ReadonlyArray<{ readonly name: string; readonly mountPath: string }>;
}

interface Pod extends StoredObject {
  readonly spec: {
    readonly initContainers?: readonly Container[];
    readonly containers: readonly Container[];
    readonly volumes?: ReadonlyArray<{
      readonly name: string;
      readonly configMap?: { readonly name: string };
      readonly secret?: { readonly secretName: string; readonly optional?: boolean };
      readonly emptyDir?: object;
    }>;
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
 * with the configuration that its ConfigMap holds and the Secrets that it mounts, and says in the pod's status what becomes
 * of it. A pod waits for what it mounts. An image whose name begins with `missing` cannot be pulled; other images beside
 * the runtime's are not run, and are said to be ready.
 */
export class StandInKubelet {
  readonly #client: KubeClient;
  readonly #pods: Reflector<Pod>;
  readonly #running = new Map<string, Running>();
  /** Pods that are being started, and what was said last of those that wait. */
  readonly #starting = new Set<string>();
  readonly #waiting = new Map<string, string>();
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
      for (const pod of this.#pods.values()) {
        this.#do(this.#running.has(pod.metadata.uid ?? '') ? this.#probe(pod) : this.#start(pod));
      }
    }, 200);
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

  /** Once at a time for each pod; one that cannot be started yet is tried again. */
  async #start(pod: Pod): Promise<void> {
    const { uid = '' } = pod.metadata;
    if (this.#running.has(uid) || this.#starting.has(uid)) return;
    this.#starting.add(uid);
    try {
      await this.#run(pod);
    } finally {
      this.#starting.delete(uid);
    }
  }

  async #run(pod: Pod): Promise<void> {
    const { uid = '' } = pod.metadata;
    const missing = containersOf(pod).find(({ image }) => image.startsWith('missing'));
    if (missing) {
      const message = `Back-off pulling image "${missing.image}"`;
      return this.#wait(pod, { reason: 'ImagePullBackOff', message }, missing);
    }
    const container = runtimeOf(pod);
    const file = join(this.#folder, `${uid}.json`);
    const address = nextAddress();
    if (!container) return;
    if (!(await this.#mount(pod, container, file, address))) return this.#wait(pod, { reason: 'ContainerCreating' });
    if (!(await this.#initialise(pod, file))) return;
    if (![...this.#pods.values()].some(({ metadata }) => metadata.uid === uid)) return; // it has gone meanwhile
    const args = (container.command ?? []).slice(1).map((arg) => (arg.endsWith('/unit.json') ? file : arg));
    const child = spawn(process.execPath, args, { cwd: root, stdio: 'ignore' });
    child.on('error', () => {});
    this.#running.set(uid, { child, address, isReady: false });
    await this.#say(pod, {
      phase: 'Running',
      podIP: address,
      podIPs: [{ ip: address }],
      ...statusesOf(pod, (one) => ({ ready: one !== container, state: startedNow() })),
    });
  }

  /** Writes the configuration to `file`, and a file for each key of the Secrets. @returns whether all of it is there */
  async #mount(pod: Pod, { volumeMounts = [] }: Container, file: string, address: string): Promise<boolean> {
    const { namespace = '', uid = '' } = pod.metadata;
    const mounted = (pod.spec.volumes ?? []).filter(({ name }) => volumeMounts.some((mount) => mount.name === name));
    const configMap = mounted.find((volume) => volume.configMap)?.configMap?.name ?? '';
    const config = JSON.parse((await this.#dataOf(configMaps, namespace, configMap))?.['unit.json'] ?? 'null') as {
      readonly listen: object;
      readonly secret?: string;
      path?: string | undefined;
      readonly routing?: { folder: string };
    } | null;
    if (!config) return false;
    let { secret } = config;
    for (const volume of mounted) {
      if (!volume.secret) continue;
      const data = await this.#dataOf(secrets, namespace, volume.secret.secretName);
      if (!data) return false;
      const folder = join(this.#folder, `${uid}-${volume.name}`);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      for (const [key, value] of Object.entries(data)) await writeFile(join(folder, key), Buffer.from(value, 'base64'));
      if (volumeMounts.find(({ name }) => name === volume.name)?.mountPath === secret) secret = folder;
    }
    if (config.routing) config.routing.folder = await this.#routingOf(pod, volumeMounts, config.routing.folder);
    const listen = { ...config.listen, host: address };
    for (const [mountPath, folder] of await this.#foldersOf(
      pod,
      volumeMounts.filter(({ name }) => name === 'fetched'),
    )) {
      config.path = config.path?.replace(mountPath, folder);
    }
    await writeFile(file, JSON.stringify({ ...config, listen, ...(secret !== undefined && { secret }) }));
    return true;
  }

  /** A folder with what the ConfigMap that is mounted at `mountPath` holds now; one that is not there may be left out. */
  async #routingOf(pod: Pod, mounts: NonNullable<Container['volumeMounts']>, mountPath: string): Promise<string> {
    const { namespace = '', uid = '' } = pod.metadata;
    const mount = mounts.find((one) => one.mountPath === mountPath);
    const name = pod.spec.volumes?.find((one) => one.name === mount?.name)?.configMap?.name ?? '';
    const folder = join(this.#folder, `${uid}-routing`);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const [key, value] of Object.entries((await this.#dataOf(configMaps, namespace, name)) ?? {})) {
      await writeFile(join(folder, key), value);
    }
    return folder;
  }

  /** Runs the init containers to their ends. @returns whether all have done their work */
  async #initialise(pod: Pod, file: string): Promise<boolean> {
    const { initContainers = [] } = pod.spec;
    for (const container of initContainers) {
      const { command = [], volumeMounts = [] } = container;
      if (command[1] !== 'runtime/fetch/main.ts') continue;
      const here = await this.#foldersOf(pod, volumeMounts);
      const report = `${file}.report`;
      await writeFile(report, '');
      const args = command.slice(1).map((arg) => {
        if (arg.endsWith('/unit.json')) return file;
        return arg === '/dev/termination-log' ? report : (here.get(arg) ?? arg);
      });
      const child = spawn(process.execPath, args, { cwd: root, stdio: 'ignore' });
      const exitCode = await new Promise<number>((resolve) => {
        child.on('error', () => resolve(1));
        child.on('exit', (code) => resolve(code ?? 1));
      });
      const message = await readFile(report, 'utf8');
      const terminated = { exitCode, reason: exitCode === 0 ? 'Completed' : 'Error', ...(message && { message }) };
      await this.#say(pod, {
        phase: 'Pending',
        ...statusesOf(pod, (one) => ({
          ready: false,
          state: one.name === container.name ? { terminated } : { waiting: { reason: 'PodInitializing' } },
        })),
      });
      if (exitCode !== 0) return false;
    }
    return true;
  }

  /** What volumes of a pod are here, by where they are mounted: folders that are empty at first, and Secrets. */
  async #foldersOf(pod: Pod, volumeMounts: Container['volumeMounts']): Promise<Map<string, string>> {
    const { namespace = '', uid = '' } = pod.metadata;
    const folders = new Map<string, string>();
    for (const { name, mountPath } of volumeMounts ?? []) {
      const volume = pod.spec.volumes?.find((one) => one.name === name);
      if (!volume?.secret && !volume?.emptyDir) continue;
      const folder = join(this.#folder, `${uid}-${name}`);
      if (volume.secret) await rm(folder, { recursive: true, force: true });
      await mkdir(folder, { recursive: true, mode: 0o700 });
      folders.set(mountPath, folder);
      const data = volume.secret && (await this.#dataOf(secrets, namespace, volume.secret.secretName));
      for (const [key, value] of Object.entries(data ?? {})) {
        await writeFile(join(folder, key), Buffer.from(value, 'base64'));
      }
    }
    return folders;
  }

  async #dataOf(type: ResourceType, namespace: string, name: string): Promise<Record<string, string> | undefined> {
    try {
      const found = await this.#client.get<StoredObject & { data?: Record<string, string> }>(type, { namespace, name });
      return found.data ?? {};
    } catch (error) {
      if (errorCodeOf(error) !== 'ClusterNotFound') throw error;
      return undefined;
    }
  }

  /** Says, once, why a container cannot be started; all others are being made. */
  async #wait(pod: Pod, reason: { reason: string; message?: string }, culprit = runtimeOf(pod)): Promise<void> {
    const { uid = '' } = pod.metadata;
    if (this.#waiting.get(uid) === reason.reason) return;
    this.#waiting.set(uid, reason.reason);
    const state = ({ name }: Container) => ({
      ready: false,
      state: { waiting: name === culprit?.name ? reason : { reason: 'ContainerCreating' } },
    });
    await this.#say(pod, { phase: 'Pending', ...statusesOf(pod, state) });
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
    const started = startedNow();
    const runtime = runtimeOf(pod);
    await this.#say(pod, {
      phase: 'Running',
      conditions: [...conditions, { type: 'PodScheduled', status: 'True' }],
      ...statusesOf(pod, (container) => ({ ready: container === runtime ? isReady : true, state: started })),
    });
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

const startedNow = () => ({ running: { startedAt: new Date().toISOString().replace(/\.\d+Z$/, 'Z') } });

const containersOf = ({ spec }: Pod): Container[] => [...(spec.initContainers ?? []), ...spec.containers];

/** The container that is Levada's. */
const runtimeOf = ({ spec }: Pod): Container | undefined =>
  spec.containers.find(({ command }) => command?.[1] === 'runtime/main.ts');

function statusesOf({ spec }: Pod, of: (container: Container) => object): object {
  const status = (container: Container) => ({
    name: container.name,
    image: container.image,
    imageID: '',
    restartCount: 0,
    ...of(container),
  });
  return {
    containerStatuses: spec.containers.map(status),
    ...(spec.initContainers && { initContainerStatuses: spec.initContainers.map(status) }),
  };
}
