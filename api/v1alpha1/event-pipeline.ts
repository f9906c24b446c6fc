import * as z from 'zod';
import { apiVersion } from '../contract/names.ts';
import { problem } from '../errors.ts';
import { celRules, listMap, member, members, type Rule, show } from '../rules.ts';
import { atMost, objectMeta } from './common.ts';
import { broker, brokerPathRules } from './event-pipeline-broker.ts';
import { eventType } from './event-pipeline-fields.ts';
import { duplicateNames, eventTypePattern, plainKeys } from './event-pipeline-rules.ts';
import { source, sourcePathRules } from './event-pipeline-sources.ts';
import { status } from './event-pipeline-status.ts';
import { step, stepPathRules } from './event-pipeline-steps.ts';
import { pipelinePodFields, podTemplateRule } from './pod-template.ts';

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

const specRules: readonly Rule[] = [
  plainKeys(
    'events',
    'types: letters, digits, _ and - between dots',
    `!has(self.events) || self.events.all(k, size(k) <= 128 && k.matches('${eventTypePattern.source}'))`,
  ),
  duplicateNames('sources'),
  duplicateNames('steps'),
  podTemplateRule('sources', 'steps'),
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
  {
    cel:
      '!has(self.sources) || !has(self.steps) || self.steps.all(s, !has(s.group) || ' +
      '(!self.sources.exists(t, t.name == s.group) && ' +
      '!self.steps.exists(t, t.name == s.group && (!has(t.group) || t.group != s.group))))',
    message: 'a group is not named as a source, or as a step outside of it (DuplicateName)',
    check(spec, path) {
      const steps = members(member(spec, 'steps'));
      const sources = members(member(spec, 'sources')).map((entry) => member(entry, 'name'));
      return steps.flatMap((entry, index) => {
        const group = member(entry, 'group');
        if (typeof group !== 'string') return [];
        const isOutside = (other: unknown) => member(other, 'name') === group && member(other, 'group') !== group;
        if (!sources.includes(group) && !steps.some(isOutside)) return [];
        return [problem('DuplicateName', `${path}.steps[${index}].group`, { found: show(group) })];
      });
    },
  },
];

const spec = z
  .strictObject({
    broker: broker
      .optional()
      .describe(
        "What carries the messages. Default: the operator's RabbitMQ; under `levada up` that of `--broker`, or memory.",
      ),
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
    ...pipelinePodFields,
    deletionPolicy: z
      .enum(['Delete', 'Retain'])
      .default('Delete')
      .describe(
        'What becomes of the queues when the pipeline is deleted. Delete: what waits is handled first, then they go, but for those that hold dead letters. Retain: all stay as they are, for another pipeline of this name.',
      ),
  })
  .meta(celRules(specRules))
  .describe('What is wanted.');

export { breakerStates, type EventPipelineStatus, type StepStatus } from './event-pipeline-status.ts';

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
  ...brokerPathRules,
  ...sourcePathRules,
  ...stepPathRules,
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
