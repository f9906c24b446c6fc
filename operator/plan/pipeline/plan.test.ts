import { describe, expect, it } from 'vitest';
import type { EventPipeline } from '../../../api/v1alpha1/event-pipeline.ts';
import { parseResource } from '../../source/parse.ts';
import type { Neighbours } from '../neighbours.ts';
import { nothingObserved, type Observed, type PipelinePlan } from '../units.ts';
import { planParts } from './parts.ts';
import { planPipeline } from './plan.ts';
import { alone, brief, later, noon, on, orders, queue, running, source, step } from './testing.ts';

const one = orders();
const two = orders({ steps: [step('check'), step('notify')] });
const swapped = orders({ steps: [step('pack')] }, 2);
const back = orders({}, 2);
const bad = orders({ steps: [step('check', { when: '(' }), step('pack')] }, 2);
const waits = orders({
  steps: [step('check'), step('score', { model: { ref: 'fraud', inputs: {} }, emits: ['scored'] })],
});
const relays = orders({
  sources: [source(), { name: 'other', emits: 'copied', event: { pipeline: 'shop', type: 'a' } }],
});
const adopts = orders({ sources: [source(), { name: 'old', emits: 'order.old', queue: { name: 'Orders' } }] });
const shop: Neighbours = { models: [], pipelines: { shop: on(undefined, 'a') } };
const box = orders({ steps: [step('check'), step('box', { container: { image: 'box:1' } })] });

/** As `plan`, with the queues named unbound: after the first plan without them. */
const unbound = (plan: PipelinePlan, ...names: string[]): PipelinePlan => ({
  ...plan,
  topology: {
    ...plan.topology,
    queues: plan.topology.queues.map((entry) => (names.includes(entry.name) ? { ...entry, bindings: [] } : entry)),
  },
});
const leaving = unbound(planParts(two), 'notify');

/** As the first plan without its queue source leaves it. */
const letGo = ({ topology }: PipelinePlan): PipelinePlan['topology'] => ({
  ...topology,
  queues: topology.queues.map(({ name, bindings }) => ({ name, bindings })),
});

const away = { code: 'BrokerUnavailable', message: 'connect ECONNREFUSED' };
const calm = { ready: 'True Running: Sources take events, and every step handles them.', also: 'Accepted' };
const all = { queues: 'check<-order.created', consumers: 'check', sources: 'api' };

interface Case {
  resource: EventPipeline;
  observed: Observed;
  neighbours?: Neighbours;
  gives: object;
}

