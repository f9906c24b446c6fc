/** The programs of a cluster: built once from the Go modules that go.mod pins, and cached outside the clone. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { once } from '../once.ts';

const run = promisify(execFile);
const sources = import.meta.dirname;
export const cache = join(process.env['LEVADA_CACHE_DIR'] ?? join(homedir(), '.cache', 'levada'), 'kubernetes');

/** Where the programs of these sources are, once they are built. */
export async function programs(): Promise<string> {
  const hash = createHash('sha256').update(`${process.platform} ${process.arch}`);
  for (const name of ['go.mod', 'go.sum', 'pause/main.go']) hash.update(await readFile(join(sources, name)));
  return join(cache, hash.digest('hex').slice(0, 16));
}

const version = async (): Promise<string> =>
  /k8s\.io\/kubernetes (v\S+)/.exec(await readFile(join(sources, 'go.mod'), 'utf8'))?.[1] ?? 'v0.0.0';

const ofControlPlane = ['kube-apiserver', 'kube-controller-manager'] as const;
const ofNode = [...ofControlPlane, 'kube-scheduler', 'kubelet', 'kube-proxy', 'kubectl', 'pause'] as const;

/** Packages of Debian that a node is made of, by a file that each of them brings. */
const packages: Readonly<Record<string, string>> = {
  etcd: 'etcd-server',
  containerd: 'containerd',
  runc: 'runc',
  '/usr/lib/cni/bridge': 'containernetworking-plugins',
  iptables: 'iptables',
  conntrack: 'conntrack',
  socat: 'socat',
  ip: 'iproute2',
  nsenter: 'util-linux',
};

/** A program that is installed from a module of its own. */
interface Tool {
  readonly path: string;
  readonly module: string;
}

const helmTool: Tool = { path: join(cache, 'helm-v3.19.0'), module: 'helm.sh/helm/v3/cmd/helm@v3.19.0' };
const corednsTool: Tool = { path: join(cache, 'coredns-v1.12.4'), module: 'github.com/coredns/coredns@v1.12.4' };
/** Path of Helm, once it is built. */
export const helm = helmTool.path;
/** Path of CoreDNS, once it is built. */
export const coredns = corednsTool.path;

/** Path of kubectl: the one that is built, or that of the system. */
export async function kubectlProgram(): Promise<string> {
  const built = join(await programs(), 'kubectl');
  return existsSync(built) ? built : 'kubectl';
}

/** Why there is no Helm; `undefined`: there is. */
export const missingHelm = (): string | undefined =>
  existsSync(helm) ? undefined : 'Helm is not built: `npm run cluster -- install` does it (Go; two minutes, once)';

/** Why there can be no control plane here; `undefined`: there can. */
export async function missingControlPlane(): Promise<string | undefined> {
  const etcd = await run('etcd', ['--version']).catch(() => undefined);
  if (!etcd) return 'etcd is not in PATH: the package etcd-server of Debian brings it';
  const folder = await programs();
  const missing = ofControlPlane.filter((name) => !existsSync(join(folder, name)));
  if (missing.length === 0) return undefined;
  return `not built: ${missing.join(', ')}; \`npm run cluster -- install\` does it (Go; minutes, once)`;
}

/** Why there can be no node here; `undefined`: there can. */
export async function missingNode(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'a node without Docker needs Linux';
  if (process.getuid?.() !== 0) return 'a node without Docker needs root';
  const folder = await programs();
  const missing = [
    ...missingPackages(),
    ...ofNode.filter((name) => !existsSync(join(folder, name))),
    ...(existsSync(coredns) ? [] : ['coredns']),
  ];
  if (missing.length === 0) return undefined;
  return `not installed: ${missing.join(', ')}; \`npm run cluster -- install --node\` does it (Debian, Go; minutes, once)`;
}

function missingPackages(): string[] {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  const isThere = (file: string) =>
    file.startsWith('/') ? existsSync(file) : folders.some((folder) => existsSync(join(folder, file)));
  return Object.entries(packages).flatMap(([file, name]) => (isThere(file) ? [] : [name]));
}

/** Builds what a control plane needs, and Helm. */
export async function installControlPlane(): Promise<void> {
  await installPrograms(ofControlPlane);
  await installTool(helmTool);
}

/** Installs what a node needs: Debian's packages too. */
export async function installNode(): Promise<void> {
  const missing = missingPackages();
  if (missing.length > 0) {
    await run('apt-get', ['update', '-qq']);
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { env, maxBuffer: 64 << 20 });
  }
  await installPrograms(ofNode);
  await installTool(corednsTool);
}

/** Builds what is missing, once, whoever asks at the same time. */
async function installPrograms(names: readonly string[]): Promise<void> {
  const folder = await programs();
  const missing = () => names.filter((name) => !existsSync(join(folder, name)));
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
  const main = name === 'pause' ? './pause' : `k8s.io/kubernetes/cmd/${name}`;
  await run('go', ['build', ...flags, ldflags, '-o', unfinished, main], {
    cwd: sources,
    env: { ...process.env, CGO_ENABLED: '0' },
    maxBuffer: 64 << 20,
  });
  await rename(unfinished, program);
}

async function installTool({ path, module }: Tool): Promise<void> {
  const making = `${path}.making`;
  const [, name = ''] = /\/([^/]+)@/.exec(module) ?? [];
  await once({
    path,
    isThere: () => existsSync(path),
    longestMs: 1_800_000,
    make: async () => {
      await run('go', ['install', '-trimpath', '-ldflags=-s -w', module], {
        env: { ...process.env, GOBIN: making, CGO_ENABLED: '0' },
        maxBuffer: 64 << 20,
      });
      await rename(join(making, name), path);
      await rm(making, { recursive: true, force: true });
    },
  });
}
