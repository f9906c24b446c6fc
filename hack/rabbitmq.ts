/**
 * RabbitMQ for tests, benchmarks and for trying things out: the versions that Levada is held to, from Debian's packages
 * in a folder of their own (`debootstrap`, run by `chroot`), or from containers where Docker is. Everything is cached
 * outside the clone; what a broker has stored goes with it.
 *
 *   node hack/rabbitmq.ts install 3.10 4.3      needs root, as debootstrap does; .ci/run calls it
 *   node hack/rabbitmq.ts start 4.3             prints its URL and goes on until Ctrl-C
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePorts } from './free-ports.ts';
import { once } from './once.ts';

/** Debian's release, by version of RabbitMQ; Docker's image has the version as its tag. */
const suites = { '3.10': 'bookworm', '4.3': 'sid' } as const;
export type RabbitVersion = keyof typeof suites;
export const rabbitVersions = Object.keys(suites) as RabbitVersion[];

const run = promisify(execFile);
const cache = join(process.env['LEVADA_CACHE_DIR'] ?? join(homedir(), '.cache', 'levada'), 'rabbitmq');
/** Where the tree of a version is, once it is installed. */
export const treeOf = (version: RabbitVersion) => join(cache, suites[version]);
const isRoot = process.getuid?.() === 0;

/** Why a broker of this version cannot be started here; `undefined`: it can. */
export async function missingRabbit(version: RabbitVersion): Promise<string | undefined> {
  if (existsSync(treeOf(version)) || (await hasDocker())) return undefined;
  return `RabbitMQ ${version} is not installed: \`sudo node hack/rabbitmq.ts install ${version}\` does it (Debian, or Docker)`;
}

let docker: Promise<boolean> | undefined;
const hasDocker = (): Promise<boolean> => {
  docker ??= run('docker', ['info']).then(
    () => true,
    () => false,
  );
  return docker;
};

/** Makes the tree of a version, once, whoever asks at the same time. */
export async function installRabbit(version: RabbitVersion): Promise<void> {
  const tree = treeOf(version);
  const making = `${tree}.making`;
  await once({
    path: tree,
    isThere: () => existsSync(tree),
    longestMs: 900_000, // debootstrap takes two minutes
    make: async () => {
      await rm(making, { recursive: true, force: true });
      await run('debootstrap', ['--variant=minbase', '--include=rabbitmq-server', suites[version], making], {
        maxBuffer: 64 * 1024 * 1024,
      });
      await rm(join(making, 'var/cache/apt/archives'), { recursive: true, force: true });
      await rename(making, tree);
    },
  });
}

export interface RabbitOptions {
  /** What a broker before had, so that clients find it again. Default: free ones. */
  readonly ports?: RabbitPorts;
  /** Lines of rabbitmq.conf. */
  readonly config?: readonly string[];
  /** Address of the AMQP port, `127.0.0.0/8`. */
  readonly address?: string;
  /** Default: a free one. */
  readonly amqpPort?: number;
  /** Erlang's own flags: `+S 1` for one scheduler. */
  readonly erlang?: string;
  /** PEM files: TLS on a port of its own, which asks clients for a certificate. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
}

export interface RabbitPorts {
  readonly amqp: number;
  readonly tls: number;
  readonly management: number;
  readonly epmd: number;
  readonly distribution: number;
}

/** A broker with users `guest`, on loopback. */
export interface Rabbit {
  readonly version: RabbitVersion;
  readonly address: string;
  readonly ports: RabbitPorts;
  /** `amqp://guest:guest@127.0.0.1:PORT`. */
  readonly uri: string;
  /** `http://127.0.0.1:PORT`, of the management API. */
  readonly management: string;
  /** Ends it as an operator would. What is durable is kept for {@link start}. */
  stop(): Promise<void>;
  /** Ends it as a power cut does. */
  kill(): Promise<void>;
  /** After stop or kill: the same node again, on the same ports. */
  start(): Promise<void>;
  /** Runs `rabbitmqctl`. */
  ctl(...args: string[]): Promise<string>;
  /** Ends it and removes what it has stored. */
  remove(): Promise<void>;
}

/** Starts a broker; ready when the promise resolves. @throws Error with the end of its output */
export async function startRabbit(version: RabbitVersion, options: RabbitOptions = {}): Promise<Rabbit> {
  const rabbit = existsSync(treeOf(version)) ? new TreeRabbit(version, options) : new DockerRabbit(version, options);
  const missing = await missingRabbit(version);
  if (missing) throw new Error(missing);
  try {
    await rabbit.start();
  } catch (error) {
    await rabbit.remove();
    throw error;
  }
  return rabbit;
}

abstract class Base implements Rabbit {
  readonly version: RabbitVersion;
  readonly address: string;
  protected readonly options: RabbitOptions;
  #ports: RabbitPorts | undefined;