const starting: Record<string, Case> = {
  'first deployment': {
    resource: two,
    observed: nothingObserved,
    gives: {
      queues: 'check<-order.created notify<-order.created',
      consumers: 'check notify',
      sources: 'api',
      ready: 'False Progressing: Being started: source api, step check, step notify.',
      also: 'Accepted Reconciling',
      steps: 'check Pending 0 0, notify Pending 0 0',
      sums: '0/2 0 0',
    },
  },
  'all runs': {
    resource: two,
    observed: running(two, { check: { waiting: 3, inFlight: 2 }, notify: { waiting: 4, dead: 5 } }),
    gives: {
      queues: 'check<-order.created notify<-order.created',
      consumers: 'check notify',
      sources: 'api',
      ...calm,
      steps: 'check Running 3 0, notify Running 4 5',
      sums: '2/2 7 5',
    },
  },
  'a handler is being started': {
    resource: one,
    observed: running(one, { check: { running: false, message: 'python is starting' } }),
    gives: {
      ...all,
      ready: 'False Progressing: Being started: step check (python is starting).',
      also: 'Accepted Reconciling',
      steps: 'check Pending 0 0',
      sums: '0/1 0 0',
    },
  },
  'a source cannot listen': {
    resource: one,
    observed: running(one, {}, { sources: { api: { ready: false, failure: { code: 'PortBusy', message: 'taken' } } } }),
    gives: {
      ...all,
      ready: expect.stringMatching(/^False PortBusy: taken\. ./),
      also: 'Accepted Stalled',
      steps: 'check Running 0 0',
      sums: '1/1 0 0',
    },
  },
  'a source that could not listen is gone from the spec': {
    resource: one,
    observed: running(
      one,
      {},
      {
        sources: { api: { ready: true }, old: { ready: false, failure: { code: 'PortBusy', message: 'taken' } } },
      },
    ),
    gives: { ...all, ...calm, steps: 'check Running 0 0', sums: '1/1 0 0' },
  },
  'a breaker is open': {
    resource: two,
    observed: running(two, { notify: { breaker: 'Open', message: 'http://notify refused', waiting: 9 } }),
    gives: {
      queues: 'check<-order.created notify<-order.created',
      consumers: 'check notify',
      sources: 'api',
      ready: 'False StepWaiting: Step notify takes no messages: http://notify refused',
      also: 'Accepted Reconciling',
      steps: 'check Running 0 0, notify Waiting 9 0',
      sums: '1/2 9 0',
    },
  },
  'a breaker tries again': {
    resource: one,
    observed: running(one, { check: { breaker: 'HalfOpen' } }),
    gives: {
      ...all,
      ready: 'False StepWaiting: Step check takes no messages: its handler is not there',
      also: 'Accepted Reconciling',
      steps: 'check Waiting 0 0',
      sums: '0/1 0 0',
    },
  },
  'an event source has a queue, which counts': {
    resource: relays,
    neighbours: shop,
    observed: running(relays, { other: { waiting: 2, dead: 1 } }),
    gives: {
      queues: 'check<-order.created other<-a',
      consumers: 'check other',
      sources: 'api',
      ...calm,
      steps: 'check Running 0 0',
      sums: '1/1 2 1',
    },
  },
  'a queue source has a queue, which counts': {
    resource: adopts,
    observed: running(adopts, { old: { waiting: 3, dead: 1 } }),
    gives: {
      queues: 'check<-order.created old<-Orders',
      consumers: 'check old',
      sources: 'api',
      ...calm,
      steps: 'check Running 0 0',
      sums: '1/1 3 1',
    },
  },
  'the queue of a queue source is not there': {
    resource: adopts,
    observed: running(adopts, { old: { running: false, message: 'the broker has no queue "Orders"' } }),
    gives: expect.objectContaining({
      ready: 'False Progressing: Being started: source old (the broker has no queue "Orders").',
      also: 'Accepted Reconciling',
    }),
  },
  'a queue source takes no messages for now': {
    resource: adopts,
    observed: running(adopts, { old: { breaker: 'Open', message: 'the broker takes no more' } }),
    gives: expect.objectContaining({
      ready: 'False Progressing: Being started: source old (the broker takes no more).',
      also: 'Accepted Reconciling',
    }),
  },
  'an event source does not run yet': {
    resource: relays,
    neighbours: shop,
    observed: running(relays, { other: { running: false } }),
    gives: expect.objectContaining({ ready: 'False Progressing: Being started: source other.' }),
  },
};

