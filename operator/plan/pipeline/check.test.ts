import { describe, expect, it } from 'vitest';
import type { Neighbours } from '../neighbours.ts';
import { checkPipeline } from './check.ts';
import { alone, on, orders, source, step } from './testing.ts';

interface Case {
  spec: object;
  neighbours?: Neighbours;
  /** `path: message (Code)`; three dots stand for what the compiler says. */
  gives: string[];
}

const emits = { emits: ['order.checked'] };
const urls = '{% urls %}';
const brackets = '{% ( %}';
const inSource = (http: object) => ({ sources: [source({ http: { path: '/', ...http } })] });
const inStep = (part: object) => ({ steps: [step('check', part)] });
const withSchema = (schema: object, assign?: object) => ({
  events: { 'order.created': { schema } },
  ...(assign && inSource({ assign })),
});
const invalid = (path: string) => [`${path}: not an expression: … (ExpressionInvalid)`];
const closed = { type: 'object', properties: { status: { enum: ['new'] }, id: {} }, additionalProperties: false };
const shop: Neighbours = {
  models: ['fraud', 'churn'],
  pipelines: { orders: on(undefined, 'order.created'), shop: on(undefined, 'a.b', 'c') },
};
/** shop on the broker of the Secret `there`, and orders on that of `here`; absent: the default one. */
const across = (there?: string, here?: string) => ({
  spec: {
    ...fromOther({ pipeline: 'shop', type: 'a.b' }),
    broker: { rabbitmq: { ...(here && { secretRef: { name: here } }) } },
  },
  neighbours: { models: [], pipelines: { shop: on(there, 'a.b') } },
});
const differ = (there: string, here: string) => [
  `spec.sources[1].event.pipeline: the pipeline "shop" is on ${there}; allowed: ${here}, which carries this one (BrokersDiffer)`,
];
const fromOther = (event: object) => ({ sources: [source(), { name: 'other', emits: 'order.copied', event }] });

