import { errorCodeOf, type LevadaError, type Problem, problem } from '../../../api/errors.ts';
import { formatPath, type Path } from '../../../api/path.ts';
import type { EventPipeline } from '../../../api/v1alpha1/event-pipeline.ts';
import { freshPlacement } from '../../../brokers/rabbitmq/known.ts';
import type { KubeClient } from '../../engine/client.ts';
import type { StoredObject } from '../../engine/objects.ts';
import type { KubernetesObject } from '../../objects/metadata.ts';
import { renderPipeline } from '../../objects/pipeline/render.ts';
import { pipelineUnits } from '../../objects/pipeline/units.ts';
import { partPath, podTemplatePath } from '../../objects/pod-templates.ts';
import type { PipelinePlan } from '../../plan/units.ts';
import { fieldManager, noted } from './children.ts';
import { childTypes } from './types.ts';

/**
 * What the API server, with its admission webhooks, has against a Deployment with an overlay. It stores nothing.
 *
 * @param path where its overlay is in the resource
 * @throws LevadaError Cluster… where it says nothing about the object
 */
export async function refusedPods(client: KubeClient, deployment: KubernetesObject, path: Path): Promise<Problem[]> {
  try {
    await client.apply(childTypes.Deployment, deployment as StoredObject, { fieldManager, dryRun: true });
    return [];
  } catch (error) {
    if (errorCodeOf(error) !== 'ClusterRefused') throw error;
    const { detail = '' } = (error as LevadaError).params;
    return [problem('PodTemplateRefused', formatPath(path), { detail })];
  }
}

/**
 * The same of all parts of a pipeline that have an overlay. What queues are called makes no difference to it.
 *
 * @throws LevadaError Cluster… where it says nothing about an object
 */
export async function refusedParts(
  client: KubeClient,
  resource: EventPipeline,
  plan: PipelinePlan,
  image: string,
): Promise<Problem[]> {
  const objects = renderPipeline(resource, plan, { image, placement: freshPlacement(plan.topology) });
  const problems: Problem[] = [];
  for (const { name, part, pods } of pipelineUnits(plan)) {
    if (!pods.some(({ podTemplate }) => podTemplate !== undefined)) continue;
    const deployment = objects.find(({ kind, metadata }) => kind === 'Deployment' && metadata.name === name);
    const hasOwn = plan.pods?.parts?.[part]?.podTemplate !== undefined;
    const path = podTemplatePath(...(hasOwn ? partPath(resource.spec, part) : []));
    if (deployment) problems.push(...(await refusedPods(client, noted(deployment), path)));
  }
  return problems;
}
