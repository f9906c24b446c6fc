import type { Resource } from '../../api/v1alpha1/resource.ts';

/** What a resource may refer to: the other resources of its namespace. */
export interface Neighbours {
  /** Names of ModelDeployments. */
  readonly models: readonly string[];
  /** Types that each EventPipeline emits, by its name. */
  readonly pipelines: Readonly<Record<string, readonly string[]>>;
}

/** What is beside the resources of `namespace`. */
export function neighboursIn(namespace: string, resources: readonly Resource[]): Neighbours {
  const here = resources.filter(({ metadata }) => (metadata.namespace ?? 'default') === namespace);
  return {
    models: here.filter(({ kind }) => kind === 'ModelDeployment').map(({ metadata }) => metadata.name),
    pipelines: Object.fromEntries(
      here.flatMap((resource) =>
        resource.kind === 'EventPipeline' ? [[resource.metadata.name, emittedTypes(resource.spec)]] : [],
      ),
    ),
  };
}

/** Types that come out of a pipeline's sources and steps. */
export function emittedTypes({ sources, steps }: Extract<Resource, { kind: 'EventPipeline' }>['spec']): string[] {
  return [...new Set([...sources.map(({ emits }) => emits), ...steps.flatMap(({ emits }) => emits ?? [])])];
}