const cases: Record<string, Case> = {
  'the least that can be said': { spec: {}, gives: [] },
  'all that is right': {
    spec: {
      events: { 'order.created': { schema: closed } },
      sources: [
        source({
          http: {
            path: '/',
            assign: { id: '{% $uuid() %}', status: 'new' },
            response: { body: { id: '{% id %}', of: ['{% $event.id %}', null, 1] } },
          },
        }),
        { name: 'other', emits: 'order.copied', event: { pipeline: 'shop', type: 'a.b' } },
        { name: 'old', emits: 'order.old', queue: { name: '(' }, id: 'id & $event.type' },
      ],
      steps: [
        step('check', { when: 'total > 0 and $event.type = "order.created"', idempotency: { key: 'id' } }),
        step('tidy', { consumes: ['order.copied'], transform: '{% $ %}', emits: ['tidied'] }),
        step('score', {
          consumes: ['tidied'],
          model: { ref: 'fraud', inputs: { X: ['{% total %}', 1] }, output: '{% $outputs.p %}' },
          emits: ['scored'],
        }),
        step('enrich', { consumes: ['scored'], fanout: { urls, output: '{% $results %}' }, emits: ['enriched'] }),
        step('out', { consumes: ['order.old'], publish: { exchange: '(', routingKey: '{% $event.type & region %}' } }),
        step('literal', { consumes: ['order.old'], publish: { exchange: 'e', routingKey: '(' } }),
        step('aside', { consumes: ['order.old'], publish: { queue: '(' } }),
      ],
    },
    neighbours: shop,
    gives: [],
  },

  'a schema of an unknown keyword': {
    spec: withSchema({ type: 'object', propertys: {} }),
    gives: ['spec.events[order.created].schema: not a JSON Schema that can be used: … (SchemaInvalid)'],
  },
  'a schema of an unknown type': {
    spec: withSchema({ type: 'text' }),
    gives: ['spec.events[order.created].schema: not a JSON Schema that can be used: … (SchemaInvalid)'],
  },
  'a schema that refers to another document': {
    spec: withSchema({ $ref: 'https://example.com/order.json' }),
    gives: ['spec.events[order.created].schema: not a JSON Schema that can be used: … (SchemaInvalid)'],
  },
  'a schema that is wrong beside an assignment': {
    spec: withSchema({ type: 'text' }, { id: 1 }),
    gives: ['spec.events[order.created].schema: not a JSON Schema that can be used: … (SchemaInvalid)'],
  },

  'an expression to assign': {
    spec: inSource({ assign: { id: brackets, ok: 1 } }),
    gives: invalid('spec.sources[0].http.assign.id'),
  },
  'an expression deep inside what is assigned': {
    spec: inSource({ assign: { 'a b': { list: [1, brackets] } } }),
    gives: invalid('spec.sources[0].http.assign["a b"]'),
  },
  'an expression to assign, where the event has a schema': {
    spec: withSchema(closed, { id: brackets, status: 'new' }),
    gives: invalid('spec.sources[0].http.assign.id'),
  },
  'an expression in the body of a response': {
    spec: inSource({ response: { body: { id: brackets } } }),
    gives: invalid('spec.sources[0].http.response.body'),
  },
  'a condition': { spec: inStep({ when: 'total >' }), gives: invalid('spec.steps[0].when') },
  'a condition that is wrapped': { spec: inStep({ when: '{% total > 0 %}' }), gives: invalid('spec.steps[0].when') },
  'a condition with a variable that nobody sets': {
    spec: inStep({ when: '$evnt.type = "a"' }),
    gives: invalid('spec.steps[0].when'),
  },
  'a key': { spec: inStep({ idempotency: { key: 'a b' } }), gives: invalid('spec.steps[0].idempotency.key') },
  'a transform': { spec: inStep({ transform: brackets, ...emits }), gives: invalid('spec.steps[0].transform') },
  'an empty transform': { spec: inStep({ transform: '{% %}', ...emits }), gives: invalid('spec.steps[0].transform') },
  'a transform that evaluates text': {
    spec: inStep({ transform: '{% $eval(code) %}', ...emits }),
    gives: invalid('spec.steps[0].transform'),
  },
  'the id of messages of a queue': {
    spec: { sources: [source(), { name: 'old', emits: 'old', queue: { name: 'q' }, id: 'a b' }] },
    gives: invalid('spec.sources[1].id'),
  },
  'an id that is wrapped': {
    spec: { sources: [source(), { name: 'old', emits: 'old', queue: { name: 'q' }, id: '{% id %}' }] },
    gives: invalid('spec.sources[1].id'),
  },
  'a routing key': {
    spec: inStep({ publish: { exchange: 'e', routingKey: brackets } }),
    gives: invalid('spec.steps[0].publish.routingKey'),
  },
  'a routing key with a variable that nobody sets': {
    spec: inStep({ publish: { exchange: 'e', routingKey: '{% $outputs %}' } }),
    gives: invalid('spec.steps[0].publish.routingKey'),
  },
  'urls of a fanout': {
    spec: inStep({ fanout: { urls: brackets }, ...emits }),
    gives: invalid('spec.steps[0].fanout.urls'),
  },
  'the output of a fanout': {
    spec: inStep({ fanout: { urls, output: '{% $outputs %}' }, ...emits }),
    gives: invalid('spec.steps[0].fanout.output'),
  },
  'inputs of a model': {
    spec: inStep({ model: { ref: 'fraud', inputs: { X: [[brackets]], Y: 1 } }, ...emits }),
    neighbours: shop,
    gives: invalid('spec.steps[0].model.inputs.X'),
  },
  'the output of a model': {
    spec: inStep({ model: { ref: 'fraud', inputs: {}, output: '{% $results %}' }, ...emits }),
    neighbours: shop,
    gives: invalid('spec.steps[0].model.output'),
  },

  'a url with a port that cannot be': {
    spec: inStep({ http: { url: 'http://h:65536/' } }),
    gives: [
      'spec.steps[0].http.url: found "http://h:65536/"; allowed: a URL with a host and a port that exist (InvalidValue)',
    ],
  },

  'a field to assign that the schema forbids': {
    spec: withSchema(closed, { extra: '{% 1 %}', id: 1 }),
    gives: [
      'spec.sources[0].http.assign.extra: no event could meet the schema of order.created: extra: there is no such field in the schema (AssignBreaksSchema)',
    ],
  },
  'a literal to assign that the schema forbids': {
    spec: withSchema(closed, { status: 'old' }),
    gives: [
      'spec.sources[0].http.assign.status: no event could meet the schema of order.created: status: … (AssignBreaksSchema)',
    ],
  },
  'an assignment of another event is not judged by it': {
    spec: {
      events: { 'order.created': { schema: closed } },
      sources: [source(), source({ name: 'b', emits: 'b', http: { path: '/', assign: { extra: 1 } } })],
    },
    gives: [],
  },

  'a type to consume that nobody emits': {
    spec: { steps: [step('check', { consumes: ['order.created', 'order.create'] }), step('b', { emits: ['done'] })] },
    gives: [
      'spec.steps[0].consumes[1]: nothing emits "order.create"; emitted are: order.created, done (EventNotEmitted)',
    ],
  },
  'a type to consume that is named as what every object has': {
    spec: inStep({ consumes: ['constructor'] }),
    gives: ['spec.steps[0].consumes[0]: nothing emits "constructor"; emitted are: order.created (EventNotEmitted)'],
  },
  'an event that nobody emits': {
    spec: { events: { 'order.create': { schema: { type: 'object' } } } },
    gives: ['spec.events[order.create]: nothing emits "order.create"; emitted are: order.created (EventNotEmitted)'],
  },
  'an event of another pipeline that it does not emit': {
    spec: fromOther({ pipeline: 'shop', type: 'b' }),
    neighbours: shop,
    gives: ['spec.sources[1].event.type: nothing emits "b"; emitted are: a.b, c (EventNotEmitted)'],
  },

  'a step that consumes what it emits': {
    spec: inStep({ emits: ['done', 'order.created'] }),
    gives: ['spec.steps[0]: events go round in a circle: check emits order.created, which check consumes (EventCycle)'],
  },
  'a circle of two': {
    spec: {
      steps: [
        step('first'),
        step('a', { consumes: ['order.created', 'y'], emits: ['x'] }),
        step('b', { consumes: ['x'], emits: ['z', 'y'] }),
      ],
    },
    gives: ['spec.steps[1]: events go round in a circle: a emits x, b emits y, which a consumes (EventCycle)'],
  },
  'a circle of three, entered from its side': {
    spec: {
      steps: [
        step('start', { emits: ['y'] }),
        step('a', { consumes: ['z'], emits: ['x'] }),
        step('b', { consumes: ['x'], emits: ['y'] }),
        step('c', { consumes: ['y'], emits: ['z'] }),
      ],
    },
    gives: [
      'spec.steps[3]: events go round in a circle: c emits z, a emits x, b emits y, which c consumes (EventCycle)',
    ],
  },
  'two ways to one step are no circle': {
    spec: {
      steps: [
        step('a', { emits: ['x'] }),
        step('b', { emits: ['y'] }),
        step('join', { consumes: ['x', 'y', 'order.created'], emits: ['z'] }),
      ],
    },
    gives: [],
  },

  'a model that is not there': {
    spec: inStep({ model: { ref: 'frod', inputs: {} }, ...emits }),
    neighbours: shop,
    gives: [
      'spec.steps[0].model.ref: there is no ModelDeployment "frod" in this namespace; there are: fraud, churn (ModelNotFound)',
    ],
  },
  'a model where there is none': {
    spec: inStep({ model: { ref: 'fraud', inputs: {} }, ...emits }),
    gives: [
      'spec.steps[0].model.ref: there is no ModelDeployment "fraud" in this namespace; there are: none (ModelNotFound)',
    ],
  },
  'events of a model': {
    spec: fromOther({ model: 'fraud', type: 'model.promoted' }),
    neighbours: shop,
    gives: [],
  },
  'events of a model that is not there': {
    spec: fromOther({ model: 'frod', type: 'model.promoted' }),
    neighbours: shop,
    gives: [
      'spec.sources[1].event.model: there is no ModelDeployment "frod" in this namespace; there are: fraud, churn (ModelNotFound)',
    ],
  },
  'a pipeline that is not there': {
    spec: fromOther({ pipeline: 'stock', type: 'a' }),
    neighbours: shop,
    gives: [
      'spec.sources[1].event.pipeline: there is no other EventPipeline "stock" in this namespace; there are: shop (PipelineNotFound)',
    ],
  },
  'both on the default broker': { ...across(), gives: [] },
  'both on the broker of one Secret': { ...across('rabbit', 'rabbit'), gives: [] },
  'brokers of two Secrets': {
    ...across('hare', 'rabbit'),
    gives: differ('the broker of the Secret "hare"', 'the broker of the Secret "rabbit"'),
  },
  'the other pipeline on the default broker': {
    ...across(undefined, 'rabbit'),
    gives: differ('the default broker', 'the broker of the Secret "rabbit"'),
  },
  'this pipeline on the default broker': {
    ...across('hare'),
    gives: differ('the broker of the Secret "hare"', 'the default broker'),
  },
  'a pipeline that is not there has no broker': {
    ...across('hare'),
    neighbours: alone,
    gives: [
      'spec.sources[1].event.pipeline: there is no other EventPipeline "shop" in this namespace; there are: none (PipelineNotFound)',
    ],
  },
  'a pipeline that takes its own events': {
    spec: fromOther({ pipeline: 'orders', type: 'order.created' }),
    neighbours: shop,
    gives: [
      'spec.sources[1].event.pipeline: there is no other EventPipeline "orders" in this namespace; there are: shop (PipelineNotFound)',
    ],
  },
  'a pipeline of a name that every object has': {
    spec: fromOther({ pipeline: 'constructor', type: 'a' }),
    gives: [
      'spec.sources[1].event.pipeline: there is no other EventPipeline "constructor" in this namespace; there are: none (PipelineNotFound)',
    ],
  },

  'everything at once, what is final before what may come': {
    spec: {
      events: { 'order.created': { schema: { type: 'text' } }, other: {} },
      steps: [
        step('check', { when: '(', consumes: ['nothing'] }),
        step('loop', { emits: ['order.created'] }),
        step('score', { model: { ref: 'fraud', inputs: {} }, ...emits }),
      ],
    },
    gives: [
      'spec.events[order.created].schema: not a JSON Schema that can be used: … (SchemaInvalid)',
      'spec.steps[0].when: not an expression: … (ExpressionInvalid)',
      'spec.events.other: nothing emits "other"; emitted are: order.created, order.checked (EventNotEmitted)',
      'spec.steps[0].consumes[0]: nothing emits "nothing"; emitted are: order.created, order.checked (EventNotEmitted)',
      'spec.steps[1]: events go round in a circle: loop emits order.created, which loop consumes (EventCycle)',
      'spec.steps[2].model.ref: there is no ModelDeployment "fraud" in this namespace; there are: none (ModelNotFound)',
    ],
  },
};

