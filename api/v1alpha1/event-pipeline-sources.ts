import * as z from 'zod';
import { celRules, type Rule } from '../rules.ts';
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

const sourceMembers = ['http', 'event', 'queue'] as const;
const sourceRules: readonly Rule[] = [oneOf(sourceMembers), onlyBeside('id', 'queue')];

export const source = z
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
  { path: ['spec', 'sources', '*', 'queue'], rules: queueSourceRules },
  ...exposePathRules('spec', 'sources', '*', 'http'),
];
