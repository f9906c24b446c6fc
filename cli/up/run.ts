import { rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { modelService, resourceKey, versionName } from '../../api/contract/names.ts';
import { LevadaError, messageOf } from '../../api/errors.ts';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import { LocalDriver } from '../../operator/drivers/local/driver.ts';
import { bindSocket } from '../../operator/drivers/local/sockets.ts';
import { KeyedQueue } from '../../operator/engine/queue.ts';
import { reconcile } from '../../operator/reconcile.ts';
import { type Loaded, loadPaths } from '../../operator/source/load.ts';
import { localFileName, mountedPath } from '../../operator/source/local.ts';
import { problemLine } from '../output.ts';
import { type AdminServer, type LocalResource, startAdmin } from './admin.ts';
import { createReporter, formatLog, type Reporter } from './reporter.ts';
import { isAlive, type Run, readRun, stateFolder, writeRun } from './run-file.ts';
import { FileStore } from './store.ts';
import { watchFiles } from './watch.ts';

const unitsFolder = resolve(stateFolder, 'units');
const watchEveryMs = 250;
const pollArtifactsMs = 1_000;

export interface UpOptions {
  readonly paths: readonly string[];
  /** Ports by service name. */
  readonly ports: Readonly<Record<string, number>>;
  /** Start as many processes of a version as `spec.replicas` says. */
  readonly replicas: boolean;
  readonly stdout: NodeJS.WriteStream;
  /** Told of each status that is written. */
  readonly onStatus?: (resource: ModelDeployment) => void;
}

/** Resources that run here, until {@link stop}. */
export class UpRun {
  readonly #options: UpOptions;
  readonly #store: FileStore;
  readonly #driver: LocalDriver;
  readonly #queue: KeyedQueue;
  readonly #reporter: Reporter;
  #loaded: Loaded;
  #ports: Record<string, number>;
  #admin: AdminServer | undefined;
  #notes: ReadonlySet<string> = new Set();
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
      run.#admin = await startAdmin(() => run.resources());
      await run.#remember();
    } catch (error) {
      await run.#end();
      throw error;
    }
    run.#reporter.line(
      'Model versions run as processes of this machine; requests and limits of CPU and memory are not enforced.',
    );
    run.#take(loaded);
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
    this.#store = new FileStore(now, (key) => void this.#statusWritten(key));
    this.#reporter = createReporter(options.stdout, () => this.#store.list(), now);
    this.#driver = new LocalDriver({
      stateDir: unitsFolder,
      mapPath: (path) => mountedPath(path, this.#loaded.local),
      // The compiled code is kept, as Python keeps its own: later starts are quicker.
      env: { NODE_COMPILE_CACHE: resolve(stateFolder, 'compile-cache'), ...process.env, NODE_ENV: 'production' },
      useReplicas: options.replicas,
      pollMs: pollArtifactsMs,
      port: (owner, service) => this.#portOf(owner, service),
      log: (unit, line) => this.#reporter.line(formatLog(unit, line)),
      note: (text) => this.#reporter.line(text),
    });
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
      const { services, admin } = this.#driver.addresses(resourceKey(resource.metadata));
      const urls = Object.entries(services).map(([name, port]) => [name, `http://127.0.0.1:${port}`]);
      return { resource, services: Object.fromEntries(urls), admin };
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

  async #end(): Promise<void> {
    await this.#driver.close();
    this.#admin?.close();
    this.#reporter.close();
  }

  /** Ends everything at once. */
  kill(): void {
    this.#driver.kill();
  }

  #take(loaded: Loaded): void {
    const moved = JSON.stringify(loaded.local) !== JSON.stringify(this.#loaded.local);
    this.#loaded = loaded;
    for (const note of loaded.notes) if (!this.#notes.has(note)) this.#reporter.line(note);
    this.#notes = new Set(loaded.notes);
    for (const key of this.#store.replace(loaded.resources.map(({ resource }) => resource))) this.#queue.add(key);
    if (!moved) return;
    this.#driver.remount();
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
      if (problems.length === 0) return this.#take(loaded);
      for (const problem of problems) this.#reporter.line(problemLine(problem));
      this.#reporter.line('the edit is refused as a whole; what ran goes on running');
    } catch (error) {
      this.#reporter.line(`the edit could not be read: ${messageOf(error)}; what ran goes on running`);
    }
  }

  async #statusWritten(key: string): Promise<void> {
    const resource = await this.#store.get(key);
    if (!resource) return;
    this.#reporter.status(resource);
    this.#options.onStatus?.(resource);
    const { services } = this.#driver.addresses(key);
    const ports = Object.entries(services).map(([name, port]) => [portKey(key, name), port] as const);
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

  async #remember(): Promise<void> {
    const admin = this.#admin && { url: this.#admin.url, token: this.#admin.token };
    await writeRun({ pid: process.pid, ...(admin && { admin }), ports: this.#ports });
  }
}

/** `namespace/service`, of an owner's key. */
const portKey = (owner: string, service: string): string => `${owner.split('/', 1)[0]}/${service}`;

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
  const services = resources.flatMap(({ resource: { metadata, spec } }) => [
    modelService(metadata.name),
    ...spec.versions.map(({ name }) => versionName(metadata.name, name)),
  ]);
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
