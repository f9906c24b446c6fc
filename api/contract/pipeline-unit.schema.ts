import * as z from 'zod';
import type { ConsumerConfig, HttpSourceConfig, StepAction, Topology } from './pipeline.ts';
import type { PipelineUnitConfig } from './pipeline-unit.ts';
import type { Placement } from './placement.ts';

/** What the types beside this file say, as who writes a configuration checks it. The runtime does not load zod. */

const ms = z.number().min(0);
const count = z.int().min(1);
const port = z.int().min(0).max(65535);
const byName = <T extends z.ZodType>(value: T) => z.record(z.string(), value);

const event = z.strictObject({ type: z.string(), schema: byName(z.unknown()).exactOptional() });

const source: z.ZodType<HttpSourceConfig> = z.strictObject({
  kind: z.literal('http-source'),
  pipeline: z.string(),
  name: z.string(),
  emits: event,
  method: z.enum(['POST', 'PUT', 'PATCH']),
  path: z.string(),
  assign: byName(z.unknown()),
  response: z.strictObject({ status: z.int(), body: z.unknown().exactOptional() }),
});

const action: z.ZodType<StepAction> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('http'), url: z.string(), timeoutMs: ms }),
  z.strictObject({
    kind: z.literal('model'),
    ref: z.string(),
    url: z.string(),
    inputs: byName(z.unknown()),
    output: z.string().exactOptional(),
    sticky: z.string().exactOptional(),
    timeoutMs: ms,
  }),
  z.strictObject({ kind: z.literal('transform'), value: z.string() }),
  z.strictObject({
    kind: z.literal('fanout'),
    urls: z.string(),
    concurrency: count,
    perOrigin: count,
    timeoutMs: ms,
    attempts: count,
    maxBytes: count,
    maxRedirects: z.int().min(0),
    privateNetworks: z.enum(['Allow', 'Deny']),
    output: z.string().exactOptional(),
  }),
  z.strictObject({ kind: z.literal('relay') }),
  z.strictObject({ kind: z.literal('adopt'), id: z.string().exactOptional() }),
  z.strictObject({
    kind: z.literal('publish'),
    exchange: z.string(),
    routingKey: z.string(),
    format: z.enum(['json', 'cloudevents']),
  }),
]);

const consumer: z.ZodType<ConsumerConfig> = z.strictObject({
  kind: z.literal('consumer'),
  pipeline: z.string(),
  name: z.string(),
  when: z.string().exactOptional(),
  action,
  emits: z.array(event),
  retry: z.strictObject({ maxAttempts: count, initialMs: ms, factor: z.number().min(1), maxMs: ms }),
  idempotency: z.strictObject({ key: z.string().exactOptional(), retentionMs: ms }).exactOptional(),
  concurrency: count,
  group: z.string().exactOptional(),
});

const topology: z.ZodType<Topology> = z.strictObject({
  pipeline: z.string(),
  queues: z.array(
    z.strictObject({
      name: z.string(),
      bindings: z.array(z.strictObject({ pipeline: z.string(), type: z.string() })),
      adopts: z.string().exactOptional(),
    }),
  ),
  settings: z
    .strictObject({
      maxLength: count.exactOptional(),
      deliveryLimit: count.exactOptional(),
      replicas: count.exactOptional(),
    })
    .exactOptional(),
});

const placement: z.ZodType<Placement> = z.strictObject({
  pipeline: z.string(),
  queues: byName(
    z.strictObject({
      from: z.array(z.strictObject({ name: z.string(), adopted: z.boolean() })),
      dead: z.string(),
    }),
  ),
  types: z.array(z.string()),
});

/** The contents of `unit.json` of a pod of a pipeline. */
export const pipelineUnitConfig: z.ZodType<PipelineUnitConfig> = z
  .strictObject({
    kind: z.literal('pipeline'),
    pipeline: z.string(),
    unit: z.string(),
    topology,
    placement,
    consumers: z.array(consumer),
    sources: z.array(source).max(1),
    names: z.strictObject({ local: byName(z.string()), services: byName(byName(z.string())) }),
    secret: z.string(),
    secretName: z.string(),
    listen: z.strictObject({ host: z.string(), serving: port, admin: port }),
  })
  .refine(({ consumers, sources }) => consumers.length > 0 !== sources.length > 0, 'consumers, or one source')
  .refine(
    ({ pipeline, topology, placement, consumers, sources }) =>
      [topology, placement, ...consumers, ...sources].every((part) => part.pipeline === pipeline),
    'parts of one pipeline',
  );
