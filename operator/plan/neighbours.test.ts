import { expect, it } from 'vitest';
import { brokerKey, listenersOf, neighboursIn } from './neighbours.ts';
import { orders, source, step } from './pipeline/testing.ts';

const rabbit = { rabbitmq: { secretRef: { name: 'rabbit' } } };

it('says what pipelines of the namespace emit, and which broker carries them', () => {
  const one = orders({ broker: rabbit, steps: [step('check', { emits: ['order.checked', 'order.created'] })] });
  const two = orders();
  const elsewhere = orders();
  const found = neighboursIn('default', [
    one,
    { ...two, metadata: { name: 'shop', namespace: 'default' } },
    { ...elsewhere, metadata: { name: 'far', namespace: 'team' } },
  ]);
  expect(found).toEqual({
    models: [],
    pipelines: {
      orders: { emits: ['order.created', 'order.checked'], steps: [{ name: 'check' }], broker: 'rabbit', listens: [] },
      shop: { emits: ['order.created'], steps: [{ name: 'check' }], broker: undefined, listens: [] },
    },
  });
});

it('says who listens to what of a model', () => {
  const event = { model: 'iris', type: 'model.promoted' };
  const listener = orders({ sources: [source(), { name: 'news', emits: 'iris.promoted', event }] });
  const other = { name: 'back', emits: 'iris.back', event: { ...event, type: 'model.rolledback' } };
  const third = { name: 'mail', emits: 'a', event: { ...event, model: 'fraud' } };
  const named = (name: string, sources: object[]) => ({ ...orders({ sources }), metadata: { name } });
  const found = neighboursIn('default', [
    listener,
    named('backs', [other]),
    named('both', [other, { name: 'news', emits: 'x', event }]),
    named('third', [third]),
    named('shop', [{ name: 'copy', emits: 'b', event: { pipeline: 'iris', type: 'model.promoted' } }]),
  ]);
  expect(listenersOf(found, 'iris', 'model.promoted')).toEqual(['orders', 'both']);
  expect(listenersOf(found, 'iris', 'model.rolledback')).toEqual(['backs', 'both']);
  expect(listenersOf(found, 'fraud', 'model.promoted')).toEqual(['third']);
  expect(listenersOf(found, 'churn', 'model.promoted')).toEqual([]);
});

it('takes a broker without a Secret for the default one', () => {
  expect(brokerKey(orders({ broker: { rabbitmq: { queues: { replicas: 3 } } } }).spec)).toBe(brokerKey(orders().spec));
});
