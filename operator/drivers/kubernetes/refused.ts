import { errorCodeOf, type LevadaError, type Problem, problem } from '../../../api/errors.ts';
import type { KubeClient } from '../../engine/client.ts';
import type { StoredObject } from '../../engine/objects.ts';
import type { KubernetesObject } from '../../objects/metadata.ts';
import { childTypes } from './types.ts';

/**
 * What the API server, with its admission webhooks, has against a Deployment with an overlay. It stores nothing.
 *
 * @param fieldManager who would apply it: what is taken away depends on that
 * @throws LevadaError Cluster… where it says nothing about the object
 */
export async function refusedPods(
  client: KubeClient,
  deployment: KubernetesObject,
  fieldManager: string,
): Promise<Problem[]> {
  try {
    await client.apply(childTypes.Deployment, deployment as StoredObject, { fieldManager, dryRun: true });
    return [];
  } catch (error) {
    if (errorCodeOf(error) !== 'ClusterRefused') throw error;
    const { detail = '' } = (error as LevadaError).params;
    return [problem('PodTemplateRefused', 'spec.podTemplate', { detail })];
  }
}
