import type { Problem } from '../../api/errors.ts';
import type { Path } from '../../api/path.ts';
import type { Resource } from '../../api/v1alpha1/resource.ts';
import type { PipelinePlan, UnitPlan } from '../plan/units.ts';
import { modelWorkload } from './deployment.ts';
import { overlayProblems } from './overlay-check.ts';
import { pipelineWorkload } from './pipeline/render.ts';
import { type PipelineUnit, pipelineUnits } from './pipeline/units.ts';
import { templateOf } from './workload.ts';

/** What is wrong with the overlays of a plan for `resource`, as far as that can be said without an API server. */
export function podTemplateProblems(resource: Resource, { units, pipeline }: UnitPlan): Problem[] {
  const problems = [
    ...units.flatMap((unit) =>
      // What the pods read and are made of is not an overlay's to change, whatever it is called.
      unit.podTemplate
        ? overlayProblems(templateOf(modelWorkload(unit, unit.name, '')), unit.podTemplate, podTemplatePath())
        : [],
    ),
    ...(pipeline?.pods && resource.kind === 'EventPipeline'
      ? pipelineUnits(pipeline).flatMap((unit) => problemsOfPart(resource.spec, pipeline, unit))
      : []),
  ];
  // Units of one resource mostly have one overlay.
  return [...new Map(problems.map((one) => [`${one.path} ${one.message}`, one])).values()];
}

/** Where an overlay is: that of a part of a pipeline, or of the whole resource. */
export const podTemplatePath = (...part: Path): Path => ['spec', ...part, 'podTemplate'];

type Parts = Readonly<Record<'steps' | 'sources', ReadonlyArray<{ readonly name: string }>>>;

/** Where the part of this name is in its resource; empty: it is gone from there. */
export function partPath(spec: Parts, part: string): Path {
  for (const list of ['steps', 'sources'] as const) {
    const index = spec[list].findIndex(({ name }) => name === part);
    if (index >= 0) return [list, index];
  }
  return [];
}

function problemsOfPart(spec: Parts, { pods }: PipelinePlan, unit: PipelineUnit): Problem[] {
  const template = templateOf(pipelineWorkload(unit, { name: unit.name, secret: '', image: '' }));
  const [all, own] = [pods?.all?.podTemplate, pods?.parts?.[unit.part]?.podTemplate];
  const path = partPath(spec, unit.part);
  return [
    ...(all ? overlayProblems(template, all, podTemplatePath()) : []),
    // Of a step that is gone and is being emptied nobody can say anything else.
    ...(own && path.length > 0 ? overlayProblems(template, own, podTemplatePath(...path)) : []),
  ];
}
