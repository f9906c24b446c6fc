import { modelEventKey } from '../../../api/contract/model-events.ts';
import { modelService, namespacedName, partName } from '../../../api/contract/names.ts';
import type {
  ConsumerConfig,
  EventDeclaration,
  HttpSourceConfig,
  QueueSettings,
  QueueSpec,
  StepAction,
} from '../../../api/contract/pipeline.ts';
import { parseDuration } from '../../../api/duration.ts';
import type { EventPipeline, PipelineSource, PipelineStep } from '../../../api/v1alpha1/event-pipeline.ts';
import { brokerKey } from '../neighbours.ts';
import type { PipelinePlan, PodSettings } from '../units.ts';

/** What `resource`, which is valid, asks for. */
export function planParts(resource: EventPipeline): PipelinePlan {
  const { metadata, spec } = resource;
  const pipeline = namespacedName(metadata);
  const settings = queueSettings(spec);
  const secret = brokerKey(spec);
  const queues: QueueSpec[] = [
    ...spec.steps.map(({ name, consumes }) => ({ name, bindings: consumes.map((type) => ({ pipeline, type })) })),
    ...spec.sources.flatMap((source) => sourceQueue(resource, source)),
  ];
  return {
    topology: { pipeline, queues, ...(settings && { settings }) },
    ...(secret !== undefined && {
      broker: { kind: 'rabbitmq', secret: namespacedName({ ...metadata, name: secret }) },
    }),
    sources: spec.sources.flatMap((source) => sourceConfig(resource, source)),
    consumers: [
      ...spec.steps.map((step) => stepConfig(resource, step)),
      ...spec.sources.flatMap((source) => sourceConsumer(resource, source)),
    ],
    containers: spec.steps.flatMap(({ name, container }) =>
      container
        ? [{ step: name, image: container.image, ...(container.resources && { resources: container.resources }) }]
        : [],
    ),
    ...podsOf(spec),
    ...(spec.deletionPolicy === 'Retain' && { retain: true }),
  };
}

/** What is said of pods, and of what leads to them from outside. */
function podsOf(spec: EventPipeline['spec']): Pick<PipelinePlan, 'pods' | 'exposed'> {
  const all = podSettings(spec);
  const parts = byName<Said & Named, PodSettings>([...spec.steps, ...spec.sources], podSettings);
  const exposed = byName(spec.sources, ({ http }) => http?.expose);
  return {
    ...((all ?? parts) && { pods: { ...(all && { all }), ...(parts && { parts }) } }),
    ...(exposed && { exposed }),
  };
}

type Said = { readonly [K in keyof PodSettings]?: PodSettings[K] | undefined };

function podSettings({ resources, serviceAccountName, podTemplate }: Said): PodSettings | undefined {
  if (resources === undefined && serviceAccountName === undefined && podTemplate === undefined) return undefined;
  return {
    ...(resources && { resources }),
    ...(serviceAccountName !== undefined && { serviceAccountName }),
    ...(podTemplate && { podTemplate }),
  };
}

interface Named {
  readonly name: string;
}

/** What `of` says of those of which it says something. */
function byName<T extends Named, V>(
  parts: readonly T[],
  of: (part: T) => V | undefined,
): Record<string, V> | undefined {
  const found = parts.flatMap((part): Array<[string, V]> => {
    const value = of(part);
    return value === undefined ? [] : [[part.name, value]];
  });
  return found.length > 0 ? Object.fromEntries(found) : undefined;
}

function queueSettings({ broker }: EventPipeline['spec']): QueueSettings | undefined {
  const queues = broker?.rabbitmq?.queues;
  if (!queues) return undefined;
  const { maxLength, deliveryLimit, replicas } = queues;
  return { deliveryLimit, ...(maxLength !== undefined && { maxLength }), ...(replicas !== undefined && { replicas }) };
}

/** What an event or queue source takes its messages from. */
function sourceQueue({ metadata }: EventPipeline, { name, event, queue }: PipelineSource): QueueSpec[] {
  if (queue) return [{ name, bindings: [], adopts: queue.name }];
  if (!event) return [];
  const { pipeline, model, type } = event;
  // What is told of a model goes into each pipeline that listens, whatever broker carries it.
  const binding =
    model === undefined
      ? { pipeline: namespacedName({ ...metadata, name: pipeline ?? '' }), type }
      : { pipeline: namespacedName(metadata), type: modelEventKey(type, model) };
  return [{ name, bindings: [binding] }];
}

/** Names of queues that get messages: those that are neither bound nor take from another one are being emptied. */
export const fedQueues = ({ topology }: PipelinePlan): string[] =>
  topology.queues.filter(({ bindings, adopts }) => bindings.length > 0 || adopts !== undefined).map(({ name }) => name);

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
  const { name, when, emits = [], retry, idempotency, concurrency, group } = step;
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
    ...(group !== undefined && { group }),
  };
}

/** It fails only when an event breaks the schema or the broker is away: the first is final, the second passes. */
function sourceConsumer(
  { metadata, spec }: EventPipeline,
  { name, emits, event, queue, id }: PipelineSource,
): ConsumerConfig[] {
  if (!event && !queue) return [];
  return [
    {
      kind: 'consumer',
      pipeline: namespacedName(metadata),
      name,
      action: queue ? { kind: 'adopt', ...(id !== undefined && { id }) } : { kind: 'relay' },
      emits: [declaration(spec, emits)],
      retry: { maxAttempts: 5, initialMs: 1_000, factor: 2, maxMs: 60_000 },
      concurrency: 16,
    },
  ];
}

function actionOf(
  pipeline: string,
  { name, http, container, model, transform, fanout, publish }: PipelineStep,
): StepAction {
  if (http) return { kind: 'http', url: http.url, timeoutMs: ms(http.timeout) };
  if (container) {
    const url = `http://${partName(pipeline, name)}${container.path}`;
    return { kind: 'http', url, timeoutMs: ms(container.timeout) };
  }
  if (model) {
    const { ref, inputs, output, sticky, timeout } = model;
    const url = `http://${modelService(ref)}`;
    return {
      ...{ kind: 'model', ref, url, inputs },
      ...(output !== undefined && { output }),
      ...(sticky !== undefined && { sticky }),
      timeoutMs: ms(timeout),
    };
  }
  if (fanout) {
    const { output, timeout, ...rest } = fanout;
    return { kind: 'fanout', ...rest, ...(output !== undefined && { output }), timeoutMs: ms(timeout) };
  }
  if (transform !== undefined) return { kind: 'transform', value: transform };
  if (publish) {
    const { exchange = '', queue, routingKey = queue ?? '{% $event.type %}', format } = publish;
    return { kind: 'publish', exchange, routingKey, format };
  }
  throw new Error(`the step ${name} does nothing: the rules let no such step through`);
}

function declaration({ events = {} }: EventPipeline['spec'], type: string): EventDeclaration {
  const schema = events[type]?.schema;
  return { type, ...(schema && { schema }) };
}

/** Milliseconds of a duration that the schema has checked. */
const ms = (duration: string): number => parseDuration(duration) ?? 0;
