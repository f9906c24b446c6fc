import type { QueueState } from '../../../api/contract/pipeline.ts';
import { type EventPipeline, type EventPipelineStatus, eventPipeline } from '../../../api/v1alpha1/event-pipeline.ts';
import type { Neighbours } from '../neighbours.ts';
import type { Observed, ObservedPipeline, PipelinePlan, PlanResult } from '../units.ts';
import { planParts } from './parts.ts';

export const noon = '2030-01-01T12:00:00.000Z';
export const later = '2030-01-01T13:00:00.000Z';
export { alone } from '../neighbours.ts';

/** Another pipeline, which emits `types`; `broker`: as brokerKey says. */
export const on = (broker: string | undefined, ...types: string[]): Neighbours['pipelines'][string] => ({
  emits: types,
  steps: [],
  broker,
  listens: [],
});

/** The source `api`, which emits order.created; `part` goes on top. */
export const source = (part: object = {}): object => ({
  name: 'api',
  emits: 'order.created',
  http: { path: '/orders/' },
  ...part,
});

/** A step that takes order.created to `http://NAME`; `part` goes on top. */
export const step = (name: string, part: object = {}): object => {
  const kind = ['http', 'model', 'transform', 'fanout', 'publish', 'container'].some((member) => member in part);
  return { name, consumes: ['order.created'], ...(!kind && { http: { url: `http://${name}` } }), ...part };
};

/** A resource `orders` with the source api and the step check; `spec` goes on top. */
export function orders(spec: object = {}, generation = 1): EventPipeline {
  return eventPipeline.parse({
    apiVersion: 'levada.dev/v1alpha1',
    kind: 'EventPipeline',
    metadata: { name: 'orders', generation },
    spec: { sources: [source()], steps: [step('check')], ...spec },
  });
}

export const queue = (change: Partial<QueueState> = {}): QueueState => ({
  waiting: 0,
  inFlight: 0,
  dead: 0,
  running: true,
  breaker: 'Closed',
  ...change,
});

/** What is there when `applied` runs and all is well, but for the queues named in `queues`. */
export function running(
  applied: EventPipeline | PipelinePlan,
  queues: Record<string, Partial<QueueState>> = {},
  change: Partial<ObservedPipeline> = {},
): Observed {
  const plan = 'kind' in applied ? planParts(applied) : applied;
  const names = new Set([...plan.topology.queues.map(({ name }) => name), ...Object.keys(queues)]);
  const isConsumed = (name: string) => plan.consumers.some((consumer) => consumer.name === name);
  const pipeline: ObservedPipeline = {
    applied: plan,
    sources: Object.fromEntries(
      plan.sources.map(({ name, path }) => [name, { ready: true, url: `http://localhost:8080${path}` }]),
    ),
    queues: Object.fromEntries([...names].map((name) => [name, queue({ running: isConsumed(name), ...queues[name] })])),
    ...change,
  };
  return { units: {}, fronts: {}, pipeline };
}

/** A plan in a few words: `queue<-types` of each queue, or what it adopts, what consumes and listens, and what the status says. */
export function brief({ pipeline, status }: PlanResult<EventPipelineStatus>): object {
  const ready = status.conditions.find(({ type }) => type === 'Ready');
  // What is so of the broker is left to the tests of it.
  const others = status.conditions.filter(
    ({ type, status: value }) => !['Ready', 'BrokerConnected', 'TopologyReady'].includes(type) && value === 'True',
  );
  return {
    queues: pipeline?.topology.queues
      .map(({ name, bindings, adopts = '' }) => `${name}<-${bindings.map(({ type }) => type).join('+')}${adopts}`)
      .join(' '),
    consumers: pipeline?.consumers.map(({ name }) => name).join(' '),
    sources: pipeline?.sources.map(({ name }) => name).join(' '),
    ready: `${ready?.status} ${ready?.reason}: ${ready?.message}`,
    also: others.map(({ type }) => type).join(' '),
    steps: status.steps
      .map(({ name, state, backlog, deadLetters }) => `${name} ${state} ${backlog} ${deadLetters}`)
      .join(', '),
    sums: `${status.stepsRunning} ${status.backlog} ${status.deadLetters}`,
  };
}
