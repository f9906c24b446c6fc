import * as z from 'zod';
import { apiVersion, dns1035, dnsLabel, limits } from '../contract/names.ts';
import { problem } from '../errors.ts';
import { celRules, listMap, member, members, type Rule, show } from '../rules.ts';
import { atMost, conditions, objectMeta, text } from './common.ts';
import {
  duplicateNames,
  duplicates,
  durationPattern,
  durationRule,
  eventTypePattern,
  oneOf,
  plainKeys,
  urlPattern,
  wrappedPattern,
} from './event-pipeline-rules.ts';

/** Name of a resource that is referred to. */
const resourceName = z.string().min(1).max(limits.resourceName).regex(dns1035);

const partName = z.string().min(1).max(limits.partName).regex(dnsLabel);

/** A type of CloudEvents: words between dots. `*` and `#` would be wildcards of a topic exchange. */
const eventType = z.string().min(1).max(128).regex(eventTypePattern);

/** Types, each once: a queue that is bound twice to a type would still get one copy. */
const eventTypes = z.array(eventType).max(16).meta({ 'x-kubernetes-list-type': 'set' });

const duration = z.string().max(32).regex(durationPattern);

/** JSON of any form, null included; strings wrapped in `{% … %}` are expressions, wherever they stand. */
const template = z.unknown().meta({ 'x-kubernetes-preserve-unknown-fields': true, nullable: true });

/** {@link template}s by name. */
const templates = (keyLength: number) =>
  z.record(z.string().min(1).max(keyLength), template).check(atMost(64)).meta({ maxProperties: 64 });

/** Text that is an expression without being wrapped. */
const expression = text(4096).min(1);

/** Text that must be wrapped: a literal would make no sense. */
const wrapped = text(4096).regex(wrappedPattern);

const httpUrl = text(2048).regex(urlPattern);

const event = z
  .strictObject({
    schema: z
      .record(z.string(), z.unknown())
      .meta({ 'x-kubernetes-preserve-unknown-fields': true })
      .optional()
      .describe(
        'JSON Schema 2020-12 of the data. Checked where an event of this type enters and where a step emits one.',
      ),
  })
  .describe('What is said of one type of event.');

const httpSourceRules: readonly Rule[] = [plainKeys('assign')];

const httpSource = z
  .strictObject({
    method: z.enum(['POST', 'PUT', 'PATCH']).default('POST').describe('Method that is accepted.'),
    path: text(256)
      .regex(/^\/[A-Za-z0-9._~/-]*$/)
      .describe('Path that is accepted, exactly.'),
    assign: templates(128)
      .optional()
      .describe('Fields that are set in the body before it is checked: JSON, in which `{% … %}` is an expression.'),
    response: z
      .strictObject({
        status: z.int().min(200).max(299).default(202).describe('Status of the answer.'),
        body: template
          .optional()
          .describe(
            'Body of the answer: JSON, in which `{% … %}` is an expression. Default: `{"id": <id of the event>}`.',
          ),
      })
      .prefault({})
      .describe('What the client is answered when the event is safe.'),
  })
  .describe('Takes JSON bodies over HTTP.');

const sourceMembers = ['http', 'event'] as const;
const sourceRules: readonly Rule[] = [oneOf(sourceMembers)];

const source = z
  .strictObject({
    name: partName.describe('Name of the source. With the name of the pipeline it names a Service.'),
    emits: eventType.describe('Type of the events that come out.'),
    http: httpSource.optional(),
    event: z
      .strictObject({
        pipeline: resourceName.describe('Name of an EventPipeline of the same namespace.'),
        type: eventType.describe('Type that it emits.'),
      })
      .optional()
      .describe("Takes another pipeline's events."),
  })
  .meta(celRules(sourceRules))
  .describe('Where events come from. Exactly one of `http` and `event`.');

const backoffRules: readonly Rule[] = [durationRule('initial', '0s', '1h'), durationRule('max', '0s', '1h')];

