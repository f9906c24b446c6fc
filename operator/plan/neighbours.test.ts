import { expect, it } from 'vitest';
import { brokerKey, neighboursIn } from './neighbours.ts';
import { orders, step } from './pipeline/testing.ts';

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
      orders: { emits: ['order.created', 'order.checked'], steps: [{ name: 'check' }], broker: 'rabbit' },
      shop: { emits: ['order.created'], steps: [{ name: 'check' }], broker: undefined },
    },
  });
});

it('takes a broker without a Secret for the default one', () => {
  expect(brokerKey(orders({ broker: { rabbitmq: { queues: { replicas: 3 } } } }).spec)).toBe(brokerKey(orders().spec));
});
