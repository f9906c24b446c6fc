import { type ChildProcess, spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import { findResource, flat } from '../../cli/get.ts';
import { askRun } from '../../cli/local-run.ts';
import type { AdminRequest, LocalResource } from '../../cli/up/admin.ts';
import { until } from './wait.ts';

export const root = fileURLToPath(new URL('../..', import.meta.url));
const main = join(root, 'cli/main.ts');
export const fixture = (name: string): string => join(root, 'test/fixtures/models', name);
export const irisModel = (version: 1 | 2): string => join(root, `examples/iris/models/${version}/model.onnx`);

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What `levada get NAME -o json` prints. */
export type Got = ModelDeployment & { services: Record<string, string>; admin: Record<string, string[]> };

/** A folder of its own with `levada.local.yaml` and the iris models; removed, with all that runs in it, at the end. */
export class Workspace implements AsyncDisposable {
  readonly folder: string;
  /** Beside those of this process, for every command. */
  readonly env: Record<string, string> = {};
  readonly #children = new Set<ChildProcess>();

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(): Promise<Workspace> {
    const folder = await realpath(await mkdtemp(join(tmpdir(), 'levada-up-')));
    const workspace = new Workspace(folder);
    await workspace.copy(irisModel(1), 'models/iris/1/model.onnx');
    await workspace.copy(irisModel(2), 'models/iris/2/model.onnx');
    await workspace.write('res/levada.local.yaml', 'mounts:\n  /models: ../models\n');
    return workspace;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** As editors do it: a reader sees the old file or the new one. */
  async write(name: string, content: string | object | Uint8Array): Promise<void> {
    const isText = typeof content === 'string' || content instanceof Uint8Array;
    await mkdir(dirname(this.path(name)), { recursive: true });
    await writeFile(`${this.path(name)}~`, isText ? content : `${JSON.stringify(content, null, 2)}\n`);
    await rename(`${this.path(name)}~`, this.path(name));
  }

  async copy(from: string, name: string): Promise<void> {
    await mkdir(dirname(this.path(name)), { recursive: true });
    await cp(from, this.path(name), { recursive: true });
  }

  /** Starts a command of the CLI in this folder. */
  spawn(args: readonly string[], command: readonly string[] = [process.execPath]): Running {
    const [file = '', ...before] = command;
    const { NO_COLOR: _, FORCE_COLOR: __, ...env } = process.env;
    const child = spawn(file, [...before, main, ...args], {
      cwd: this.folder,
      env: { ...env, ...this.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#children.add(child);
    return new Running(child, () => this.#children.delete(child));
  }

  /** Runs a command of the CLI to its end. */
  levada(...args: string[]): Promise<Ended> {
    return this.spawn(args).ended;
  }

  /** `levada up`, of the folder `res` unless `args` say otherwise, once it says that it runs. */
  async up(...args: string[]): Promise<Running> {
    const running = this.spawn(['up', ...(args.some((arg) => arg.startsWith('res')) ? args : ['res', ...args])]);
    await running.says('Model versions run as processes of this machine');
    return running;
  }

  /** What `levada get NAME -o json` prints, by the request that it sends: to poll costs no start of a program. */
  async get<T extends object = Got>(name = 'iris'): Promise<T> {
    return flat(findResource(await this.ask<LocalResource[]>('/resources'), name)) as T;
  }

  /** Asks the run of this folder as the commands do. */
  ask<T>(path: string, request: AdminRequest = {}): Promise<T> {
    return askRun<T>(path, request, this.folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    // Model servers end by themselves, and may hold the folder until then.
    await rm(this.folder, { recursive: true, force: true, maxRetries: 10 });
  }
}

/** A command that runs. */
export class Running {
  readonly pid: number;
  readonly ended: Promise<Ended>;
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';

  constructor(child: ChildProcess, onEnd: () => void) {
    this.#child = child;
    this.pid = child.pid ?? 0;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        onEnd();
        resolve({ code, signal, stdout: this.#stdout, stderr: this.#stderr });
      });
    });
  }

  get output(): string {
    return this.#stdout + this.#stderr;
  }

  /** Waits for a text in what it prints, from `from` on. */
  says(text: string | RegExp, { from = 0, timeoutMs = 30_000 } = {}): Promise<void> {
    const found = () => {
      const rest = this.output.slice(from);
      return typeof text === 'string' ? rest.includes(text) : text.test(rest);
    };
    return until(`${text} in the output`, found, { timeoutMs, seen: () => this.output }).then(() => {});
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** What a terminal would send; closes the end of it that is ours. */
  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Ctrl-C. */
  interrupt(): Promise<Ended> {
    this.#child.kill('SIGINT');
    return this.ended;
  }
}

/** A ModelDeployment `iris` with the versions v1 (forest) and v2 (logistic regression); `spec` goes on top. */
export function iris(spec: object = {}, name = 'iris'): object {
  return {
    apiVersion: 'levada.dev/v1alpha1',
    kind: 'ModelDeployment',
    metadata: { name },
    spec: {
      versions: [
        { name: 'v1', uri: 'file:///models/iris/1' },
        { name: 'v2', uri: 'file:///models/iris/2' },
      ],
      serve: 'v1',
      classNames: ['setosa', 'versicolor', 'virginica'],
      ...spec,
    },
  };
}