const notAccepted: Record<string, Case> = {
  'the first edit is not accepted: nothing runs': {
    resource: bad,
    observed: nothingObserved,
    gives: {
      queues: undefined,
      consumers: undefined,
      sources: undefined,
      ready: expect.stringMatching(
        /^False ExpressionInvalid: spec\.steps\[0\]\.when: not an expression: (?!.*What ran before)/,
      ),
      also: 'Stalled',
      steps: 'check Pending 0 0, pack Pending 0 0',
      sums: '0/2 0 0',
    },
  },
  'an edit that is not accepted leaves what ran': {
    resource: bad,
    observed: running(two, { notify: { waiting: 1 } }),
    gives: {
      queues: 'check<-order.created notify<-order.created',
      consumers: 'check notify',
      sources: 'api',
      ready: expect.stringMatching(/^False ExpressionInvalid: .* What ran before goes on\.$/),
      also: 'Stalled',
      steps: 'check Running 0 0, pack Pending 0 0, notify Running 1 0',
      sums: '1/2 1 0',
    },
  },
  'what drained before goes on draining': {
    resource: bad,
    observed: running(leaving, { notify: { waiting: 1 } }),
    gives: expect.objectContaining({
      queues: 'check<-order.created notify<-',
      steps: 'check Running 0 0, pack Pending 0 0, notify Draining 1 0',
    }),
  },
  'a model that is not there yet is waited for': {
    resource: waits,
    observed: nothingObserved,
    gives: {
      queues: undefined,
      consumers: undefined,
      sources: undefined,
      ready:
        'False ModelNotFound: spec.steps[1].model.ref: there is no ModelDeployment "fraud" in this namespace; there are: none. Correct the name, or apply the ModelDeployment.',
      also: 'Reconciling',
      steps: 'check Pending 0 0, score Pending 0 0',
      sums: '0/2 0 0',
    },
  },
  'what is final counts more than what may come': {
    resource: orders({
      steps: [step('score', { model: { ref: 'fraud', inputs: {} }, emits: ['a'] }), step('b', { when: '(' })],
    }),
    observed: nothingObserved,
    gives: expect.objectContaining({ ready: expect.stringMatching(/^False ExpressionInvalid/), also: 'Stalled' }),
  },
};

