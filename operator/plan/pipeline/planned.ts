import type { ObservedPipeline, PipelinePlan } from '../units.ts';

/**
 * What is there, as far as it speaks of `wanted`: what runs as it was before an edit is not yet what the status of that edit
 * is about.
 */
export function asPlanned(observed: ObservedPipeline | undefined, wanted: PipelinePlan): ObservedPipeline | undefined {
  if (!observed) return undefined;
  const { applied, queues, sources } = observed;
  const isSettled =
    isSame(applied.topology.settings, wanted.topology.settings) &&
    isSame(applied.broker, wanted.broker) &&
    isSame(applied.pods?.all, wanted.pods?.all);
  const partsOf = ({ topology, consumers, containers, sources, pods }: PipelinePlan, name: string): unknown[] => [
    topology.queues.find((queue) => queue.name === name),
    consumers.find((consumer) => consumer.name === name),
    containers.find(({ step }) => step === name),
    sources.find((source) => source.name === name),
    pods?.parts?.[name],
  ];
  const isPlanned = (name: string) => isSettled && isSame(partsOf(applied, name), partsOf(wanted, name));
  return {
    ...observed,
    queues: Object.fromEntries(
      Object.entries(queues).map(([name, queue]) => [name, isPlanned(name) ? queue : { ...queue, running: false }]),
    ),
    sources: Object.fromEntries(
      Object.entries(sources).map(([name, source]) => [name, isPlanned(name) ? source : { ...source, ready: false }]),
    ),
  };
}

/** Values without methods, whose keys may be in any order. */
function isSame(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b;
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => isSame((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]));
}