describe('checkPipeline', () => {
  it.each(Object.entries(cases))('%s', (_, { spec, neighbours = alone, gives }) => {
    const found = checkPipeline(orders(spec), neighbours).map(
      ({ path, message, code }) => `${path}: ${message} (${code})`,
    );
    // What the compilers say is theirs to test, that they say something is not.
    const brief = found.map((line, index) => {
      const [before, after] = gives[index]?.split('…') ?? [];
      const fits = before !== undefined && after !== undefined && line.startsWith(before) && line.endsWith(after);
      return fits && line.length > before.length + after.length + 3 ? gives[index] : line;
    });
    expect(brief).toEqual(gives);
  });

  it('comes to an end where each step emits to all later ones: 2^16 ways, and no circle', () => {
    const names = Array.from({ length: 16 }, (_, index) => `s${index}`);
    const steps = names.map((name, index) =>
      step(name, { consumes: ['order.created', ...names.slice(0, index)].slice(-16), emits: [name] }),
    );
    expect(checkPipeline(orders({ steps }), alone)).toEqual([]);
  });

  it('remembers what it has judged by what it says: one that changes in place is judged anew', () => {
    const pipeline = orders({ events: { 'order.created': { schema: { type: 'object' } } } });
    const schema = pipeline.spec.events?.['order.created']?.schema as { type: string };
    const codes = () => checkPipeline(pipeline, alone).map(({ code }) => code);
    const before = process.cpuUsage();
    expect([codes(), codes()]).toEqual([[], []]);
    for (let i = 0; i < 1_000; i++) codes();
    const { user } = process.cpuUsage(before);
    // Each would compile the schema otherwise, which takes milliseconds.
    expect(user / 1_000).toBeLessThan(2_000);
    schema.type = 'objekt';
    expect(codes()).toEqual(['SchemaInvalid']);
    schema.type = 'object';
    expect(codes()).toEqual([]);
  });
});