const edited: Record<string, Case> = {
  'a step is added': {
    resource: two,
    observed: running(one),
    gives: {
      queues: 'check<-order.created notify<-order.created',
      consumers: 'check notify',
      sources: 'api',
      ready: 'False Progressing: Being started: step notify.',
      also: 'Accepted Reconciling',
      steps: 'check Running 0 0, notify Pending 0 0',
      sums: '1/2 0 0',
    },
  },
  'a step is removed: it gets no more, and handles what it has': {
    resource: back,
    observed: running(two, { notify: { waiting: 2, dead: 1 } }),
    gives: {
      queues: 'check<-order.created notify<-',
      consumers: 'check notify',
      sources: 'api',
      ...calm,
      steps: 'check Running 0 0, notify Draining 2 1',
      sums: '1/1 2 1',
    },
  },
  'a step is removed that seems to be empty: something may have come since': {
    resource: back,
    observed: running(two),
    gives: {
      queues: 'check<-order.created notify<-',
      consumers: 'check notify',
      sources: 'api',
      ...calm,
      steps: 'check Running 0 0, notify Draining 0 0',
      sums: '1/1 0 0',
    },
  },
  'a removed step has messages in hand': {
    resource: back,
    observed: running(leaving, { notify: { inFlight: 1 } }),
    gives: expect.objectContaining({ queues: 'check<-order.created notify<-', consumers: 'check notify' }),
  },
  'a removed step has dead letters only: they stay, without a consumer': {
    resource: back,
    observed: running(leaving, { notify: { dead: 1 } }),
    gives: {
      queues: 'check<-order.created notify<-',
      consumers: 'check',
      sources: 'api',
      ...calm,
      steps: 'check Running 0 0, notify Draining 0 1',
      sums: '1/1 0 1',
    },
  },
  'a removed step has nothing left': {
    resource: back,
    observed: running(leaving),
    gives: { ...all, ...calm, steps: 'check Running 0 0, notify Draining 0 0', sums: '1/1 0 0' },
  },
  'a removed step seems to have nothing left, and the broker is away: nobody knows': {
    resource: back,
    observed: running(leaving, {}, { queues: {}, broker: { kind: 'rabbitmq', connection: away } }),
    gives: expect.objectContaining({ queues: 'check<-order.created notify<-', consumers: 'check notify' }),
  },
  'a removed step seems to have nothing left, and its queue may still be bound': {
    resource: back,
    observed: running(leaving, {}, { broker: { kind: 'rabbitmq', topology: away } }),
    gives: expect.objectContaining({ queues: 'check<-order.created notify<-', consumers: 'check notify' }),
  },
  'everything of the removed step is gone': {
    resource: back,
    observed: running(back),
    gives: { ...all, ...calm, steps: 'check Running 0 0', sums: '1/1 0 0' },
  },
  'a removed step comes back while it drains': {
    resource: two,
    observed: running(leaving, { notify: { waiting: 2 } }),
    gives: expect.objectContaining({
      queues: 'check<-order.created notify<-order.created',
      consumers: 'check notify',
      steps: 'check Running 0 0, notify Running 2 0',
    }),
  },
  'a step is exchanged for another': {
    resource: swapped,
    observed: running(one, { check: { waiting: 1 } }),
    gives: {
      queues: 'pack<-order.created check<-',
      consumers: 'pack check',
      sources: 'api',
      ready: 'False Progressing: Being started: step pack.',
      also: 'Accepted Reconciling',
      steps: 'pack Pending 0 0, check Draining 1 0',
      sums: '0/1 1 0',
    },
  },
  'the broker has a queue that was applied by nobody who remembers': {
    resource: one,
    observed: running(one, { old: { waiting: 1, running: false } }),
    gives: {
      queues: 'check<-order.created old<-',
      consumers: 'check',
      sources: 'api',
      ...calm,
      steps: 'check Running 0 0, old Draining 1 0',
      sums: '1/1 1 0',
    },
  },
  'an event source is removed that holds events': {
    resource: back,
    observed: running(relays, { other: { waiting: 1 } }),
    gives: expect.objectContaining({
      queues: 'check<-order.created other<-',
      consumers: 'check other',
      steps: 'check Running 0 0, other Draining 1 0',
    }),
  },
  'a queue source is removed: its queue is let go, and what it put off is handled': {
    resource: back,
    observed: running(adopts, { old: { waiting: 1000 } }),
    gives: {
      queues: 'check<-order.created old<-',
      consumers: 'check old',
      sources: 'api',
      ...calm,
      steps: 'check Running 0 0, old Draining 1000 0',
      sums: '1/1 1000 0',
    },
  },
  'a queue source is removed that seems to be empty: something may have been put off since': {
    resource: back,
    observed: running(adopts),
    gives: expect.objectContaining({ queues: 'check<-order.created old<-', consumers: 'check old' }),
  },
  'a removed queue source has nothing left': {
    resource: back,
    observed: running({ ...planParts(adopts), topology: letGo(planParts(adopts)) }),
    gives: { ...all, ...calm, steps: 'check Running 0 0, old Draining 0 0', sums: '1/1 0 0' },
  },
  'a queue source is not accepted any more: it goes on': {
    resource: bad,
    observed: running(adopts, { old: { waiting: 1 } }),
    gives: expect.objectContaining({
      queues: 'check<-order.created old<-Orders',
      consumers: 'check old',
      steps: 'check Running 0 0, pack Pending 0 0, old Running 1 0',
    }),
  },
  'an event source becomes an http source of the same name': {
    resource: orders({ sources: [source(), source({ name: 'other' })] }),
    observed: running(relays, { other: { waiting: 1 } }),
    gives: expect.objectContaining({
      queues: 'check<-order.created other<-',
      consumers: 'check other',
      sources: 'api other',
      steps: 'check Running 0 0, other Draining 1 0',
    }),
  },
};

