import * as z from 'zod';
import { modelEvents } from '../contract/model-events.ts';
import { problem } from '../errors.ts';
import { celRules, member, type Rule, show } from '../rules.ts';
import { text } from './common.ts';
import {
  brokerName,
  eventType,
  expression,
  partName,
  resourceName,
  template,
  templates,
} from './event-pipeline-fields.ts';
import { brokerNameRule, oneOf, onlyBeside, plainKeys, shortTextRule } from './event-pipeline-rules.ts';
import { expose, exposePathRules } from './expose.ts';
import { partPodFields } from './pod-template.ts';

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
    expose: expose.optional(),
  })
  .describe('Takes JSON bodies over HTTP.');

const queueSourceRules: readonly Rule[] = [shortTextRule('name'), brokerNameRule('name', ['levada.', 'amq.'])];

const queueSource = z
  .strictObject({
    name: brokerName.describe('Name of the queue in the broker. It is never made, changed or removed.'),
  })
  .meta(celRules(queueSourceRules))
  .describe('Takes the messages of a queue that somebody else made, classic or quorum.');

const eventSourceRules: readonly Rule[] = [
  oneOf(['pipeline', 'model']),
  {
    cel: `!has(self.model) || self.type in [${modelEvents.map((type) => `'${type}'`).join(', ')}]`,
    message: `type is ${modelEvents.join(' or ')} beside model`,
    fieldPath: '.type',
    check(value, path) {
      const found = member(value, 'type');
      const isOther = typeof found === 'string' && !(modelEvents as readonly string[]).includes(found);
      if ((member(value, 'model') ?? null) === null || !isOther) return [];
      const allowed = `${modelEvents.join(' or ')}, beside model`;
      return [problem('InvalidValue', `${path}.type`, { found: show(found), allowed })];
    },
  },
];

const eventSource = z
  .strictObject({
    pipeline: resourceName.optional().describe('Name of an EventPipeline of the same namespace.'),
    model: resourceName
      .optional()
      .describe('Name of a ModelDeployment of the same namespace, whose rollouts are told of.'),
    type: eventType.describe(`Type that the pipeline emits; of a model ${modelEvents.join(' or ')}.`),
  })
  .meta(celRules(eventSourceRules))
  .describe("Takes another pipeline's events, or those of a model. Exactly one of `pipeline` and `model`.");

const sourceMembers = ['http', 'event', 'queue'] as const;
const sourceRules: readonly Rule[] = [oneOf(sourceMembers), onlyBeside('id', 'queue')];

export const source = z
  .strictObject({
    name: partName.describe('Name of the source. With the name of the pipeline it names a Service.'),
    emits: eventType.describe('Type of the events that come out.'),
    http: httpSource.optional(),
    event: eventSource.optional(),
    queue: queueSource.optional(),
    id: expression
      .optional()
      .describe(
        'Expression that gives the id of an event whose message carries none. Beside `queue` only. Default: a random one.',
      ),
    ...partPodFields,
  })
  .meta(celRules(sourceRules))
  .describe('Where events come from. Exactly one of `http`, `event` and `queue`.');

/** Rules by the path that they hold at. */
export const sourcePathRules: ReadonlyArray<{ path: readonly string[]; rules: readonly Rule[] }> = [
  { path: ['spec', 'sources', '*'], rules: sourceRules },
  { path: ['spec', 'sources', '*', 'http'], rules: httpSourceRules },
  { path: ['spec', 'sources', '*', 'event'], rules: eventSourceRules },
  { path: ['spec', 'sources', '*', 'queue'], rules: queueSourceRules },
  ...exposePathRules('spec', 'sources', '*', 'http'),
];
