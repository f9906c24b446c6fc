import type { Command } from 'commander';
import { LevadaError } from '../api/errors.ts';
import { localResources } from './local-run.ts';
import type { LocalResource } from './up/admin.ts';

/** Which cluster is meant, if one is. */
export interface ClusterFlags {
  readonly context?: string;
  readonly kubeconfig?: string;
  readonly namespace?: string;
}

/** The flags of kubectl. */
export const withClusterFlags = (command: Command): Command =>
  command
    .option('--context <name>', 'ask the cluster of this context of the kubeconfig')
    .option('--kubeconfig <path>', 'ask the cluster of this kubeconfig (default with --context: as kubectl finds it)')
    .option('-n, --namespace <name>', "namespace on that cluster (default: the context's)");

/** The client for Kubernetes takes a while to load: only who asks a cluster waits for that. */
export const askCluster = () => import('./cluster-ask.ts');

/** What runs in this folder; or on a cluster, where the flags name one. @throws LevadaError NoRun, Cluster…, KubeconfigInvalid */
export async function foundResources(flags: ClusterFlags): Promise<LocalResource[]> {
  if (isCluster(flags)) return await (await askCluster()).clusterResources(flags);
  if (flags.namespace === undefined) return await localResources();
  throw new LevadaError('Usage', { detail: '--namespace: is for a cluster; name one by --context or --kubeconfig' });
}

export const isCluster = ({ context, kubeconfig }: ClusterFlags): boolean =>
  context !== undefined || kubeconfig !== undefined;
