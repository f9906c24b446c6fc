import { containerPorts, partName, planName } from '../../../api/contract/names.ts';
import { pipelineUnitConfig } from '../../../api/contract/pipeline-unit.schema.ts';
import type { PipelineUnitConfig } from '../../../api/contract/pipeline-unit.ts';
import type { Placement } from '../../../api/contract/placement.ts';
import type { PipelinePlan } from '../../plan/units.ts';
import { configFile, contentHash } from '../configmap.ts';
import { partLabels, pipelineLabels } from '../labels.ts';
import { type KubernetesObject, metadataOf, type Owner } from '../metadata.ts';
import { nameOf, type PipelineUnit } from './units.ts';

/** Where the broker's Secret is mounted. */
export const secretFolder = '/mnt/secrets/broker';

/** Key of the ConfigMap that holds what was applied last. */
export const planFile = 'plan.json';

/**
 * The configuration of a unit. It holds what its own parts need of the topology and the placement and no more, so that a
 * step that comes or goes does not restart the others.
 *
 * @param secretName `namespace/name`
 */
export function unitConfigMap(
  owner: Owner,
  unit: PipelineUnit,
  plan: PipelinePlan,
  placement: Placement,
  secretName: string,
): KubernetesObject {
  const content = `${JSON.stringify(pipelineUnitConfig.parse(configOf(unit, plan, placement, secretName)), null, 2)}\n`;
  const labels = partLabels(unit.pipeline, unit.part, unit.source ? 'source' : 'consumer');
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: metadataOf(owner, `${unit.name}-${contentHash(content)}`, labels),
    data: { [configFile]: content },
  };
}

function configOf(
  unit: PipelineUnit,
  { topology }: PipelinePlan,
  placement: Placement,
  secretName: string,
): PipelineUnitConfig {
  const own = unit.consumers.map(({ name }) => name);
  const emitted = [...unit.consumers.flatMap(({ emits }) => emits), ...(unit.source ? [unit.source.emits] : [])];
  const types = new Set(emitted.map(({ type }) => type));
  return {
    kind: 'pipeline',
    pipeline: topology.pipeline,
    unit: unit.name,
    topology: { ...topology, queues: topology.queues.filter(({ name }) => own.includes(name)) },
    placement: {
      pipeline: placement.pipeline,
      queues: Object.fromEntries(
        own.flatMap((name) => (placement.queues[name] ? [[name, placement.queues[name]]] : [])),
      ),
      types: placement.types.filter((type) => types.has(type)),
    },
    consumers: unit.consumers,
    sources: unit.source ? [unit.source] : [],
    names: {
      local: Object.fromEntries(
        unit.handlers.map(({ step, port }) => [partName(unit.pipeline, step), `http://127.0.0.1:${port}`]),
      ),
      services: {},
    },
    secret: secretFolder,
    secretName,
    listen: { host: '0.0.0.0', serving: containerPorts.serving, admin: containerPorts.admin },
  };
}

/** What is applied, for an operator that is started anew: a step that is gone from the spec may have to be emptied still. */
export function planConfigMap(owner: Owner, plan: PipelinePlan): KubernetesObject {
  const pipeline = nameOf(plan.topology.pipeline);
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: metadataOf(owner, planName(pipeline), pipelineLabels(pipeline)),
    data: { [planFile]: `${JSON.stringify(plan)}\n` },
  };
}
