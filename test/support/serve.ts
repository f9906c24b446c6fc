import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ModelServerConfig, ModelServerStatus } from '../../api/contract/model-server.ts';
import type { PipelineUnitConfig } from '../../api/contract/pipeline-unit.ts';
import { createMetrics } from '../../runtime/inference/metrics.ts';
import { defaultTimeouts, type HttpTimeouts, ServingPort } from '../../runtime/inference/server.ts';
import { ModelService, type ServiceOptions, type ServiceTimeouts } from '../../runtime/inference/service.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Folder of a model under test/fixtures/models. */
export const fixture = (name: string): string => join(root, 'test/fixtures/models', name);
/** Folder of a version of the example's model. */
export const iris = (version: 1 | 2): string => join(root, 'examples/iris/models', String(version));

export function serverConfig(path: string, overrides: Partial<ModelServerConfig> = {}): ModelServerConfig {
  return {
    kind: 'model-server',
    model: 'm',
    version: 'v1',
    path,
    batching: { maxBatchSize: 64, maxDelayMs: 0 },
    listen: { host: '127.0.0.1', serving: 0, admin: 0 },
    ...overrides,
  };
}

export interface Served {
  readonly service: ModelService;
  readonly serving: ServingPort;
  readonly port: number;
  readonly url: string;
  readonly states: readonly ModelServerStatus[];
  readonly fatal: readonly string[];
  readonly notes: readonly string[];
  close(): Promise<void>;
}

export interface ServeOptions {
  readonly http?: Partial<HttpTimeouts>;
  readonly timeouts?: ServiceTimeouts;
  readonly router?: ServiceOptions['router'];
  /** Answer, but do not load. */
  readonly unloaded?: boolean;
}

/** A model service and its serving port in this process, with the real runtime behind it. */
export async function serve(config: ModelServerConfig, options: ServeOptions = {}): Promise<Served> {
  const states: ModelServerStatus[] = [];
  const fatal: string[] = [];
  const notes: string[] = [];
  const service = new ModelService(config, {
    log: { info: () => {}, warn: (_fields, note) => notes.push(note), error: (_fields, note) => notes.push(note) },
    metrics: (queuedRows) => createMetrics(config.model, config.version, queuedRows),
    onStatus: (status) => states.push(status),
    onFatal: (reason) => fatal.push(reason),
    ...(options.timeouts && { timeouts: options.timeouts }),
    ...(options.router && { router: options.router }),
  });
  const serving = new ServingPort(service, { ...defaultTimeouts, ...options.http });
  const port = await serving.listen('serving', { host: '127.0.0.1', port: 0 });
  if (!options.unloaded) await service.load();
  return {
    service,
    serving,
    port,
    url: `http://127.0.0.1:${port}`,
    states,
    fatal,
    notes,
    async close() {
      serving.destroy();
      await Promise.all([serving.drain(), nextTurn().then(() => serving.destroy())]);
      await service.idle();
      await service.close();
    },
  };
}

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Parsed body. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of every form
  readonly json: any;
  /** The registered code. */
  readonly error: string | null;
}

export async function call(url: string, init: RequestInit = {}): Promise<Reply> {
  const response = await fetch(url, init);
  const text = await response.text();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // The caller looks at `text`.
  }
  return {
    status: response.status,
    headers: response.headers,
    text,
    json,
    error: response.headers.get('x-levada-error'),
  };
}

export const post = (url: string, body: unknown, headers: Record<string, string> = {}): Promise<Reply> =>
  call(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' || body instanceof Uint8Array ? (body as string) : JSON.stringify(body),
  });

export interface RawConnection {
  readonly socket: Socket;
  /** All that has come so far. */
  text(): string;
  /** Resolves when `condition` holds for what has come. Rejects when the connection ends before. */
  until(condition: (text: string) => boolean): Promise<string>;
  /** Resolves with all that has come when the server has ended the connection, however it did. */
  ended(): Promise<string>;
}

/** A TCP connection for what no HTTP client would send. */
export async function rawConnection(port: number): Promise<RawConnection> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  let text = '';
  let over = false;
  const watchers = new Set<() => void>();
  const look = () => {
    for (const watcher of watchers) watcher();
  };
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    look();
  });
  const end = () => {
    over = true;
    look();
  };
  socket.on('end', end).on('close', end).on('error', end);
  const wait = (done: () => boolean, lost: () => boolean): Promise<string> =>
    new Promise((resolve, reject) => {
      const watcher = () => {
        if (!done() && !lost()) return;
        watchers.delete(watcher);
        if (done()) resolve(text);
        else reject(new Error(`the connection has ended after ${JSON.stringify(text.slice(0, 500))}`));
      };
      watchers.add(watcher);
      watcher();
    });
  return {
    socket,
    text: () => text,
    until: (condition) =>
      wait(
        () => condition(text),
        () => over,
      ),
    ended: () =>
      wait(
        () => over,
        () => false,
      ),
  };
}

export interface ServerProcess {
  readonly child: ChildProcess;
  /** Parsed log lines so far. */
  readonly log: readonly Record<string, unknown>[];
  readonly stderr: () => string;
  readonly serving: number;
  readonly admin: number;
  exit(): Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** Kills it if it still runs, and removes its files. */
  close(): Promise<void>;
}

/** `node runtime/main.ts` as a cluster starts it, on ports of its own. */
export async function startProcess(
  config: ModelServerConfig | PipelineUnitConfig,
  ports: { serving: number; admin: number; internal?: number },
  args: readonly string[] = [],
): Promise<ServerProcess> {
  const dir = mkdtempSync(join(tmpdir(), 'levada-serve-'));
  const file = join(dir, 'unit.json');
  writeFileSync(file, JSON.stringify({ ...config, listen: { host: '127.0.0.1', ...ports } }));
  const child = spawn(process.execPath, [join(root, 'runtime/main.ts'), '--config', file, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const log: Record<string, unknown>[] = [];
  let stderr = '';
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }));
  createInterface(child.stdout).on('line', (line) => log.push(JSON.parse(line)));
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  return {
    child,
    log,
    stderr: () => stderr,
    ...ports,
    exit: () => exited,
    async close() {
      child.kill('SIGKILL');
      await exited;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Resolves when `condition` is true; looks again at every turn of the event loop, for as long as the test may run. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await nextTurn();
}
