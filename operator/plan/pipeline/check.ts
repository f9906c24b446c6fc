import { type Problem, problem } from '../../../api/errors.ts';
import { assignViolations, compileSchema } from '../../../api/language/event-schema.ts';
import { compileTemplate } from '../../../api/language/template.ts';
import { formatPath, type Path } from '../../../api/path.ts';
import { show } from '../../../api/rules.ts';
import type { EventPipeline } from '../../../api/v1alpha1/event-pipeline.ts';
import { brokerKey, emittedTypes, type Neighbours } from '../neighbours.ts';
import type { Place } from '../units.ts';
import { caught } from './caught.ts';
import { findCycle } from './cycle.ts';
import { checkExpressions } from './expressions.ts';

type Check = (pipeline: EventPipeline, neighbours: Neighbours, place: Place) => Problem[];

type SpecCheck = (pipeline: Pick<EventPipeline, 'spec'>) => Problem[];

/**
 * What is wrong with a pipeline that has the right form: what its expressions and schemas say, and what it refers to.
 * The first one is the reason of `Accepted=False`.
 */
export const checkPipeline = (pipeline: EventPipeline, neighbours: Neighbours, place: Place = 'Laptop'): Problem[] =>
  checks.flatMap((check) => check(pipeline, neighbours, place));

const checkSchemas: SpecCheck = ({ spec: { events = {} } }) =>
  Object.entries(events).flatMap(([type, { schema }]) => {
    if (!schema) return [];
    const path = formatPath(['spec', 'events', type, 'schema']);
    return caught(() => compileSchema(schema), path);
  });

/** A field that is assigned must be allowed, and a literal must be right. */
const checkAssign: SpecCheck = ({ spec: { sources, events = {} } }) =>
  sources.flatMap(({ emits, http }, index) => {
    const schema = events[emits]?.schema;
    if (!http?.assign || !schema || caught(() => compileSchema(schema), '').length > 0) return [];
    const readable = Object.entries(http.assign).filter(
      ([, value]) => caught(() => compileTemplate(value), '').length === 0,
    );
    return assignViolations(schema, Object.fromEntries(readable)).map(({ field, detail }) =>
      problem('AssignBreaksSchema', formatPath(['spec', 'sources', index, 'http', 'assign', field]), {
        type: emits,
        detail,
      }),
    );
  });

/** The schema takes what looks like a URL: that a port is below 65536, say, no pattern can tell. */
const checkUrls: SpecCheck = ({ spec: { steps } }) =>
  steps.flatMap(({ http }, index) => {
    if (!http || URL.canParse(http.url)) return [];
    const path = formatPath(['spec', 'steps', index, 'http', 'url']);
    return [
      problem('InvalidValue', path, { found: show(http.url), allowed: 'a URL with a host and a port that exist' }),
    ];
  });

const checkEvents: Check = ({ spec }) => {
  const emitted = emittedTypes(spec);
  const unknown = (type: string, path: Path) =>
    emitted.includes(type)
      ? []
      : [problem('EventNotEmitted', formatPath(path), { found: show(type), allowed: emitted.join(', ') })];
  return [
    ...Object.keys(spec.events ?? {}).flatMap((type) => unknown(type, ['spec', 'events', type])),
    ...spec.steps.flatMap(({ consumes }, index) =>
      consumes.flatMap((type, place) => unknown(type, ['spec', 'steps', index, 'consumes', place])),
    ),
  ];
};

const checkCycle: Check = ({ spec: { steps } }) => {
  const cycle = findCycle(steps);
  if (!cycle) return [];
  const detail = cycle.map(({ step, type }) => `${step} emits ${type}`).join(', ');
  const first = steps.findIndex(({ name }) => name === cycle[0]?.step);
  return [
    problem('EventCycle', formatPath(['spec', 'steps', first]), {
      detail: `${detail}, which ${cycle[0]?.step} consumes`,
    }),
  ];
};

const checkReferences: Check = ({ metadata, spec: { sources, steps } }, { models, pipelines }) => [
  ...steps.flatMap(({ model }, index) => {
    if (!model || models.includes(model.ref)) return [];
    const path = formatPath(['spec', 'steps', index, 'model', 'ref']);
    return [problem('ModelNotFound', path, { found: show(model.ref), allowed: listed(models) })];
  }),
  ...sources.flatMap(({ event }, index) => {
    if (!event) return [];
    const at = (field: string) => formatPath(['spec', 'sources', index, 'event', field]);
    const { model, pipeline = '', type } = event;
    if (model !== undefined) {
      if (models.includes(model)) return [];
      return [problem('ModelNotFound', at('model'), { found: show(model), allowed: listed(models) })];
    }
    const others = Object.keys(pipelines).filter((name) => name !== metadata.name);
    const other = others.includes(pipeline) ? pipelines[pipeline] : undefined;
    if (!other) {
      return [problem('PipelineNotFound', at('pipeline'), { found: show(pipeline), allowed: listed(others) })];
    }
    if (other.emits.includes(type)) return [];
    return [problem('EventNotEmitted', at('type'), { found: show(type), allowed: listed(other.emits) })];
  }),
];

/** An event source binds its queue to the other pipeline's exchange: both are in one broker. */
const checkBrokers: Check = ({ metadata, spec }, { pipelines }) =>
  spec.sources.flatMap(({ event }, index) => {
    const other = event?.pipeline;
    if (other === undefined || other === metadata.name || !Object.hasOwn(pipelines, other)) return [];
    const [found, own] = [pipelines[other]?.broker, brokerKey(spec)];
    if (found === own) return [];
    const path = formatPath(['spec', 'sources', index, 'event', 'pipeline']);
    const params = { pipeline: show(other), found: brokerName(found), allowed: brokerName(own) };
    return [problem('BrokersDiffer', path, params)];
  });

/** Keys in the memory of a process mean nothing to the next pod. */
const checkStores: Check = ({ spec: { steps } }, _, place) =>
  steps.flatMap(({ name, idempotency }, index) => {
    if (place === 'Laptop' || !idempotency) return [];
    return [problem('StoreRequired', formatPath(['spec', 'steps', index, 'idempotency']), { found: show(name) })];
  });

/** What only a cluster has against it. */
export const checkOnCluster = (pipeline: EventPipeline): Problem[] =>
  checkStores(pipeline, { models: [], pipelines: {} }, 'Cluster');

const brokerName = (key: string | undefined): string =>
  key === undefined ? 'the default broker' : `the broker of the Secret ${show(key)}`;

/** What nothing but the spec decides. */
const specChecks: readonly SpecCheck[] = [checkSchemas, checkUrls, checkExpressions, checkAssign];

/** By the spec's text, those looked at last. */
const judged = new Map<string, readonly Problem[]>();
const judgedAtMost = 200;

/** A pipeline is planned several times a second, mostly unchanged: to compile all of it each time would take most of a process. */
const checkSpec: Check = (pipeline) => {
  const key = JSON.stringify(pipeline.spec);
  const problems = judged.get(key) ?? specChecks.flatMap((check) => check(pipeline));
  judged.delete(key);
  judged.set(key, problems);
  const [oldest] = judged.keys();
  if (judged.size > judgedAtMost && oldest !== undefined) judged.delete(oldest);
  return [...problems];
};
const checks: readonly Check[] = [checkSpec, checkEvents, checkCycle, checkBrokers, checkStores, checkReferences];

const listed = (names: readonly string[]): string => names.join(', ') || 'none';
