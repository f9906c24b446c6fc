import { expect, it } from 'vitest';
import type { Neighbours } from '../neighbours.ts';
import { brokenGates } from './references.ts';
import { iris } from './testing.ts';

const gate = (pipeline: string, step: string) => ({ deadLetters: { pipeline, step, maxRate: 0.01 } });
const steps = [{ name: 'score', model: 'iris' }, { name: 'rank', model: 'other' }, { name: 'notify' }];
const there: Neighbours = {
  models: ['iris'],
  pipelines: {
    orders: { emits: [], steps, broker: undefined, listens: [] },
    shop: { emits: [], steps: [], broker: undefined, listens: [] },
  },
};

it.each([
  ['orders', 'score', undefined],
  ['order', 'score', 'there is no EventPipeline order; there is orders, shop'],
  ['constructor', 'score', 'there is no EventPipeline constructor; there is orders, shop'],
  ['orders', 'scores', 'EventPipeline orders: no step scores asks model iris; score does'],
  ['orders', 'rank', 'EventPipeline orders: its step rank does not ask model iris; score does'],
  ['shop', 'score', 'EventPipeline shop: no step score asks model iris; none does'],
])('%s/%s: %s', (pipeline, step, why) => {
  const resource = iris({ rollout: { gates: [{ errorRate: { max: 0.01 } }, gate(pipeline, step)] } });
  expect(brokenGates(resource, there)).toEqual(why === undefined ? {} : { [`deadLetters/${pipeline}/${step}`]: why });
});
