import { describe, expect, it } from 'vitest';
import type { EventPipeline } from '../../../api/v1alpha1/event-pipeline.ts';
import type { Observed, ObservedPipeline } from '../units.ts';
import { nothingOf } from './leaving.ts';
import { planParts } from './parts.ts';
import { planPipeline } from './plan.ts';
import { alone, noon, orders, running } from './testing.ts';

const going = (resource: EventPipeline, ...finalizers: string[]): EventPipeline => ({
  ...resource,
  metadata: { ...resource.metadata, deletionTimestamp: noon, finalizers: ['levada.dev/broker', ...finalizers] },
});
const rabbit = { kind: 'rabbitmq' } as const;
const one = orders();
/** After everything of it was taken away. */
const emptied = (queues: ObservedPipeline['queues'], change: Partial<ObservedPipeline> = {}): Observed => ({
  units: {},
  fronts: {},
  pipeline: { applied: nothingOf(planParts(one)), sources: {}, queues, broker: rabbit, ...change },
});
const state = { waiting: 0, inFlight: 0, dead: 0, running: false, breaker: 'Closed' } as const;
const failed = (code: string) => ({ ...rabbit, connection: { code, message: `it says ${code}` } });

/** In a few words: what is still to run, and what is left when it may go. */
function brief(resource: EventPipeline, observed: Observed): string {
  const { pipeline, release } = planPipeline(resource, observed, alone, noon, 'Cluster');
  const queues = pipeline?.topology.queues.map(({ name, bindings }) => `${name}<-${bindings.length}`).join(' ') ?? '';
  const consumers = pipeline?.consumers.map(({ name }) => name).join(' ') ?? '';
  const end = release === undefined ? 'stays' : `goes${release.left === undefined ? '' : `: ${release.left}`}`;
  return `[${queues}] [${consumers}] [${pipeline?.sources.length ?? 0}] ${end}`;
}

describe('a pipeline that is deleted', () => {
  it.each<[string, EventPipeline, Observed, string]>([
    ['that had nothing', going(one), { units: {}, fronts: {} }, '[] [] [0] goes'],
    [
      'that runs: nothing new from outside, and one more look at its queues',
      going(one),
      running(one),
      '[check<-1] [check] [0] stays',
    ],
    [
      'that takes nothing more and is empty: its steps get nothing more either',
      going(one),
      running({ ...planParts(one), sources: [] }),
      '[check<-0] [check] [0] stays',
    ],
    [
      'that takes nothing more, while its broker is away: nobody knows what waits',
      going(one),
      running({ ...planParts(one), sources: [] }, {}, { broker: failed('BrokerUnavailable') }),
      '[check<-1] [check] [0] stays',
    ],
    [
      'that runs, with Retain',
      going(orders({ deletionPolicy: 'Retain' })),
      running(one, { check: { waiting: 2 } }),
      '[] [] [0] goes',
    ],
    ['that runs, as an orphan', going(one, 'orphan'), running(one), '[] [] [0] goes'],
    ['that runs, without pods', going(one, 'foregroundDeletion'), running(one), '[] [] [0] stays'],
    ['that is empty', going(one), emptied({}), '[] [] [0] goes'],
    ['whose queue is about to be removed', going(one), emptied({ check: state }), '[] [] [0] stays'],
    [
      'with dead letters',
      going(one),
      emptied({ check: { ...state, dead: 2 } }),
      '[check<-0] [] [0] goes: in the broker stay 0 messages and 2 dead letters of check',
    ],
    [
      'whose namespace ends, with messages',
      going(one),
      emptied({ check: { ...state, waiting: 1, inFlight: 1 } }, { namespaceEnds: true }),
      '[] [] [0] goes: in the broker stay 2 messages and 0 dead letters of check',
    ],
    [
      'whose namespace ends, and its broker with it',
      going(one),
      emptied({}, { broker: failed('BrokerUnavailable'), namespaceEnds: true }),
      '[] [] [0] goes: it says BrokerUnavailable. What there is of it in the broker stays there, with what it holds',
    ],
    ['whose broker is away', going(one), emptied({}, { broker: failed('BrokerUnavailable') }), '[] [] [0] stays'],
    [
      'whose Secret is gone',
      going(one),
      emptied({}, { broker: failed('SecretNotFound') }),
      '[] [] [0] goes: it says SecretNotFound. What there is of it in the broker stays there, with what it holds',
    ],
  ])('%s', (_, resource, observed, gives) => {
    expect(brief(resource, observed)).toBe(gives);
  });

  it('handles what waits first, and says how much that is and what to do', () => {
    const before = running(one, { check: { waiting: 2, inFlight: 1 } });
    const { pipeline } = planPipeline(going(one), before, alone, noon, 'Cluster');
    const next = running(pipeline!, { check: { waiting: 2, inFlight: 1 } });
    // What a step emits meanwhile is for the next one.
    expect(brief(going(one), next)).toBe('[check<-1] [check] [0] stays');
    const { status } = planPipeline(going(one), next, alone, noon, 'Cluster');
    expect(status.conditions.find(({ type }) => type === 'Ready')).toMatchObject({
      status: 'False',
      reason: 'Removing',
      message:
        'Messages wait, and are handled first: 3 of check. To leave them in the broker set spec.deletionPolicy: Retain.',
    });
    expect(status).toMatchObject({ backlog: 2, steps: [{ name: 'check', state: 'Draining' }] });
  });

  it('goes also when it is not valid any more', () => {
    const broken = { ...going(one), spec: undefined } as unknown as EventPipeline;
    expect(brief(broken, emptied({}))).toBe('[] [] [0] goes');
  });
});

it('an edit is not ready before what it asks for has been applied, on a cluster', () => {
  const edited = orders({ steps: [{ name: 'check', consumes: ['order.created'], http: { url: 'http://other' } }] }, 2);
  const ready = (observed: Observed) =>
    planPipeline(edited, observed, alone, noon, 'Cluster').status.conditions.find(({ type }) => type === 'Ready');
  expect(ready(running(one, {}, { broker: rabbit }))).toMatchObject({
    status: 'False',
    message: 'Being started: step check.',
  });
  expect(ready(running(edited, {}, { broker: rabbit }))).toMatchObject({ status: 'True' });
});
