import { group } from '../../api/contract/names.ts';
import type { ModelVersionUnit } from '../plan/units.ts';

export const modelLabel = `${group}/model`;
export const versionLabel = `${group}/version`;

const common = { 'app.kubernetes.io/part-of': 'levada', 'app.kubernetes.io/managed-by': 'levada' };

/** What tells the pods of a unit from all others. A Deployment's selector can never change, so this is all it has. */
export const selectorOf = ({ model, version }: ModelVersionUnit): Record<string, string> => ({
  [modelLabel]: model,
  [versionLabel]: version,
});

/** Labels of everything that belongs to one unit, its pods included. */
export const unitLabels = (unit: ModelVersionUnit): Record<string, string> => ({
  'app.kubernetes.io/name': 'model-server',
  'app.kubernetes.io/instance': unit.model,
  'app.kubernetes.io/version': unit.version,
  'app.kubernetes.io/component': 'serving',
  ...common,
  ...selectorOf(unit),
});

/** Labels of a Service that leads to one version after another: without that version. */
export const frontLabels = (model: string): Record<string, string> => ({
  'app.kubernetes.io/name': 'model',
  'app.kubernetes.io/instance': model,
  'app.kubernetes.io/component': 'front',
  ...common,
  [modelLabel]: model,
});

export const pipelineLabel = `${group}/pipeline`;
export const partLabel = `${group}/part`;

/** What tells the pods of a part of a pipeline from all others. */
export const partSelector = (pipeline: string, part: string): Record<string, string> => ({
  [pipelineLabel]: pipeline,
  [partLabel]: part,
});

/** Labels of everything that belongs to one part of a pipeline, its pods included. */
export const partLabels = (
  pipeline: string,
  part: string,
  component: 'consumer' | 'source',
): Record<string, string> => ({
  'app.kubernetes.io/name': 'pipeline',
  'app.kubernetes.io/instance': pipeline,
  'app.kubernetes.io/component': component,
  ...common,
  ...partSelector(pipeline, part),
});

/** Labels of what belongs to a whole pipeline. */
export const pipelineLabels = (pipeline: string): Record<string, string> => ({
  'app.kubernetes.io/name': 'pipeline',
  'app.kubernetes.io/instance': pipeline,
  ...common,
  [pipelineLabel]: pipeline,
});