  constructor(version: RabbitVersion, options: RabbitOptions) {
    this.version = version;
    this.options = options;
    this.address = options.address ?? '127.0.0.1';
    this.#ports = options.ports;
  }

  get ports(): RabbitPorts {
    if (!this.#ports) throw new Error('it has not been started');
    return this.#ports;
  }

  get uri(): string {
    return `amqp://guest:guest@${this.address}:${this.ports.amqp}`;
  }

  get management(): string {
    return `http://127.0.0.1:${this.ports.management}`;
  }

  async start(): Promise<void> {
    this.#ports ??= {
      ...(await portsOf(this.address)),
      ...(this.options.amqpPort && { amqp: this.options.amqpPort }),
    };
    await this.launch();
    const deadline = performance.now() + 90_000;
    while (!((await this.#answers()) && (await listens(this.address, this.ports.amqp)))) {
      if (this.failure() || performance.now() > deadline) {
        await this.kill();
        throw new Error(`RabbitMQ ${this.version} did not start\n${this.failure() ?? ''}\n${this.output()}`);
      }
      await pause(50);
    }
  }

  /** The management plugin is one of the last to be started; on a busy machine the port of AMQP is there later still. */
  async #answers(): Promise<boolean> {
    const authorization = `Basic ${Buffer.from('guest:guest').toString('base64')}`;
    const url = `${this.management}/api/health/checks/local-alarms`;
    const response = await fetch(url, { headers: { authorization }, signal: AbortSignal.timeout(2_000) }).catch(
      () => undefined,
    );
    await response?.body?.cancel();
    return response?.status === 200;
  }

  protected conf(): string[] {
    const { amqp, management } = this.ports;
    return [
      `listeners.tcp.1 = ${this.address}:${amqp}`,
      `management.tcp.ip = 127.0.0.1`,
      `management.tcp.port = ${management}`,
      'disk_free_limit.absolute = 50MB',
      'log.console = true',
      'log.console.level = warning',
      'log.file = false',
      ...(this.options.config ?? []),
    ];
  }

  protected abstract launch(): Promise<void>;
  protected abstract failure(): string | undefined;
  protected abstract output(): string;
  abstract stop(): Promise<void>;
  abstract kill(): Promise<void>;
  abstract ctl(...args: string[]): Promise<string>;
  abstract remove(): Promise<void>;
}

class TreeRabbit extends Base {
  readonly #name = `levada-${randomUUID()}`;
  #child: ChildProcess | undefined;
  #ended = Promise.resolve();
  #output = '';

  get #home(): string {
    return `/srv/${this.#name}`;
  }

  protected async launch(): Promise<void> {
    const tree = treeOf(this.version);
    const home = join(tree, this.#home);
    await mkdir(home, { recursive: true });
    await writeFile(join(tree, 'etc/hosts'), '127.0.0.1 localhost\n');
    await writeFile(join(home, 'rabbitmq.conf'), `${[...this.conf(), ...(await this.#tls(home))].join('\n')}\n`);
    await writeFile(join(home, 'enabled_plugins'), '[rabbitmq_management].\n');
    this.#output = '';
    const child = this.#chroot(['/usr/lib/rabbitmq/bin/rabbitmq-server']);
    const keep = (chunk: Buffer) => {
      this.#output = (this.#output + chunk.toString()).slice(-20_000);
    };
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
    this.#ended = new Promise((resolve) => {
      child.on('error', (error) => {
        keep(Buffer.from(error.message));
        resolve();
      });
      child.on('exit', () => resolve());
    });
    this.#child = child;
  }

