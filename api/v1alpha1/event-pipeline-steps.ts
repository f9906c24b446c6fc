import * as z from 'zod';
import { problem } from '../errors.ts';
import { celRules, member, members, type Rule, show } from '../rules.ts';
import { text } from './common.ts';
import {
  brokerName,
  duration,
  eventTypes,
  expression,
  httpUrl,
  partName,
  resourceName,
  templates,
  wrapped,
} from './event-pipeline-fields.ts';
import {
  brokerNameRule,
  duplicates,
  durationRule,
  oneOf,
  onlyBeside,
  plainKeys,
  shortTextRule,
  wrappedOrLiteralPattern,
} from './event-pipeline-rules.ts';
import { partPodFieldNames, partPodFields, resources } from './pod-template.ts';

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
    resources: resources('the container of the image').optional(),
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
    sticky: expression
      .optional()
      .describe(
        'Expression that gives a key, text or a number: events with the same key, and HTTP callers with the same value in the header that the model names in `sticky`, are answered by the same version. Default: no key.',
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

const publishRules: readonly Rule[] = [
  oneOf(['exchange', 'queue']),
  onlyBeside('routingKey', 'exchange'),
  ...['exchange', 'queue'].flatMap((field) => [shortTextRule(field), brokerNameRule(field, ['levada.'])]),
  shortTextRule('routingKey'),
];

const publishStep = z
  .strictObject({
    exchange: brokerName.optional().describe('Name of an exchange in the broker. It is never made or changed.'),
    routingKey: text(4096)
      .regex(wrappedOrLiteralPattern)
      .optional()
      .describe(
        'Routing key, a literal or `{% … %}` that gives text. Beside `exchange` only. Default: the type of the event.',
      ),
    queue: brokerName.optional().describe('Name of a queue in the broker. It is never made or changed.'),
    format: z
      .enum(['json', 'cloudevents'])
      .default('json')
      .describe(
        'json: the data alone. cloudevents: a CloudEvent in binary mode, its attributes as headers `cloudEvents:NAME`.',
      ),
  })
  .meta(celRules(publishRules))
  .describe(
    'Puts each event into an exchange or a queue that somebody else made. Exactly one of `exchange` and `queue`.',
  );

/** Members of a step, of which exactly one is there. */
const stepMembers = ['http', 'model', 'transform', 'fanout', 'publish', 'container'] as const;

const oneEventRule: Rule = {
  cel: 'has(self.http) || has(self.container) || has(self.publish) || (has(self.emits) && size(self.emits) == 1)',
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

const noEventRule: Rule = {
  cel: '!has(self.publish) || !has(self.emits) || size(self.emits) == 0',
  message: 'publish steps emit nothing',
  fieldPath: '.emits',
  check(step, path) {
    const emits = member(step, 'emits');
    if ((member(step, 'publish') ?? null) === null || members(emits).length === 0) return [];
    return [
      problem('InvalidValue', `${path}.emits`, { found: show(emits), allowed: 'no types: publish emits nothing' }),
    ];
  },
};

/** Its pods are those of the whole group. */
const ownPodsRule: Rule = {
  cel: `!has(self.group) || ![${partPodFieldNames.map((name) => `has(self.${name})`).join(', ')}].exists(x, x)`,
  message: `${partPodFieldNames.join(', ')} of a step are not allowed beside group`,
  check(step, path) {
    if ((member(step, 'group') ?? null) === null) return [];
    return partPodFieldNames.flatMap((name) => {
      const found = member(step, name);
      if (found === undefined) return [];
      const allowed = `no ${name} beside group: pods of a group are as the pipeline says`;
      return [problem('InvalidValue', `${path}.${name}`, { found: show(found), allowed })];
    });
  },
};

const stepRules: readonly Rule[] = [
  oneOf(stepMembers),
  oneEventRule,
  noEventRule,
  ownPodsRule,
  duplicates('consumes'),
  duplicates('emits'),
];

export const step = z
  .strictObject({
    name: partName.describe('Name of the step. It names its queue: messages stay with it whatever else is edited.'),
    consumes: eventTypes.min(1).describe('Types of events that come in.'),
    when: expression.optional().describe('Boolean expression; an event for which it is false is skipped.'),
    http: httpStep.optional(),
    model: modelStep.optional(),
    transform: wrapped.optional().describe('Expression that gives the data of the event that is emitted.'),
    fanout: fanoutStep.optional(),
    publish: publishStep.optional(),
    container: containerStep.optional(),
    emits: eventTypes
      .optional()
      .describe("Types that may come out. A handler's reply names one; an untyped reply has the only one there is."),
    retry: retry.prefault({}),
    idempotency: idempotency.optional(),
    concurrency: z.int().min(1).max(1000).default(16).describe('Messages that are in hand at once.'),
    group: partName
      .optional()
      .describe(
        'Steps of one group share a process, where a broker outlives processes. Default: one each. It is named as no source is, and as no step outside of it.',
      ),
    ...partPodFields,
  })
  .meta(celRules(stepRules))
  .describe(
    'What is done with an event. Exactly one of `http`, `model`, `transform`, `fanout`, `publish`, `container`.',
  );

/** Rules by the path that they hold at. */
export const stepPathRules: ReadonlyArray<{ path: readonly string[]; rules: readonly Rule[] }> = [
  { path: ['spec', 'steps', '*'], rules: stepRules },
  { path: ['spec', 'steps', '*', 'model'], rules: modelRules },
  { path: ['spec', 'steps', '*', 'publish'], rules: publishRules },
  { path: ['spec', 'steps', '*', 'retry', 'backoff'], rules: backoffRules },
  { path: ['spec', 'steps', '*', 'idempotency'], rules: idempotencyRules },
  ...(['http', 'container', 'model', 'fanout'] as const).map((name) => ({
    path: ['spec', 'steps', '*', name],
    rules: timeoutRules,
  })),
];
