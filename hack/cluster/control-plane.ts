/**
 * A control plane: a real kube-apiserver over a real etcd, and the controllers that make pods of Deployments, none of
 * which needs root. No kubelet runs these pods.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { freePorts } from '../free-ports.ts';
import { type ClusterUser, kubeconfigOf, user, writeCredentials } from './credentials.ts';
import { missingControlPlane, programs } from './programs.ts';

export interface ControlPlane {
  /** `https://127.0.0.1:PORT`. */
  readonly server: string;
  readonly port: number;
  /** PEM of the certificate that signs the API server's. */
  readonly ca: string;
  /** May do everything. */
  readonly admin: ClusterUser;
  /** May do what RBAC grants to `nobody`, which is nothing at first. */
  readonly nobody: ClusterUser;
  /** Client address of etcd. */
  readonly etcd: string;
  /** Path of a kubeconfig for {@link admin}. */
  readonly kubeconfig: string;
  /** The API server ends, as in an upgrade; etcd stays. */
  stopServer(): Promise<void>;
  /** The API server again, on the same port. */
  startServer(): Promise<void>;
  /** Starts kube-controller-manager with these controllers, after the kinds that they are to know. */
  startControllers(names: readonly string[]): void;
  /** Ends all, and removes what they have stored. */
  remove(): Promise<void>;
}

/** Starts etcd and an API server; ready when the promise resolves. @throws Error with the end of their output */
export async function startControlPlane(): Promise<ControlPlane> {
  const missing = await missingControlPlane();
  if (missing !== undefined) throw new Error(missing);
  const plane = new LocalControlPlane(
    await mkdtemp(join(tmpdir(), 'levada-cluster-')),
    await programs(),
    await freePorts(Array.from({ length: 3 }, () => '127.0.0.1')),
  );
  try {
    await plane.start();
  } catch (error) {
    await plane.remove();
    throw error;
  }
  return plane;
}

class LocalControlPlane implements ControlPlane {
  readonly port: number;
  readonly admin = user('admin', ['system:masters']);
  readonly nobody = user('nobody', []);
  readonly #folder: string;
  readonly #programs: string;
  readonly #etcdPorts: readonly [number, number];
  #ca = '';
  #server: Program | undefined;
  #etcd: Program | undefined;
  #controllers: Program | undefined;

  constructor(folder: string, programs: string, [port = 0, client = 0, peer = 0]: readonly number[]) {
    this.#folder = folder;
    this.#programs = programs;
    this.port = port;
    this.#etcdPorts = [client, peer];
  }

  get server(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  get ca(): string {
    return this.#ca;
  }

  get etcd(): string {
    return `http://127.0.0.1:${this.#etcdPorts[0]}`;
  }

  get kubeconfig(): string {
    return join(this.#folder, 'kubeconfig');
  }

  async start(): Promise<void> {
    await writeCredentials(this.#folder, [this.admin, this.nobody]);
    const peer = `http://127.0.0.1:${this.#etcdPorts[1]}`;
    this.#etcd = new Program('etcd', [
      `--data-dir=${join(this.#folder, 'etcd')}`,
      `--listen-client-urls=${this.etcd}`,
      `--advertise-client-urls=${this.etcd}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
      '--unsafe-no-fsync',
    ]);
    await this.startServer();
    this.#ca = await readFile(join(this.#folder, 'pki/apiserver.crt'), 'utf8');
    await writeFile(this.kubeconfig, JSON.stringify(kubeconfigOf(this, this.admin)), { mode: 0o600 });
  }

  startControllers(names: readonly string[]): void {
    this.#controllers = new Program(join(this.#programs, 'kube-controller-manager'), [
      `--kubeconfig=${this.kubeconfig}`,
      `--controllers=${names.join(',')}`,
      '--leader-elect=false',
      '--secure-port=0',
    ]);
  }

  async startServer(): Promise<void> {
    const at = (name: string) => join(this.#folder, name);
    this.#server = new Program(join(this.#programs, 'kube-apiserver'), [
      `--etcd-servers=${this.etcd}`,
      '--bind-address=127.0.0.1',
      '--advertise-address=127.0.0.1',
      `--secure-port=${this.port}`,
      `--cert-dir=${at('pki')}`,
      `--token-auth-file=${at('tokens.csv')}`,
      '--authorization-mode=RBAC',
      '--service-cluster-ip-range=10.96.0.0/12',
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${at('accounts.pub')}`,
      `--service-account-signing-key-file=${at('accounts.key')}`,
      '--disable-admission-plugins=ServiceAccount', // nobody makes the accounts
      '--shutdown-delay-duration=0s',
    ]);
    await this.#until('the API server is ready', async () => {
      const ready = await this.#ask('/readyz');
      // RBAC's own roles are written after it is ready.
      return ready === 200 && (await this.#ask('/api/v1/namespaces/default')) === 200;
    });
  }

  /** As the administrator. Its certificate is not known before it has made one. @returns the HTTP status */
  async #ask(path: string): Promise<number> {
    const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
    try {
      const { statusCode, body } = await request(this.server + path, {
        dispatcher,
        headers: { authorization: `Bearer ${this.admin.token}` },
        signal: AbortSignal.timeout(2_000),
      });
      await body.dump();
      return statusCode;
    } finally {
      await dispatcher.destroy();
    }
  }

  async stopServer(): Promise<void> {
    await this.#server?.end('SIGTERM');
  }

  async remove(): Promise<void> {
    await this.#controllers?.end('SIGKILL');
    await this.#server?.end('SIGKILL');
    await this.#etcd?.end('SIGKILL');
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  async #until(what: string, check: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + 60_000;
    while (!(await check().catch(() => false))) {
      const ended = [this.#etcd, this.#server].find((program) => program?.hasEnded);
      if (ended || performance.now() > deadline) {
        throw new Error(`not so: ${what}\n${ended?.output ?? this.#server?.output ?? ''}`);
      }
      await pause(50);
    }
  }
}

/** A process, and the end of what it has said. */
class Program {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  output = '';
  hasEnded = false;

  constructor(program: string, args: readonly string[]) {
    this.#child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const keep = (chunk: Buffer) => {
      this.output = (this.output + chunk.toString()).slice(-10_000);
    };
    this.#child.stdout?.on('data', keep);
    this.#child.stderr?.on('data', keep);
    this.#ended = new Promise((resolve) => {
      const end = () => {
        this.hasEnded = true;
        resolve();
      };
      this.#child.on('exit', end);
      this.#child.on('error', (error) => {
        keep(Buffer.from(error.message));
        end();
      });
    });
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.#child.kill(signal);
    const hung = setTimeout(() => this.#child.kill('SIGKILL'), 30_000);
    await this.#ended;
    clearTimeout(hung);
  }
}
