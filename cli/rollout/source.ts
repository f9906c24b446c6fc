import { resourceKey } from '../../api/contract/names.ts';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import { type ClusterFlags, foundResources, isCluster } from '../cluster.ts';
import { findResource } from '../get.ts';
import { askRun, localResources } from '../local-run.ts';
import type { LocalResource } from '../up/admin.ts';

/** Where a model's rollout is looked at, and told what people say. */
export interface RolloutSource {
  look(): Promise<ModelDeployment>;
  /** Sets the annotation `levada.dev/rollout-command`. */
  command(text: string): Promise<void>;
}

/** @throws LevadaError NoRun, UnknownResource, Usage, Cluster…, KubeconfigInvalid, and what `work` throws */
export async function onRollout(
  flags: ClusterFlags,
  name: string,
  work: (source: RolloutSource) => Promise<void>,
): Promise<void> {
  if (isCluster(flags)) return await (await import('../cluster-rollout.ts')).onClusterRollout(flags, name, work);
  const model = modelOf(await foundResources(flags), name);
  const resource = resourceKey(model);
  await work({
    look: async () => modelOf(await localResources(), name),
    command: async (command) => void (await askRun('/command', { resource, command })),
  });
}

/** @throws LevadaError UnknownResource, Usage */
function modelOf(all: readonly LocalResource[], name: string): ModelDeployment {
  const isModel = ({ resource }: LocalResource) => resource.kind === 'ModelDeployment';
  return findResource(all.filter(isModel), name).resource as ModelDeployment;
}