const backoff = z
  .strictObject({
    initial: duration.default('1s').describe('Wait before the second attempt, 0s to 1h.'),
    factor: z.number().min(1).max(10).default(2).describe('What each further wait is multiplied by.'),
    max: duration.default('1m').describe('Longest wait, 0s to 1h.'),
  })
  .meta(celRules(backoffRules));

const retry = z
  .strictObject({
    maxAttempts: z.int().min(1).max(100).default(5).describe('Attempts in all, the first one included.'),
    backoff: backoff
      .prefault({})
      .describe('How long a message waits. Rounded up to one of 1s, 2s, 5s, 10s, 30s, 1m, 5m, 15m, 1h.'),
  })
  .describe('What happens after a failure that may pass.');

const idempotencyRules: readonly Rule[] = [durationRule('retention', '1s', '90d')];

const idempotency = z
  .strictObject({
    key: expression.optional().describe("Expression. Default: the event's source, id and replay."),
    retention: duration.default('7d').describe('How long a key is remembered after it is done, 1s to 90d.'),
  })
  .meta(celRules(idempotencyRules))
  .describe('A message whose key is done is not handled again. Memory store: it ends with the process.');

const timeout = duration.default('10s').describe('How long one attempt may take, 1ms to 5m.');
const timeoutRules: readonly Rule[] = [durationRule('timeout', '1ms', '5m')];

const httpStep = z
  .strictObject({
    url: httpUrl.describe('Where each event is sent to, as a binary-mode CloudEvent.'),
    timeout,
  })
  .meta(celRules(timeoutRules))
  .describe('A handler in any language: a CloudEvent in, a reply out.');