describe('planPipeline', () => {
  const cases = { ...starting, ...notAccepted, ...edited };
  const plan = ({ resource, observed, neighbours = alone }: Case) => planPipeline(resource, observed, neighbours, noon);

  it.each(Object.entries(cases))('%s', (_, entry) => {
    expect(brief(plan(entry))).toEqual(entry.gives);
  });

  it.each(Object.entries(cases))('%s: the status is one that the API server takes', (_, entry) => {
    const { status } = plan(entry);
    expect(parseResource({ ...entry.resource, status }).problems).toEqual([]);
  });

  it('gives a step its new settings, and keeps the old ones of a step that drains', () => {
    const edit = orders({ steps: [step('check', { when: 'total > 0', concurrency: 2 })] }, 2);
    const { pipeline } = planPipeline(edit, running(two, { notify: { waiting: 1 } }), alone, noon);
    expect(pipeline?.consumers[0]).toMatchObject({ name: 'check', when: 'total > 0', concurrency: 2 });
    expect(pipeline?.consumers[1]).toEqual(planParts(two).consumers[1]);
  });

  it('keeps the container of a step as long as it has something to do', () => {
    const containers = (observed: Observed) => planPipeline(back, observed, alone, noon).pipeline?.containers;
    expect(planPipeline(box, nothingObserved, alone, noon).pipeline?.containers).toEqual([
      { step: 'box', image: 'box:1' },
    ]);
    const gone = unbound(planParts(box), 'box');
    expect(containers(running(gone, { box: { waiting: 1 } }))).toEqual([{ step: 'box', image: 'box:1' }]);
    expect(containers(running(gone, { box: { dead: 1 } }))).toEqual([]);
  });

  it.each<[string, object, object]>([
    ['no broker', {}, {}],
    ['a broker of which nothing is said', { rabbitmq: {} }, { settings: { deliveryLimit: 20 } }],
    [
      'settings without a Secret',
      { rabbitmq: { queues: { maxLength: 7, deliveryLimit: 3 } } },
      { settings: { maxLength: 7, deliveryLimit: 3 } },
    ],
    [
      'a Secret',
      { rabbitmq: { secretRef: { name: 'rabbit' } } },
      { settings: { deliveryLimit: 20 }, broker: { kind: 'rabbitmq', secret: 'team/rabbit' } },
    ],
  ])('says of %s what the driver has to know', (_, broker, wanted) => {
    const resource = orders(Object.keys(broker).length > 0 ? { broker } : {});
    const elsewhere = { ...resource, metadata: { ...resource.metadata, namespace: 'team' } };
    const { topology, broker: found } = planParts(elsewhere);
    expect({ ...(topology.settings && { settings: topology.settings }), ...(found && { broker: found }) }).toEqual(
      wanted,
    );
  });

  it('binds a source to the other pipeline, in the namespace of its own', () => {
    const elsewhere = { ...relays, metadata: { ...relays.metadata, namespace: 'team' } };
    const { pipeline } = planPipeline(elsewhere, nothingObserved, shop, noon);
    expect(pipeline?.topology).toMatchObject({
      pipeline: 'team/orders',
      queues: [{ bindings: [{ pipeline: 'team/orders' }] }, { bindings: [{ pipeline: 'team/shop', type: 'a' }] }],
    });
  });
});

describe('the status', () => {
  const statusOf = (resource: EventPipeline, observed: Observed, now = noon) =>
    planPipeline(resource, observed, alone, now).status;

  it('keeps its times as long as what they speak of stays', () => {
    const first = statusOf(one, nothingObserved);
    const second = statusOf({ ...one, status: first }, running(one), later);
    const times = Object.fromEntries(
      second.conditions.map(({ type, lastTransitionTime }) => [type, lastTransitionTime]),
    );
    const asBefore = { Accepted: noon, BrokerConnected: noon, TopologyReady: noon, Stalled: noon };
    expect(times).toEqual({ ...asBefore, Ready: later, Reconciling: later });
    expect(statusOf({ ...one, status: second }, running(one), later)).toEqual(second);
  });

  it('has the generation, the URL of http sources and why a step waits', () => {
    const status = statusOf(
      { ...back, metadata: { name: 'orders', generation: 7 } },
      running(one, { check: { message: 'why' } }),
    );
    expect(status).toMatchObject({
      observedGeneration: 7,
      sources: [{ name: 'api', ready: true, url: 'http://localhost:8080/orders/' }],
      steps: [{ name: 'check', message: 'why' }],
    });
    expect(new Set(status.conditions.map(({ observedGeneration }) => observedGeneration))).toEqual(new Set([7]));
  });

  it('stays small enough for the API server, whatever there is to say', () => {
    const types = Array.from({ length: 16 }, (_, index) => `${'t'.repeat(120)}${index}`);
    const steps = Array.from({ length: 32 }, (_, index) => step(`s${index}`, { consumes: types }));
    const left = Array.from({ length: 70 }, (_, index) => [
      `left${index}`,
      queue({ dead: 1, message: 'm'.repeat(5000) }),
    ]);
    const many = orders({ steps });
    const status = statusOf(many, running(one, Object.fromEntries(left)));
    expect(parseResource({ ...many, status }).problems).toEqual([]);
    expect(status.conditions[0]?.message).toMatch(/^spec\.steps\[0\].*…\. .* What ran before goes on\.$/);
    expect(status.deadLetters).toBe(70);
  });
});

