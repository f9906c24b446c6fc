import type { EventPipeline } from '../../api/v1alpha1/event-pipeline.ts';
import type { Resource } from '../../api/v1alpha1/resource.ts';

/** What a resource may refer to: the other resources of its namespace. */
export interface Neighbours {
  /** Names of ModelDeployments. */
  readonly models: readonly string[];
  /** EventPipelines by name. */
  readonly pipelines: Readonly<Record<string, NeighbourPipeline>>;
}

interface NeighbourPipeline {
  /** Types that it emits. */
  readonly emits: readonly string[];
  /** Its steps, and the model that each of them asks. */
  readonly steps: ReadonlyArray<{ readonly name: string; readonly model?: string }>;
  /** As {@link brokerKey} says. */
  readonly broker: string | undefined;
  /** What it is to be told of models. */
  readonly listens: ReadonlyArray<{ readonly model: string; readonly type: string }>;
}

/** No other resource is there. */
export const alone: Neighbours = { models: [], pipelines: {} };

/** What is beside the resources of `namespace`. */
export function neighboursIn(namespace: string, resources: readonly Resource[]): Neighbours {
  const here = resources.filter(({ metadata }) => (metadata.namespace ?? 'default') === namespace);
  return {
    models: here.filter(({ kind }) => kind === 'ModelDeployment').map(({ metadata }) => metadata.name),
    pipelines: Object.fromEntries(
      here.flatMap((resource) =>
        resource.kind === 'EventPipeline' ? [[resource.metadata.name, neighbourOf(resource)] as const] : [],
      ),
    ),
  };
}

const neighbourOf = ({ spec }: EventPipeline): NeighbourPipeline => ({
  emits: emittedTypes(spec),
  steps: spec.steps.map(({ name, model }) => ({ name, ...(model && { model: model.ref }) })),
  broker: brokerKey(spec),
  listens: spec.sources.flatMap(({ event }) =>
    event?.model === undefined ? [] : [{ model: event.model, type: event.type }],
  ),
});

/** Names of the pipelines that are to be told of a model's events of a type. */
export const listenersOf = ({ pipelines }: Neighbours, model: string, type: string): string[] =>
  Object.entries(pipelines).flatMap(([name, { listens }]) =>
    listens.some((one) => one.model === model && one.type === type) ? [name] : [],
  );

/** Name of the Secret of a pipeline's broker; `undefined`: the default broker. Pipelines of one key share a broker. */
export const brokerKey = ({ broker }: EventPipeline['spec']): string | undefined => broker?.rabbitmq?.secretRef?.name;

/** Types that come out of a pipeline's sources and steps. */
export function emittedTypes({ sources, steps }: EventPipeline['spec']): string[] {
  return [...new Set([...sources.map(({ emits }) => emits), ...steps.flatMap(({ emits }) => emits ?? [])])];
}
