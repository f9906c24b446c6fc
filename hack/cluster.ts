/**
 * Kubernetes without Docker, on this machine: what it is made of is built once from the Go modules that
 * hack/cluster/go.mod pins, and cached outside the clone. So far its control plane: a real kube-apiserver over a real etcd,
 * and the controllers that make pods of Deployments, none of which needs root. No kubelet runs these pods.
 *
 *   node hack/cluster.ts install      builds it: minutes, once
 *   node hack/cluster.ts start        prints the path of a kubeconfig and goes on until Ctrl-C
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Agent, request } from 'undici';
import { freePorts } from './free-ports.ts';
import { once } from './once.ts';

const run = promisify(execFile);
const sources = join(import.meta.dirname, 'cluster');
const cache = join(process.env['LEVADA_CACHE_DIR'] ?? join(homedir(), '.cache', 'levada'), 'kubernetes');

/** Where the programs of these sources are, once they are built. */
async function programs(): Promise<string> {
  const hash = createHash('sha256').update(`${process.platform} ${process.arch}`);
  for (const name of ['go.mod', 'go.sum']) hash.update(await readFile(join(sources, name)));
  return join(cache, hash.digest('hex').slice(0, 16));
}

const version = async (): Promise<string> =>
  /k8s\.io\/kubernetes (v\S+)/.exec(await readFile(join(sources, 'go.mod'), 'utf8'))?.[1] ?? 'v0.0.0';

const parts = ['kube-apiserver', 'kube-controller-manager'] as const;

const helmVersion = 'v3.19.0';
/** Path of Helm, once it is built. */
export const helm = join(cache, `helm-${helmVersion}`);

/** Why there is no Helm; `undefined`: there is. */
export const missingHelm = (): string | undefined =>
  existsSync(helm) ? undefined : 'Helm is not built: `npm run cluster -- install` does it (Go; two minutes, once)';

/** Builds Helm, once, whoever asks at the same time. */
async function installHelm(): Promise<void> {
  const making = `${helm}.making`;
  await once({
    path: helm,
    isThere: () => existsSync(helm),
    longestMs: 1_800_000,
    make: async () => {
      await run('go', ['install', `helm.sh/helm/v3/cmd/helm@${helmVersion}`], {
        env: { ...process.env, GOBIN: making, CGO_ENABLED: '0' },
        maxBuffer: 64 << 20,
      });
      await rename(join(making, 'helm'), helm);
      await rm(making, { recursive: true, force: true });
    },
  });
}

/** Why there can be no control plane here; `undefined`: there can. */
export async function missingControlPlane(): Promise<string | undefined> {
  const etcd = await run('etcd', ['--version']).catch(() => undefined);
  if (!etcd) return 'etcd is not in PATH: the package etcd-server of Debian brings it';
  const folder = await programs();
  const missing = parts.filter((name) => !existsSync(join(folder, name)));
  if (missing.length === 0) return undefined;
  return `not built: ${missing.join(', ')}; \`npm run cluster -- install\` does it (Go; minutes, once)`;
}

/** Builds what is missing, once, whoever asks at the same time. */
export async function installControlPlane(): Promise<void> {
  const folder = await programs();
  const missing = () => parts.filter((name) => !existsSync(join(folder, name)));
  await once({
    path: folder,
    isThere: () => missing().length === 0,
    longestMs: 1_800_000, // a cold build takes ten minutes
    make: async () => {
      for (const name of missing()) await build(name, join(folder, name));
    },
  });
}

async function build(name: string, program: string): Promise<void> {
  const flags = ['-buildvcs=false', '-trimpath', '-mod=readonly'];
  const ldflags = `-ldflags=-s -w -X k8s.io/component-base/version.gitVersion=${await version()}`;
  await mkdir(join(program, '..'), { recursive: true });
  // The rename keeps anybody from running half a program.
  const unfinished = `${program}.${process.pid}.tmp`;
  await run('go', ['build', ...flags, ldflags, '-o', unfinished, `k8s.io/kubernetes/cmd/${name}`], {
    cwd: sources,
    env: { ...process.env, CGO_ENABLED: '0' },
    maxBuffer: 64 << 20,
  });
  await rename(unfinished, program);
}

/** A user of the API server, with a token of its own. */
export interface ClusterUser {
  readonly name: string;
  readonly groups: readonly string[];
  readonly token: string;
}

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
    const tokens = [this.admin, this.nobody].map(
      ({ token, name, groups }) => `${token},${name},${name}${groups.length > 0 ? `,"${groups.join(',')}"` : ''}\n`,
    );
    await writeFile(join(this.#folder, 'tokens.csv'), tokens.join(''), { mode: 0o600 });
    const { privateKey, publicKey } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
    await writeFile(join(this.#folder, 'accounts.key'), privateKey, { mode: 0o600 });
    await writeFile(join(this.#folder, 'accounts.pub'), publicKey);
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
      '--service-cluster-ip-range=10.96.0.0/24',
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

const user = (name: string, groups: readonly string[]): ClusterUser => ({
  name,
  groups,
  token: randomBytes(24).toString('hex'),
});

/** A kubeconfig, as an object: JSON is YAML. @param server where it leads, if not to the API server itself */
export function kubeconfigOf(
  { ca, server }: Pick<ControlPlane, 'ca' | 'server'>,
  { name, token }: ClusterUser,
  through: string = server,
): object {
  const data = Buffer.from(ca).toString('base64');
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'levada',
        // The client library takes no other address without TLS.
        cluster: through.startsWith('http:')
          ? { server: through, 'insecure-skip-tls-verify': true }
          : { server: through, 'certificate-authority-data': data },
      },
    ],
    users: [{ name, user: { token } }],
    contexts: [{ name: 'levada', context: { cluster: 'levada', user: name } }],
    'current-context': 'levada',
  };
}

async function main([command]: string[]): Promise<void> {
  if (command === 'install') {
    await installControlPlane();
    await installHelm();
  } else if (command === 'start') {
    const plane = await startControlPlane();
    console.log(`KUBECONFIG=${plane.kubeconfig}\nCtrl-C ends it and what it holds`);
    const end = () => void plane.remove().then(() => process.exit(0));
    process.on('SIGINT', end);
    process.on('SIGTERM', end);
  } else throw new Error('usage: node hack/cluster.ts install|start');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main(process.argv.slice(2)).catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  });
}
