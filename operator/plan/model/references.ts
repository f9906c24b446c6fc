import type { ModelDeployment } from '../../../api/v1alpha1/model-deployment.ts';
import type { Neighbours } from '../neighbours.ts';
import { gateName } from '../rollout/gates.ts';
import type { Gate } from '../rollout/types.ts';

/**
 * Gates that refer to what is not there, and why. The resource is valid all the same: a pipeline may come later, or go while a rollout
 * is under way, which people must be able to take back then.
 */
export function brokenGates({ metadata, spec }: ModelDeployment, neighbours: Neighbours): Record<string, string> {
  const gates = (spec.rollout?.gates ?? []) as readonly Gate[];
  return Object.fromEntries(
    gates.flatMap((gate) => {
      if (!('deadLetters' in gate)) return [];
      const why = whyBroken(metadata.name, gate.deadLetters, neighbours);
      return why === undefined ? [] : [[gateName(gate), why] as const];
    }),
  );
}

function whyBroken(
  model: string,
  { pipeline, step }: { readonly pipeline: string; readonly step: string },
  { pipelines }: Neighbours,
): string | undefined {
  const found = Object.hasOwn(pipelines, pipeline) ? pipelines[pipeline] : undefined;
  if (!found) return `there is no EventPipeline ${pipeline}; there is ${listOf(Object.keys(pipelines))}`;
  const asking = found.steps.filter((one) => one.model === model).map(({ name }) => name);
  if (asking.includes(step)) return undefined;
  const what = found.steps.some(({ name }) => name === step) ? `its step ${step} does not ask` : `no step ${step} asks`;
  return `EventPipeline ${pipeline}: ${what} model ${model}; ${listOf(asking)} does`;
}

const listOf = (names: readonly string[]): string => names.join(', ').slice(0, 500) || 'none';
