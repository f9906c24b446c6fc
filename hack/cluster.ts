/**
 * Kubernetes on this machine. What it is made of is built once from the Go modules that hack/cluster/go.mod pins, and
 * cached outside the clone.
 *
 *   node hack/cluster.ts install [--node]   builds a control plane and Helm: minutes, once; --node: what `up` needs too
 *   node hack/cluster.ts start              a control plane: prints the path of a kubeconfig, goes on until Ctrl-C
 *   node hack/cluster.ts up                 a whole cluster of one node, until `down`: by kind where Docker is, else as root
 *   node hack/cluster.ts load ARCHIVE       brings an image onto it
 *   node hack/cluster.ts down               ends it, and removes all of it
 */
import { fileURLToPath } from 'node:url';
import type { Cluster } from './cluster/cluster.ts';
import { startControlPlane } from './cluster/control-plane.ts';
import { hasKind, KindCluster } from './cluster/kind.ts';
import { NodeCluster } from './cluster/node.ts';
import { installControlPlane, installNode, missingNode } from './cluster/programs.ts';

export { type ControlPlane, startControlPlane } from './cluster/control-plane.ts';
export { type ClusterUser, kubeconfigOf } from './cluster/credentials.ts';
export { helm, kubectlProgram, missingControlPlane, missingHelm } from './cluster/programs.ts';

/** The cluster of this machine; there is one at most. */
export const clusterHere = async (): Promise<Cluster> => ((await hasKind()) ? new KindCluster() : new NodeCluster());

/** Why there can be no cluster here; `undefined`: there can. */
export const missingCluster = async (): Promise<string | undefined> =>
  (await hasKind()) ? undefined : await missingNode();

async function start(): Promise<void> {
  const plane = await startControlPlane();
  console.log(`KUBECONFIG=${plane.kubeconfig}\nCtrl-C ends it and what it holds`);
  const end = () => void plane.remove().then(() => process.exit(0));
  process.on('SIGINT', end);
  process.on('SIGTERM', end);
}

async function main([command, ...args]: string[]): Promise<void> {
  const [first] = args;
  if (command === 'install' && (args.length === 0 || (first === '--node' && args.length === 1))) {
    await installControlPlane();
    if (first === '--node' && !(await hasKind())) await installNode();
  } else if (command === 'start' && args.length === 0) await start();
  else if (command === 'up' && args.length === 0) {
    const cluster = await clusterHere();
    // What is half there is of no use.
    const end = () => void cluster.down().finally(() => process.exit(1));
    process.on('SIGINT', end);
    process.on('SIGTERM', end);
    await cluster.up((text) => console.error(text));
    console.log(`KUBECONFIG=${cluster.kubeconfig}`);
  } else if (command === 'down' && args.length === 0) await (await clusterHere()).down();
  else if (command === 'load' && first !== undefined && args.length === 1) await (await clusterHere()).load(first);
  else throw new Error('usage: node hack/cluster.ts install [--node] | start | up | load ARCHIVE | down');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main(process.argv.slice(2)).catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  });
}
