import { rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { namespacedName, namespaceOf, resourceKey, versionName } from '../../api/contract/names.ts';
import type { NameTable } from '../../api/contract/pipeline-worker.ts';
import { LevadaError, messageOf } from '../../api/errors.ts';
import type { Resource } from '../../api/v1alpha1/resource.ts';
import { type RabbitSettings, shownBroker } from '../../brokers/rabbitmq/settings.ts';
import { Announcing } from '../../operator/drivers/announcing.ts';
import type { Driver } from '../../operator/drivers/driver.ts';
import { driverByKind } from '../../operator/drivers/kinds.ts';
import { LocalDriver } from '../../operator/drivers/local/driver.ts';
import { FetchedModels } from '../../operator/drivers/local/fetched.ts';
import { LocalPipelines } from '../../operator/drivers/local/pipelines.ts';
import { LocalServices } from '../../operator/drivers/local/services.ts';
import { bindSocket } from '../../operator/drivers/local/sockets.ts';
import { KeyedQueue } from '../../operator/engine/queue.ts';
import { reconcile } from '../../operator/reconcile.ts';
import { type Loaded, loadPaths } from '../../operator/source/load.ts';
import { localFileName, mountedPath } from '../../operator/source/local.ts';
import { servicesOf } from '../../operator/source/parse.ts';
import { startAdmin as startMetrics } from '../../runtime/admin.ts';
import { type Names, resolveHost } from '../../runtime/net/hosts.ts';
import type { End } from '../../runtime/pipeline/ends.ts';
import { problemLine } from '../output.ts';
import { type AdminServer, type LocalResource, startAdmin } from './admin.ts';
import { adminApi } from './admin-api.ts';
import { createReporter, formatLog, type Reporter } from './reporter.ts';
import { isAlive, type Run, readRun, stateFolder, writeRun } from './run-file.ts';
import { FileStore } from './store.ts';
import { watchFiles } from './watch.ts';

const unitsFolder = resolve(stateFolder, 'units');
const modelsFolder = resolve(stateFolder, 'models');
const watchEveryMs = 250;
const pollArtifactsMs = 1_000;
const pollQueuesMs = 500;

export interface UpOptions {
  readonly paths: readonly string[];
  /** Ports by service name. */
  readonly ports: Readonly<Record<string, number>>;
  /** Start as many processes of a version as `spec.replicas` says. */
  readonly replicas: boolean;
  readonly stdout: NodeJS.WriteStream;
  /** Where messages travel; absent: in memory, but for pipelines that name a broker. */
  readonly broker?: RabbitSettings;
  /** Told of each status that is written. */
  readonly onStatus?: (resource: Resource) => void;
  /** Told of each message that a step has ended with. */
  readonly onEnd?: (end: End) => void;
}

/** Resources that run here, until {@link stop}. */
export class UpRun {
  readonly #options: UpOptions;
  readonly #store: FileStore;
  readonly #models: LocalDriver;
  readonly #pipelines: LocalPipelines;
  readonly #services: LocalServices;
  readonly #driver: Driver;
  readonly #queue: KeyedQueue;
  readonly #reporter: Reporter;
  #loaded: Loaded;
  #ports: Record<string, number>;
  #admin: AdminServer | undefined;
  #metricsUrl: string | undefined;
  #notes: ReadonlySet<string> = new Set();
  readonly #addressCache = new Map<string, Readonly<Record<string, string>>>();
  readonly #names: Names = {
    local: (host) => this.#loaded.local.hosts[host] ?? this.#services.origin(host)?.origin,
    service: (namespace, service) => {
      for (const resource of this.#store.list()) {
        const key = resourceKey(resource);
        const url = namespaceOf(key) === namespace ? this.#addresses(key)[service] : undefined;
        if (url !== undefined) return url;
      }
      return undefined;
    },
  };
  #stopWatching = () => {};
  #stopped: Promise<void> | undefined;

  /**
   * Starts everything in `loaded`, which has no problems.
   *
   * @throws LevadaError AlreadyRunning, PortBusy, Usage
   */
  static async start(loaded: Loaded, options: UpOptions): Promise<UpRun> {
    const before = await readRun();
    await refuseSecondRun(before);
    checkPorts(loaded, options.ports);
    const run = new UpRun(loaded, before, options);
    try {
      // A run that was killed could not remove them.
      await rm(unitsFolder, { recursive: true, force: true });
      const command = (key: string, text: string) => {
        run.#store.command(key, text);
        run.#queue.add(key);
      };
      run.#admin = await startAdmin(adminApi(() => run.resources(), run.#pipelines, command));
      run.#metricsUrl = await startPipelineMetrics(run.#pipelines);
      await run.#remember();
    } catch (error) {
      await run.#end();
      throw error;
    }
    for (const line of introduction(loaded, options.broker)) run.#reporter.line(line);
    await run.#take(loaded);
    // Beside a file, one may appear later; a folder's list shows it.
    const localFiles = options.paths.map((path) => join(dirname(resolve(path)), localFileName));
    run.#stopWatching = watchFiles(
      () => [...run.#loaded.files, ...localFiles],
      watchEveryMs,
      () => run.#reload(),
    );
    return run;
  }

  private constructor(loaded: Loaded, before: Run, options: UpOptions) {
    this.#options = options;
    this.#loaded = loaded;
    this.#ports = { ...before.ports };
    const now = () => new Date();
    this.#store = new FileStore(
      now,
      (key) => void this.#statusWritten(key),
      ({ metadata }, { reason, message }) => this.#reporter.line(`${metadata.name}: ${reason}: ${message}`),
    );
    this.#reporter = createReporter(options.stdout, () => this.#store.list(), now);
    const fetched = new FetchedModels({
      folder: modelsFolder,
      secret: (name) => this.#loaded.secrets.get(name),
      secretNames: () => [...this.#loaded.secrets.keys()],
    });
    this.#models = new LocalDriver({
      stateDir: unitsFolder,
      fetch: (owner, config, signal) =>
        fetched.get(namespaceOf(owner), config, signal, (text) =>
          this.#reporter.line(formatLog(versionName(config.model, config.version), text)),
        ),
      mapPath: (path) => mountedPath(path, this.#loaded.local),
      env: childEnvironment(),
      useReplicas: options.replicas,
      pollMs: pollArtifactsMs,
      port: (owner, service) => this.#portOf(owner, service),
      log: (unit, line) => this.#reporter.line(formatLog(unit, line)),
      note: (text) => this.#reporter.line(text),
      askSteps: async (pipeline, step) => this.#pipelines.trials(pipeline, step),
    });
    this.#services = new LocalServices({
      log: (name, line) => this.#reporter.line(formatLog(name, line)),
      note: (text) => this.#reporter.line(text),
      changed: () => this.#requeuePipelines(),
    });
    this.#pipelines = new LocalPipelines({
      environment: (namespace) => ({ resolve: (url) => resolveHost(url, namespace, this.#names) }),
      waitsFor: (host) => this.#waitsFor(host),
      port: (owner, service) => this.#portOf(owner, service),
      pollMs: pollQueuesMs,
      ...(options.broker && { broker: options.broker }),
      secret: (name) => this.#loaded.secrets.get(name),
      secretNames: () => [...this.#loaded.secrets.keys()],
      names: () => this.#nameTable(),
      env: childEnvironment(),
      ...(options.onEnd && { ended: options.onEnd }),
      log: (part, text, error) =>
        this.#reporter.line(`${part} | ${text}${error === undefined ? '' : `: ${messageOf(error)}`}`),
      note: (text) => this.#reporter.line(text),
    });
    const models = new Announcing(this.#models, {
      publish: async (to, message, key) => this.#pipelines.transportOf(to).publish(to, [message], key),
      log: (text) => this.#reporter.line(text),
    });
    this.#driver = driverByKind({ EventPipeline: this.#pipelines, ModelDeployment: models });
    this.#queue = new KeyedQueue((key) => reconcile(key, this.#store, this.#driver, now), {
      firstMs: 250,
      maxMs: 30_000,
      failed: (key, error, nextMs) => this.#reporter.line(`${key}: ${messageOf(error)}; tried again in ${nextMs} ms`),
    });
    this.#driver.watch((key) => this.#queue.add(key));
  }

  /** What runs, as `levada get` shows it. */
  resources(): LocalResource[] {
    return this.#store.list().map((resource) => {
      const key = resourceKey(resource);
      const services = this.#addresses(key);
      if (resource.kind === 'ModelDeployment') return { resource, services, admin: this.#models.addresses(key).admin };
      const processes = this.#pipelines.admins(namespacedName(resource.metadata));
      const urls = [...(this.#metricsUrl === undefined ? [] : [this.#metricsUrl]), ...processes];
      const admin = { [resource.metadata.name]: urls };
      return { resource, services: { ...services, ...this.#localServices(resource) }, admin };
    });
  }

  line(text: string): void {
    this.#reporter.line(text);
  }

  /** Drains and ends everything; resolves when all processes are gone. */
  stop(): Promise<void> {
    this.#stopped ??= (async () => {
      this.#stopWatching();
      await this.#queue.close();
      await this.#end();
      await writeRun({ ports: this.#ports });
    })();
    return this.#stopped;
  }

  /** Pipelines first: what their steps have in hand still needs models and services. */
  async #end(): Promise<void> {
    await this.#driver.close();
    await this.#services.stop();
    this.#admin?.close();
    this.#reporter.close();
  }

  /** Ends everything at once. */
  kill(): void {
    this.#pipelines.kill();
    this.#models.kill();
    this.#services.kill();
  }

  async #take(loaded: Loaded): Promise<void> {
    const moved = JSON.stringify(loaded.local.mounts) !== JSON.stringify(this.#loaded.local.mounts);
    this.#loaded = loaded;
    // Its name resolves from now on, before a step asks for it.
    await this.#services.apply(loaded.local.services);
    this.#addressCache.clear();
    for (const note of loaded.notes) if (!this.#notes.has(note)) this.#reporter.line(note);
    this.#notes = new Set(loaded.notes);
    for (const key of this.#store.replace(loaded.resources.map(({ resource }) => resource))) this.#queue.add(key);
    await this.#pipelines.reread();
    this.#models.refetch();
    if (!moved) return;
    this.#models.remount();
    this.#reporter.line('mounts have changed: processes that start from now on use them');
  }

  /** An edit: taken whole, or not at all. Never rejects. */
  async #reload(): Promise<void> {
    try {
      const loaded = await loadPaths(this.#options.paths);
      const places = new Map(loaded.resources.map((entry) => [entry.resource, entry]));
      const refused = this.#store.refused(loaded.resources.map(({ resource }) => resource));
      const problems = [
        ...loaded.problems,
        ...refused.map(({ resource, problem }) => {
          const { file = '', line = 0 } = places.get(resource) ?? {};
          return { ...problem, file, line, column: 1 };
        }),
      ];
      if (problems.length === 0) return await this.#take(loaded);
      for (const problem of problems) this.#reporter.line(problemLine(problem));
      this.#reporter.line('the edit is refused as a whole; what ran goes on running');
    } catch (error) {
      this.#reporter.line(`the edit could not be read: ${messageOf(error)}; what ran goes on running`);
    }
  }

  async #statusWritten(key: string): Promise<void> {
    const { resource } = (await this.#store.get(key)) ?? {};
    if (!resource) return;
    this.#reporter.status(resource);
    this.#options.onStatus?.(resource);
    this.#addressCache.clear();
    const ports = Object.entries(this.#addresses(key)).map(([name, url]) => [portKey(key, name), portOf(url)] as const);
    if (ports.every(([name, port]) => this.#ports[name] === port)) return;
    Object.assign(this.#ports, Object.fromEntries(ports));
    await this.#remember().catch((error: unknown) => this.#reporter.line(messageOf(error)));
  }

  #portOf(owner: string, service: string): { port: number; fixed: boolean } {
    const fixed = this.#options.ports[service];
    if (fixed !== undefined) return { port: fixed, fixed: true };
    const before = this.#ports[portKey(owner, service)] ?? 0;
    return { port: Object.values(this.#options.ports).includes(before) ? 0 : before, fixed: false };
  }

  /** URLs of the Services of a resource, by name. */
  #addresses(key: string): Readonly<Record<string, string>> {
    const known = this.#addressCache.get(key);
    if (known) return known;
    const ports = Object.entries(this.#models.addresses(key).services);
    const models = ports.map(([name, port]) => [name, `http://127.0.0.1:${port}`] as const);
    const addresses = { ...Object.fromEntries(models), ...this.#pipelines.addresses(key) };
    this.#addressCache.set(key, addresses);
    return addresses;
  }

  /** All names that lead somewhere, for processes that cannot ask. */
  #nameTable(): NameTable {
    const services: Record<string, Record<string, string>> = {};
    for (const resource of this.#store.list()) {
      const key = resourceKey(resource);
      const namespace = namespaceOf(key);
      services[namespace] = { ...services[namespace], ...this.#addresses(key) };
    }
    const { hosts, services: local } = this.#loaded.local;
    const origins = Object.keys(local).flatMap((name) => {
      const origin = this.#services.origin(name)?.origin;
      return origin === undefined ? [] : [[name, origin] as const];
    });
    return { local: { ...Object.fromEntries(origins), ...hosts }, services };
  }

  /** What stands in for images of a pipeline's handlers: people want to see where it is. */
  #localServices({ spec }: Resource): Record<string, string> {
    if (!('steps' in spec)) return {};
    return Object.fromEntries(
      Object.keys(this.#loaded.local.services).flatMap((name) => {
        const origin = this.#services.origin(name);
        return origin ? [[name, origin.origin]] : [];
      }),
    );
  }

  /** Why a service of levada.local.yaml is not ready; `undefined`: it is, or there is none of that name. */
  #waitsFor(host: string): string | undefined {
    if (!Object.hasOwn(this.#loaded.local.services, host)) return undefined;
    const status = this.#services.state(host);
    if (status?.state === 'Ready') return undefined;
    return `its service ${host} is not ready: ${status?.detail || 'it is being started'}`;
  }

  #requeuePipelines(): void {
    for (const resource of this.#store.list())
      if (resource.kind === 'EventPipeline') this.#queue.add(resourceKey(resource));
  }

  async #remember(): Promise<void> {
    const admin = this.#admin && { url: this.#admin.url, token: this.#admin.token };
    await writeRun({ pid: process.pid, ...(admin && { admin }), ports: this.#ports });
  }
}

/** Of processes of models and steps. Those of steps are told where the broker is, over a channel of their own. */
function childEnvironment(): NodeJS.ProcessEnv {
  const { LEVADA_BROKER_URL: _, ...own } = process.env;
  // The compiled code is kept, as Python keeps its own: later starts are quicker.
  return { NODE_COMPILE_CACHE: resolve(stateFolder, 'compile-cache'), ...own, NODE_ENV: 'production' };
}

/** `namespace/service`, of an owner's key. */
const portKey = (owner: string, service: string): string => `${namespaceOf(owner)}/${service}`;

const portOf = (url: string): number => Number(new URL(url).port);

/** What a person should know before anything else. */
function introduction({ resources }: Loaded, broker: RabbitSettings | undefined): string[] {
  const has = (kind: Resource['kind']) => resources.some(({ resource }) => resource.kind === kind);
  return [
    ...(has('ModelDeployment')
      ? ['Model versions run as processes of this machine; requests and limits of CPU and memory are not enforced.']
      : []),
    ...(has('EventPipeline')
      ? [
          broker
            ? `Events go through ${shownBroker(broker)}: they outlive this process.`
            : 'Events go through a broker in the memory of this process: they end with it.',
        ]
      : []),
  ];
}

/** @returns URL of the admin port of all pipelines */
async function startPipelineMetrics({ metrics }: LocalPipelines): Promise<string> {
  const status = () => ({ state: 'Loaded' as const, draining: false });
  const port = await startMetrics({ host: '127.0.0.1', port: 0, metrics, status });
  return `http://127.0.0.1:${port}`;
}

/** @throws LevadaError AlreadyRunning */
async function refuseSecondRun({ pid, admin }: Run): Promise<void> {
  if (pid === undefined || pid === process.pid || !isAlive(pid) || !admin) return;
  // Process ids are used again: only one that answers is a run.
  const answers = await fetch(`${admin.url}/resources`, { signal: AbortSignal.timeout(1_000) }).then(
    (response) => response.status === 401,
    () => false,
  );
  if (answers) throw new LevadaError('AlreadyRunning', { pid });
}

/** Ports that were asked for must be there from the beginning, differ, and belong to one service each. */
function checkPorts({ resources }: Loaded, ports: UpOptions['ports']): void {
  const services = resources.flatMap(({ resource }) => servicesOf(resource).map(({ service }) => service));
  const asked = Object.entries(ports);
  for (const [index, [service, port]] of asked.entries()) {
    const refuse = (why: string) => new LevadaError('Usage', { detail: `--port ${service}=${port}: ${why}` });
    const count = services.filter((name) => name === service).length;
    if (count === 0) throw refuse(`no such service; allowed: ${services.join(', ')}`);
    if (count > 1) throw refuse('several namespaces have a service of that name');
    const other = asked.slice(0, index).find(([, taken]) => taken === port);
    if (other) throw refuse(`${other[0]} has that port already`);
    bindSocket(service, port).close();
  }
}
