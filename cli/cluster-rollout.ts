import { rolloutCommand } from '../api/contract/names.ts';
import type { ModelDeployment } from '../api/v1alpha1/model-deployment.ts';
import { modelDeployments } from '../operator/drivers/kubernetes/types.ts';
import { pathOf, type StoredObject } from '../operator/engine/objects.ts';
import type { ClusterFlags } from './cluster.ts';
import { onCluster } from './cluster-ask.ts';
import type { RolloutSource } from './rollout/source.ts';

/**
 * A rollout on a cluster, with the rights of who asks: to get modeldeployments, and for a command to patch them.
 *
 * @throws LevadaError Cluster…, KubeconfigInvalid, and what `work` throws
 */
export const onClusterRollout = <T>(flags: ClusterFlags, asked: string, work: (source: RolloutSource) => Promise<T>) =>
  onCluster(flags, (client, namespace) => {
    const name = asked.replace(/^modeldeployment\//, '');
    const place = { namespace, name };
    return work({
      look: () => client.get<ModelDeployment & StoredObject>(modelDeployments, place),
      async command(text) {
        // Nothing else of the object is anybody's business here, and who applies it from Git does not own this one.
        await client.call({
          method: 'PATCH',
          path: pathOf(modelDeployments, place),
          query: { fieldManager: 'levada-rollout' },
          body: { metadata: { annotations: { [rolloutCommand]: text } } },
          contentType: 'application/merge-patch+json',
        });
      },
    });
  });