  async #tls(home: string): Promise<string[]> {
    const { tls } = this.options;
    if (!tls) return [];
    for (const [name, file] of Object.entries(tls)) await cp(file, join(home, `${name}.pem`));
    return [
      `listeners.ssl.1 = ${this.address}:${this.ports.tls}`,
      `ssl_options.cacertfile = ${this.#home}/ca.pem`,
      `ssl_options.certfile = ${this.#home}/cert.pem`,
      `ssl_options.keyfile = ${this.#home}/key.pem`,
      'ssl_options.verify = verify_peer',
      'ssl_options.fail_if_no_peer_cert = true',
    ];
  }

  #chroot(command: string[]): ChildProcess {
    // Its monitors read /proc; the mount ends with the process, and nobody else sees it.
    const script = 'mount --rbind /proc "$0/proc" && exec chroot "$0" "$@"';
    const user = isRoot ? [] : ['--user', '--map-root-user'];
    return spawn('unshare', ['--mount', ...user, 'sh', '-c', script, treeOf(this.version), ...command], {
      env: this.#env(),
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own: the start script stays beside the node.
      detached: true,
    });
  }

  #signal(signal: NodeJS.Signals): void {
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }

  #env(): NodeJS.ProcessEnv {
    const { epmd, distribution } = this.ports;
    const home = this.#home;
    return {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: home,
      LANG: 'C.UTF-8',
      ERL_EPMD_PORT: String(epmd),
      ERL_EPMD_ADDRESS: '127.0.0.1',
      RABBITMQ_NODENAME: `x${epmd}@localhost`,
      RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
      RABBITMQ_DIST_PORT: String(distribution),
      RABBITMQ_CONFIG_FILE: `${home}/rabbitmq.conf`,
      RABBITMQ_ENABLED_PLUGINS_FILE: `${home}/enabled_plugins`,
      RABBITMQ_MNESIA_BASE: `${home}/data`,
      RABBITMQ_LOG_BASE: `${home}/log`,
      RABBITMQ_PID_FILE: `${home}/pid`,
      ...(this.options.erlang && { RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: this.options.erlang }),
    };
  }

  protected failure(): string | undefined {
    return this.#child?.exitCode === null && this.#child.signalCode === null ? undefined : 'its process has ended';
  }

  protected output(): string {
    return this.#output;
  }

  async stop(): Promise<void> {
    this.#signal('SIGTERM');
    const hung = setTimeout(() => this.#signal('SIGKILL'), 30_000);
    await this.#ended;
    // The start script may end before the node.
    const { amqp, distribution } = this.ports;
    while ((await listens(this.address, amqp)) || (await listens('127.0.0.1', distribution))) await pause(50);
    clearTimeout(hung);
  }

  async kill(): Promise<void> {
    this.#signal('SIGKILL');
    await this.#ended;
  }

  ctl(...args: string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      const child = this.#chroot(['/usr/lib/rabbitmq/bin/rabbitmqctl', ...args]);
      let output = '';
      child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
      child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
      child.on('error', reject);
      child.on('exit', (code) => (code === 0 ? resolve(output) : reject(new Error(`rabbitmqctl: ${code}\n${output}`))));
    });
  }

  async remove(): Promise<void> {
    await this.kill();
    // It outlives the node that has started it.
    await new Promise<void>((resolve) => {
      const child = this.#chroot(['/usr/bin/epmd', '-kill']);
      child.on('error', () => resolve());
      child.on('exit', () => resolve());
    });
    await rm(join(treeOf(this.version), this.#home), { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Written for contributors who have Docker; not run on the machines that Levada is made on. */
class DockerRabbit extends Base {
  readonly #name = `levada-${randomUUID()}`;
  #running = false;

  protected async launch(): Promise<void> {
    if (this.options.tls || this.address !== '127.0.0.1') throw new Error('not with Docker: another address, or TLS');
    const { amqp, management } = this.ports;
    if (this.#running) return void (await run('docker', ['start', this.#name]));
    const publish = ['-p', `127.0.0.1:${amqp}:5672`, '-p', `127.0.0.1:${management}:15672`];
    await run('docker', ['run', '-d', '--name', this.#name, ...publish, `rabbitmq:${this.version}-management`]);
    this.#running = true;
  }

  protected failure(): undefined {
    return undefined;
  }

  protected output(): string {
    return `docker logs ${this.#name}`;
  }

  async stop(): Promise<void> {
    await run('docker', ['stop', this.#name]);
  }

  async kill(): Promise<void> {
    await run('docker', ['kill', this.#name]).catch(() => {});
  }

  async ctl(...args: string[]): Promise<string> {
    return (await run('docker', ['exec', this.#name, 'rabbitmqctl', ...args])).stdout;
  }

  async remove(): Promise<void> {
    await run('docker', ['rm', '-f', '-v', this.#name]);
  }
}

const listens = (host: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host, port });
    const say = (answer: boolean) => () => {
      socket.destroy();
      resolve(answer);
    };
    socket.on('connect', say(true));
    socket.on('error', say(false));
  });

async function portsOf(address: string): Promise<RabbitPorts> {
  const all = await freePorts([address, ...Array.from({ length: 4 }, () => '127.0.0.1')]);
  const [amqp = 0, tls = 0, management = 0, epmd = 0, distribution = 0] = all;
  return { amqp, tls, management, epmd, distribution };
}

async function main([command, ...versions]: string[]): Promise<void> {
  const wrong = versions.find((version) => !Object.hasOwn(suites, version));
  if ((command !== 'install' && command !== 'start') || wrong !== undefined || versions.length === 0) {
    throw new Error(`usage: node hack/rabbitmq.ts install|start ${rabbitVersions.join('|')}`);
  }
  for (const version of versions as RabbitVersion[]) {
    if (command === 'install') await installRabbit(version);
    else {
      const rabbit = await startRabbit(version);
      console.log(`${rabbit.uri}\n${rabbit.management} (guest, guest)\nCtrl-C ends it and what it holds`);
      const end = () => void rabbit.remove().then(() => process.exit(0));
      process.on('SIGINT', end);
      process.on('SIGTERM', end);
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main(process.argv.slice(2)).catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  });
}