const containerStep = z
  .strictObject({
    image: text(512)
      .regex(/^[!-~]+$/)
      .describe('Image of the handler. Under `levada up` a command of levada.local.yaml stands in.'),
    path: text(256)
      .regex(/^\/[!"$->@-~]*$/)
      .default('/')
      .describe('Path that each event is sent to. The port is in the environment variable PORT.'),
    timeout,
  })
  .meta(celRules(timeoutRules))
  .describe("The user's image beside the consumer: the same protocol as `http`.");

const modelRules: readonly Rule[] = [plainKeys('inputs')];

const modelStep = z
  .strictObject({
    ref: resourceName.describe('Name of a ModelDeployment of the same namespace.'),
    inputs: templates(256).describe(
      "Value of each input of the model: one row, without the batch's dimension. Checked against the model's metadata before it runs.",
    ),
    output: wrapped
      .optional()
      .describe(
        'Data of the event that is emitted; `$outputs` holds the outputs by name. Default: the outputs, with `model` and `version`.',
      ),
    timeout,
  })
  .meta(celRules(timeoutRules))
  .describe('Runs a model on each event.');

const fanoutStep = z
  .strictObject({
    urls: wrapped.describe('Expression that gives a list of http or https URLs, at most 1,000.'),
    concurrency: z.int().min(1).max(1000).default(20).describe('Requests of one event that are under way at once.'),
    perOrigin: z
      .int()
      .min(1)
      .max(1000)
      .default(20)
      .describe('Requests to one origin that this process has under way at once.'),
    timeout: timeout.describe('Deadline of each URL, from when its request may start, 1ms to 5m.'),
    attempts: z.int().min(1).max(5).default(1).describe('Attempts of each URL within its deadline: GET is idempotent.'),
    maxBytes: z.int().min(1).max(16_777_216).default(1_048_576).describe('Bytes of one answer that are read.'),
    maxRedirects: z.int().min(0).max(20).default(10).describe('Redirects that are followed. 0: none.'),
    privateNetworks: z
      .enum(['Allow', 'Deny'])
      .default('Allow')
      .describe('Whether loopback and private addresses may be called. Link-local and metadata addresses never are.'),
    output: wrapped
      .optional()
      .describe(
        'Data of the event that is emitted; `$results` is the list of `{url, status, data|error}`. Default: `{results: $results}`.',
      ),
  })
  .meta(celRules(timeoutRules))
  .describe('Gets many URLs at once. One failure is one result; the order is kept.');

/** Members of a step, of which exactly one is there. */
export const stepMembers = ['http', 'model', 'transform', 'fanout', 'container'] as const;

const oneEventRule: Rule = {
  cel: 'has(self.http) || has(self.container) || (has(self.emits) && size(self.emits) == 1)',
  message: 'model, transform and fanout steps emit exactly one type',
  fieldPath: '.emits',
  check(step, path) {
    const emits = members(member(step, 'emits'));
    const needsOne = (['model', 'transform', 'fanout'] as const).some((name) => (member(step, name) ?? null) !== null);
    if (!needsOne || emits.length === 1) return [];
    return [
      problem('InvalidValue', `${path}.emits`, { found: show(member(step, 'emits')), allowed: 'exactly one type' }),
    ];
  },
};
const stepRules: readonly Rule[] = [oneOf(stepMembers), oneEventRule, duplicates('consumes'), duplicates('emits')];

const step = z
  .strictObject({
    name: partName.describe('Name of the step. It names its queue: messages stay with it whatever else is edited.'),
    consumes: eventTypes.min(1).describe('Types of events that come in.'),
    when: expression.optional().describe('Boolean expression; an event for which it is false is skipped.'),
    http: httpStep.optional(),
    model: modelStep.optional(),
    transform: wrapped.optional().describe('Expression that gives the data of the event that is emitted.'),
    fanout: fanoutStep.optional(),
    container: containerStep.optional(),
    emits: eventTypes
      .optional()
      .describe("Types that may come out. A handler's reply names one; an untyped reply has the only one there is."),
    retry: retry.prefault({}),
    idempotency: idempotency.optional(),
    concurrency: z.int().min(1).max(1000).default(16).describe('Messages that are in hand at once.'),
  })
  .meta(celRules(stepRules))
  .describe('What is done with an event. Exactly one of `http`, `model`, `transform`, `fanout`, `container`.');

const specRules: readonly Rule[] = [
  plainKeys(
    'events',
    'types: letters, digits, _ and - between dots',
    `!has(self.events) || self.events.all(k, size(k) <= 128 && k.matches('${eventTypePattern.source}'))`,
  ),
  duplicateNames('sources'),
  duplicateNames('steps'),
  {
    cel: '!has(self.sources) || !has(self.steps) || self.sources.all(s, !self.steps.exists(t, t.name == s.name))',
    message: 'a source and a step have names that differ (DuplicateName)',
    check(spec, path) {
      const sources = members(member(spec, 'sources')).map((entry) => member(entry, 'name'));
      return members(member(spec, 'steps')).flatMap((entry, index) => {
        const name = member(entry, 'name');
        if (name === undefined || !sources.includes(name)) return [];
        return [problem('DuplicateName', `${path}.steps[${index}].name`, { found: show(name) })];
      });
    },
  },
];

const spec = z
  .strictObject({
    events: z
      .record(eventType, event)
      .check(atMost(64))
      .meta({ maxProperties: 64 })
      .optional()
      .describe('Schemas by type of event. A type that is not listed has none.'),
    sources: z.array(source).min(1).max(16).meta(listMap('name')).describe('Where events come from.'),
    steps: z
      .array(step)
      .min(1)
      .max(32)
      .meta(listMap('name'))
      .describe('What is done with them, each with a queue of its own.'),
  })
  .meta(celRules(specRules))
  .describe('What is wanted.');

export const stepStates = ['Pending', 'Running', 'Waiting', 'Draining'] as const;
export const breakerStates = ['Closed', 'Open', 'HalfOpen'] as const;

const count = z.int().min(0);

const stepStatus = z
  .strictObject({
    name: partName.describe('Name of the step.'),
    state: z
      .enum(stepStates)
      .describe(
        'Pending: not started. Running. Waiting: its breaker is open or its handler is not there. Draining: removed from the spec, and handling what is left.',
      ),
    backlog: count.describe('Messages that wait, those for a later attempt included.'),
    deadLetters: count.describe('Dead letters: `levada dlq NAME ls`.'),
    breaker: z.enum(breakerStates).describe('Whether messages are taken.'),
    message: z.string().max(4096).optional().describe('Why the step waits.'),
  })
  .describe('State of one step.');
export type StepStatus = z.output<typeof stepStatus>;

const status = z
  .strictObject({
    conditions: conditions,
    observedGeneration: z.int().min(0).optional().describe('The `metadata.generation` that the status speaks of.'),
    sources: z
      .array(
        z.strictObject({
          name: partName.describe('Name of the source.'),
          ready: z.boolean().describe('Whether it takes events.'),
          url: z.string().max(1024).optional().describe('Where it takes them, for http.'),
        }),
      )
      .max(16)
      .meta(listMap('name'))
      .describe('State of each source.'),
    steps: z.array(stepStatus).max(64).meta(listMap('name')).describe('State of each step.'),
    stepsRunning: z.string().max(16).describe('Steps that run, of those declared: `3/4`.'),
    backlog: count.describe('Sum over the queues: those of steps and of event sources.'),
    deadLetters: count.describe('Sum over the queues: those of steps and of event sources.'),
  })
  .describe('What is so. Written by the operator.');
export type EventPipelineStatus = z.output<typeof status>;

/** An EventPipeline as it is applied. */
export const eventPipeline = z
  .strictObject({
    apiVersion: z.literal(apiVersion).describe('Version of the schema of this object.'),
    kind: z.literal('EventPipeline').describe('Kind of this object.'),
    metadata: objectMeta,
    spec,
    status: status.optional(),
  })
  .describe('Events, where they come from, and the steps that handle them.');
export type EventPipeline = z.output<typeof eventPipeline>;
export type PipelineStep = EventPipeline['spec']['steps'][number];
export type PipelineSource = EventPipeline['spec']['sources'][number];

/** Rules by the path that they hold at; `*` is each entry of a list. */
export const eventPipelineRules: ReadonlyArray<{ path: readonly string[]; rules: readonly Rule[] }> = [
  { path: ['spec'], rules: specRules },
  { path: ['spec', 'sources', '*'], rules: sourceRules },
  { path: ['spec', 'sources', '*', 'http'], rules: httpSourceRules },
  { path: ['spec', 'steps', '*'], rules: stepRules },
  { path: ['spec', 'steps', '*', 'model'], rules: modelRules },
  { path: ['spec', 'steps', '*', 'retry', 'backoff'], rules: backoffRules },
  { path: ['spec', 'steps', '*', 'idempotency'], rules: idempotencyRules },
  ...(['http', 'container', 'model', 'fanout'] as const).map((name) => ({
    path: ['spec', 'steps', '*', name],
    rules: timeoutRules,
  })),
];

/** What the CRD says beyond its schema. */
export const eventPipelineCrd = {
  kind: 'EventPipeline',
  plural: 'eventpipelines',
  singular: 'eventpipeline',
  shortNames: ['evp'],
  categories: ['levada'],
  printerColumns: [
    {
      name: 'Ready',
      type: 'string',
      jsonPath: '.status.conditions[?(@.type=="Ready")].status',
      description: 'Whether sources take events and steps run.',
    },
    {
      name: 'Steps',
      type: 'string',
      jsonPath: '.status.stepsRunning',
      description: 'Steps that run, of those declared.',
    },
    { name: 'Backlog', type: 'integer', jsonPath: '.status.backlog', description: 'Messages that wait.' },
    { name: 'Dead', type: 'integer', jsonPath: '.status.deadLetters', description: 'Dead letters.' },
    {
      name: 'Reason',
      type: 'string',
      jsonPath: '.status.conditions[?(@.type=="Ready")].reason',
      description: 'Why it is ready or not.',
    },
    { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp', description: 'Time since creation.' },
  ],
} as const;
