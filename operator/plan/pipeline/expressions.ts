import type { Problem } from '../../../api/errors.ts';
import { compileExpression } from '../../../api/language/expression.ts';
import { compileTemplate, unwrapExpression } from '../../../api/language/template.ts';
import { formatPath, type Path } from '../../../api/path.ts';
import type { EventPipeline, PipelineSource, PipelineStep } from '../../../api/v1alpha1/event-pipeline.ts';
import { caught } from './caught.ts';

/** Everything in a pipeline that is JSONata, compiled and thrown away: a mistake is found before the first event. */
export function checkExpressions({ spec: { sources, steps } }: Pick<EventPipeline, 'spec'>): Problem[] {
  return [
    ...sources.flatMap((source, index) => ofSource(source, ['spec', 'sources', index])),
    ...steps.flatMap((step, index) => ofStep(step, ['spec', 'steps', index])),
  ];
}

function ofSource({ http, id }: PipelineSource, path: Path): Problem[] {
  if (!http) return expression(id, [...path, 'id']);
  return [
    ...templates(http.assign, [...path, 'http', 'assign']),
    ...template(http.response.body, [...path, 'http', 'response', 'body']),
  ];
}

function ofStep({ when, idempotency, transform, fanout, model, publish }: PipelineStep, path: Path): Problem[] {
  return [
    ...expression(when, [...path, 'when']),
    ...expression(idempotency?.key, [...path, 'idempotency', 'key']),
    ...wrapped(transform, [...path, 'transform']),
    ...wrapped(fanout?.urls, [...path, 'fanout', 'urls']),
    ...wrapped(fanout?.output, [...path, 'fanout', 'output'], 'results'),
    ...templates(model?.inputs, [...path, 'model', 'inputs']),
    ...wrapped(model?.output, [...path, 'model', 'output'], 'outputs'),
    ...expression(model?.sticky, [...path, 'model', 'sticky']),
    ...template(publish?.routingKey, [...path, 'publish', 'routingKey']),
  ];
}

/** @param variables that it may use beside `$event` */
function expression(text: string | undefined, path: Path, ...variables: string[]): Problem[] {
  if (text === undefined) return [];
  return caught(() => compileExpression(text, { variables: ['event', ...variables] }), formatPath(path));
}

const wrapped = (text: string | undefined, path: Path, ...variables: string[]): Problem[] =>
  expression(text && unwrapExpression(text), path, ...variables);

const template = (value: unknown, path: Path): Problem[] => caught(() => compileTemplate(value), formatPath(path));

const templates = (values: Readonly<Record<string, unknown>> = {}, path: Path): Problem[] =>
  Object.entries(values).flatMap(([name, value]) => template(value, [...path, name]));
