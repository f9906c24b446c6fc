import { modelService, namespacedName, partName } from '../../../api/contract/names.ts';
import type {
  ConsumerConfig,
  EventDeclaration,
  HttpSourceConfig,
  QueueSpec,
  StepAction,
} from '../../../api/contract/pipeline.ts';
import { parseDuration } from '../../../api/duration.ts';
import type { EventPipeline, PipelineSource, PipelineStep } from '../../../api/v1alpha1/event-pipeline.ts';
import type { PipelinePlan } from '../units.ts';

/** What `resource`, which is valid, asks for. */
export function planParts(resource: EventPipeline): PipelinePlan {
  const { metadata, spec } = resource;
  const pipeline = namespacedName(metadata);
  const events = spec.sources.flatMap((source) => (source.event ? [{ source, event: source.event }] : []));
  const queues: QueueSpec[] = [
    ...spec.steps.map(({ name, consumes }) => ({ name, bindings: consumes.map((type) => ({ pipeline, type })) })),
    ...events.map(({ source, event }) => ({
      name: source.name,
      bindings: [{ pipeline: namespacedName({ ...metadata, name: event.pipeline }), type: event.type }],
    })),
  ];
  return {
    topology: { pipeline, queues },
    sources: spec.sources.flatMap((source) => sourceConfig(resource, source)),
    consumers: [
      ...spec.steps.map((step) => stepConfig(resource, step)),
      ...events.map(({ source }) => relayConfig(resource, source)),
    ],
    containers: spec.steps.flatMap(({ name, container }) =>
      container ? [{ step: name, image: container.image }] : [],
    ),
  };
}

function sourceConfig({ metadata, spec }: EventPipeline, { name, emits, http }: PipelineSource): HttpSourceConfig[] {
  if (!http) return [];
  const { method, path, assign = {}, response } = http;
  return [
    {
      kind: 'http-source',
      pipeline: namespacedName(metadata),
      name,
      emits: declaration(spec, emits),
      method,
      path,
      assign,
      response,
    },
  ];
}

function stepConfig({ metadata, spec }: EventPipeline, step: PipelineStep): ConsumerConfig {
  const { name, when, emits = [], retry, idempotency, concurrency } = step;
  const { maxAttempts, backoff } = retry;
  return {
    kind: 'consumer',
    pipeline: namespacedName(metadata),
    name,
    ...(when !== undefined && { when }),
    action: actionOf(metadata.name, step),
    emits: emits.map((type) => declaration(spec, type)),
    retry: { maxAttempts, initialMs: ms(backoff.initial), factor: backoff.factor, maxMs: ms(backoff.max) },
    ...(idempotency && {
      idempotency: {
        ...(idempotency.key !== undefined && { key: idempotency.key }),
        retentionMs: ms(idempotency.retention),
      },
    }),
    concurrency,
  };
}

/** A relay fails only when an event breaks the schema or the broker is away: the first is final, the second passes. */
const relayConfig = ({ metadata, spec }: EventPipeline, { name, emits }: PipelineSource): ConsumerConfig => ({
  kind: 'consumer',
  pipeline: namespacedName(metadata),
  name,
  action: { kind: 'relay' },
  emits: [declaration(spec, emits)],
  retry: { maxAttempts: 5, initialMs: 1_000, factor: 2, maxMs: 60_000 },
  concurrency: 16,
});

function actionOf(pipeline: string, { name, http, container, model, transform, fanout }: PipelineStep): StepAction {
  if (http) return { kind: 'http', url: http.url, timeoutMs: ms(http.timeout) };
  if (container) {
    const url = `http://${partName(pipeline, name)}${container.path}`;
    return { kind: 'http', url, timeoutMs: ms(container.timeout) };
  }
  if (model) {
    const { ref, inputs, output, timeout } = model;
    const url = `http://${modelService(ref)}`;
    return { kind: 'model', ref, url, inputs, ...(output !== undefined && { output }), timeoutMs: ms(timeout) };
  }
  if (fanout) {
    const { output, timeout, ...rest } = fanout;
    return { kind: 'fanout', ...rest, ...(output !== undefined && { output }), timeoutMs: ms(timeout) };
  }
  if (transform !== undefined) return { kind: 'transform', value: transform };
  throw new Error(`the step ${name} does nothing: the rules let no such step through`);
}

function declaration({ events = {} }: EventPipeline['spec'], type: string): EventDeclaration {
  const schema = events[type]?.schema;
  return { type, ...(schema && { schema }) };
}

/** Milliseconds of a duration that the schema has checked. */
const ms = (duration: string): number => parseDuration(duration) ?? 0;
