/** Pipelines that are told of rollouts: what their queues are bound to. */
import { expect, it } from 'vitest';
import { endingTopology } from '../../../api/contract/pipeline.ts';
import { planParts } from './parts.ts';
import { orders, source, step } from './testing.ts';

const event = { model: 'iris', type: 'model.promoted' };
const listener = orders({
  sources: [source(), { name: 'news', emits: 'iris.promoted', event }],
  steps: [step('tell', { consumes: ['iris.promoted'] })],
});

it('a source is bound in its own pipeline, to a key that no event of a type has', () => {
  const { topology, consumers } = planParts(listener);
  expect(topology.queues).toEqual([
    { name: 'tell', bindings: [{ pipeline: 'default/orders', type: 'iris.promoted' }] },
    { name: 'news', bindings: [{ pipeline: 'default/orders', type: 'model.promoted@iris' }] },
  ]);
  expect(consumers).toMatchObject([
    { name: 'tell' },
    { name: 'news', action: { kind: 'relay' }, emits: [{ type: 'iris.promoted' }] },
  ]);
});

it('of a pipeline that ends, nothing more comes in, and its steps go on', () => {
  expect(endingTopology(planParts(listener).topology).queues).toEqual([
    { name: 'tell', bindings: [{ pipeline: 'default/orders', type: 'iris.promoted' }] },
    { name: 'news', bindings: [] },
  ]);
});
