/**
 * A real Kubernetes node without Docker, as root. It lives in namespaces of its own (processes, mounts, network), so
 * nothing of it is seen by what else runs here, and all of it ends with its first process. Its network is a closed one:
 * from here the API server and the node's address are reached, from there nothing but this machine.
 */
import { execFile, spawn } from 'node:child_process';
import { existsSync, openSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { writeArchive } from '../image/archive.ts';
import { once } from '../once.ts';
import type { Cluster } from './cluster.ts';
import {
  type Component,
  containerdSocket,
  cutArgs,
  dnsRights,
  firstComponents,
  kubeconfigFile,
  nodeName,
  otherComponents,
  type Place,
  pauseImage,
  users,
  writeKubeconfigs,
} from './components.ts';
import { writeCredentials } from './credentials.ts';
import { freeLink, isRunning, makeCgroups, processOf, type Remains, remainsOf, removeRemains } from './host.ts';
import { cache, kubectlProgram, missingNode, programs } from './programs.ts';

const run = promisify(execFile);
const folder = join(cache, 'node');
const remainsFile = join(folder, 'node.json');
/** There as soon as the cluster can be used. */
const kubeconfig = join(folder, 'kubeconfig');
const environment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root' };

export class NodeCluster implements Cluster {
  readonly kubeconfig = kubeconfig;

  async up(log: (text: string) => void): Promise<boolean> {
    const missing = await missingNode();
    if (missing !== undefined) throw new Error(missing);
    if (/^\/(run|var)\//.test(resolve(folder))) throw new Error(`${folder}: the node has a /run and a /var of its own`);
    let remains = await read();
    let isNew = false;
    await once({
      path: kubeconfig,
      isThere: () => existsSync(kubeconfig) && remains !== undefined && isRunning(remains),
      longestMs: 300_000,
      make: async () => {
        await removeAll(); // of a node that did not get so far, or that has died
        try {
          remains = await start(log);
          isNew = true;
        } catch (error) {
          await removeAll();
          throw error;
        }
      },
    });
    return isNew;
  }

  async down(): Promise<void> {
    if (!existsSync(folder)) return;
    await removeAll();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }

  async load(archive: string): Promise<void> {
    await importImage(await running(), archive);
  }

  async restartServer(): Promise<void> {
    const remains = await running();
    const program = join(await programs(), 'kube-apiserver');
    const server = processOf(remains, program);
    if (!server) throw new Error('no API server is running');
    process.kill(server.pid, 'SIGTERM');
    const began = performance.now();
    await until('the API server has ended', remains, async () => {
      if (!processOf(remains, program)) return;
      // It would wait a minute for connections that nobody closes.
      if (performance.now() - began > 10_000) process.kill(server.pid, 'SIGKILL');
      throw new Error('it has not');
    });
    launch(remains, { name: 'kube-apiserver', program, args: server.args });
    const flags = ['--kubeconfig', kubeconfig, '--cache-dir', join(folder, 'kubectl')];
    await until('the API server is ready', remains, async () => {
      await run(await kubectlProgram(), [...flags, 'get', '--raw', '/readyz'], { timeout: 30_000 });
    });
  }

  async cut(address: string): Promise<number> {
    const { stdout } = await inside((await running()).pid, 'ss', cutArgs(address));
    return stdout.split('\n').filter((line) => line !== '').length;
  }
}

async function running(): Promise<Remains> {
  const remains = await read();
  if (!remains || !isRunning(remains)) throw new Error('no cluster is running: `npm run cluster -- up` starts one');
  return remains;
}

async function read(): Promise<Remains | undefined> {
  try {
    return JSON.parse(await readFile(remainsFile, 'utf8')) as Remains;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Ends the node, if one was started, and removes all that it has stored. The lock beside it stays. */
async function removeAll(): Promise<void> {
  const remains = await read();
  if (remains) await removeRemains(remains);
  const names = (await readdir(folder)).filter((name) => !name.endsWith('.lock'));
  for (const name of names) await rm(join(folder, name), { recursive: true, force: true, maxRetries: 5 });
}

/** Starts all of it; the node is ready when the promise resolves. */
async function start(log: (text: string) => void): Promise<Remains> {
  const began = performance.now();
  for (const name of ['kubelet', 'log']) await mkdir(join(folder, name), { recursive: true });
  const { name: link, here, there } = await freeLink();
  const remains = await startNamespaces(link);
  await connect(remains, here, there);
  await makeCgroups();
  const place: Place = { folder, programs: await programs(), address: there };
  const all = users();
  await writeCredentials(folder, Object.values(all));
  for (const component of await firstComponents(place)) launch(remains, component);
  const kubectl = async (...args: string[]) => {
    const flags = ['--kubeconfig', kubeconfigFile(place, 'admin'), '--cache-dir', join(folder, 'kubectl')];
    return (await run(join(place.programs, 'kubectl'), [...flags, ...args], { timeout: 30_000 })).stdout;
  };
  await until('the API server is ready', remains, async () => {
    await writeKubeconfigs(place, all, await readFile(join(folder, 'pki/apiserver.crt'), 'utf8'));
    await kubectl('get', '--raw', '/readyz');
  });
  log(`the API server is ready after ${seconds(began)}`);
  const rights = join(folder, 'rights.json');
  await writeFile(rights, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: dnsRights }));
  await until('RBAC has its own roles', remains, () => kubectl('apply', '-f', rights));
  for (const component of await otherComponents(place)) launch(remains, component);
  await makePause(remains, place);
  await until('the node is ready', remains, async () => {
    const condition = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
    if ((await kubectl('get', 'node', nodeName, '-o', condition)) !== 'True') throw new Error('it is not');
    await kubectl('get', 'serviceaccount', 'default'); // pods need it
  });
  await copyFile(kubeconfigFile(place, 'admin'), kubeconfig);
  log(`the node is ready after ${seconds(began)}`);
  return remains;
}

const seconds = (began: number): string => `${((performance.now() - began) / 1000).toFixed(1)} s`;

/** The first process of the node. Whatever else is started in it ends when that does. */
async function startNamespaces(link: string): Promise<Remains> {
  // What would otherwise be shared with the machine's own containerd and kubelet.
  const script = `
    mount -t tmpfs levada /run && mkdir /run/lock && mount -t tmpfs levada /var/lib &&
    mkdir /var/lib/kubelet && mount --bind "$0/kubelet" /var/lib/kubelet && mount --bind "$0/log" /var/log &&
    ip link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward && exec "$1"`;
  const flags = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'slave'];
  const first = join(await programs(), 'pause');
  const child = spawn('unshare', [...flags, 'sh', '-c', script, folder, first], {
    detached: true,
    env: environment,
    stdio: ['ignore', logFile('namespaces'), logFile('namespaces')],
  });
  child.unref();
  const remains = await remainsOf(child, first, link);
  await writeFile(remainsFile, JSON.stringify(remains, undefined, 2));
  return remains;
}

/** A pair of interfaces: one here, one in the node. Both go with the node. */
async function connect({ pid, link }: Remains, here: string, there: string): Promise<void> {
  await run('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid)]);
  await run('ip', ['addr', 'add', `${here}/30`, 'dev', link]);
  await run('ip', ['link', 'set', link, 'up']);
  await inside(pid, 'ip', ['addr', 'add', `${there}/30`, 'dev', 'eth0']);
  await inside(pid, 'ip', ['link', 'set', 'eth0', 'up']);
}

const entered = (pid: number) => ['--target', String(pid), '--mount', '--net', '--pid', '--'];

const inside = (pid: number, program: string, args: readonly string[]) =>
  run('nsenter', [...entered(pid), program, ...args], { env: environment, maxBuffer: 64 << 20 });

const logFile = (name: string): number => openSync(join(folder, 'log', `${name}.log`), 'a', 0o600);

function launch({ pid }: Remains, { name, program, args }: Component): void {
  const child = spawn('nsenter', [...entered(pid), program, ...args], {
    detached: true,
    env: environment,
    stdio: ['ignore', logFile(name), logFile(name)],
  });
  child.on('error', () => {}); // what waits for it says so
  child.unref();
}

/** The image that every pod's sandbox is made of: one static program. */
async function makePause(remains: Remains, place: Place): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'levada-pause-'));
  try {
    await copyFile(join(place.programs, 'pause'), join(root, 'pause'));
    const archive = join(folder, 'pause.tar');
    await writeArchive(archive, pauseImage, { Entrypoint: ['/pause'] }, [{ folder: root }]);
    await until('containerd takes an image', remains, () => importImage(remains, archive));
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

async function importImage({ pid }: Remains, archive: string): Promise<void> {
  const ctr = ['--address', containerdSocket, '--namespace', 'k8s.io', 'images', 'import', resolve(archive)];
  await inside(pid, 'ctr', ctr);
}

async function until(what: string, remains: Remains, check: () => Promise<unknown>): Promise<void> {
  const deadline = performance.now() + 120_000;
  for (;;) {
    try {
      await check();
      return;
    } catch (error) {
      if (isRunning(remains) && performance.now() < deadline) await pause(200);
      else throw new Error(`not so: ${what}; ${(error as Error).message}\nlogs are in ${join(folder, 'log')}`);
    }
  }
}