describe('a full example', () => {
  const full = orders({
    broker: { rabbitmq: { secretRef: { name: 'rabbit' }, queues: { maxLength: 1000, replicas: 3 } } },
    events: {
      'order.created': { schema: { type: 'object', properties: { order_id: { type: 'string' } } } },
      'order.scored': {},
    },
    sources: [
      source({
        http: {
          path: '/orders/',
          assign: { order_id: '{% $uuid() %}', status: 'pending', note: null },
          response: { body: { message: 'accepted', order_id: '{% order_id %}' } },
        },
      }),
      { name: 'import', emits: 'order.created', event: { pipeline: 'shop', type: 'a' } },
      { name: 'legacy', emits: 'order.created', queue: { name: 'order_created_events' }, id: 'order_id' },
    ],
    steps: [
      step('inventory', {
        when: 'total_amount > 0',
        http: { url: 'http://inventory/reserve', timeout: '1m30s' },
        emits: ['stock.reserved', 'stock.rejected'],
        retry: { maxAttempts: 3, backoff: { initial: '500ms', factor: 1.5, max: '1h' } },
        idempotency: { key: 'order_id', retention: '1d12h' },
        concurrency: 4,
      }),
      step('box', { consumes: ['stock.reserved', 'order.scored'], container: { image: 'shop/box:1', path: '/pack' } }),
      step('score', {
        model: { ref: 'fraud', inputs: { X: '{% [total_amount, 1] %}' }, output: '{% $outputs %}', timeout: '2s' },
        emits: ['order.scored'],
        idempotency: {},
      }),
      step('enrich', {
        consumes: ['order.scored'],
        fanout: {
          urls: '{% urls %}',
          attempts: 2,
          privateNetworks: 'Deny',
          output: '{% $results %}',
          timeout: '300ms',
        },
        emits: ['order.enriched'],
      }),
      step('tidy', { consumes: ['order.enriched'], transform: '{% $ %}', emits: ['order.done'], group: 'fast' }),
      step('out', { consumes: ['order.done'], publish: { exchange: 'orders' }, group: 'fast' }),
      step('key', { consumes: ['order.done'], publish: { exchange: 'o', routingKey: 'a.b', format: 'cloudevents' } }),
      step('aside', { consumes: ['order.done'], publish: { queue: 'done' } }),
    ],
  });
  const neighbours: Neighbours = { models: ['fraud'], pipelines: { shop: on('rabbit', 'a') } };

  it.each([
    ['first-deployment', nothingObserved],
    ['running', running(full, { box: { waiting: 1 }, score: { dead: 2 } })],
  ])('%s: all of it, as in testdata', async (name, observed) => {
    const text = `${JSON.stringify(planPipeline(full, observed, neighbours, noon), null, 2)}\n`;
    await expect(text).toMatchFileSnapshot(`testdata/${name}.json`);
  });
});
