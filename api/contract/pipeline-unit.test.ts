import { describe, expect, test } from 'vitest';
import { planParts } from '../../operator/plan/pipeline/parts.ts';
import { orders, source, step } from '../../operator/plan/pipeline/testing.ts';
import { pipelineUnitConfig } from './pipeline-unit.schema.ts';
import type { PipelineUnitConfig } from './pipeline-unit.ts';

/** Every kind of step and source, with all that may be said of them. */
const { topology, consumers, sources } = planParts(
  orders({
    broker: { rabbitmq: { secretRef: { name: 'mq' }, queues: { maxLength: 10, deliveryLimit: 3, replicas: 3 } } },
    events: { 'order.created': { schema: { type: 'object', required: ['id'] } } },
    sources: [
      source({ http: { path: '/orders/', assign: { id: '{% $uuid() %}' }, response: { status: 201, body: {} } } }),
      { name: 'copies', emits: 'copied', event: { pipeline: 'shop', type: 'a' } },
      { name: 'old', emits: 'order.old', id: 'order_id', queue: { name: 'Orders' } },
    ],
    steps: [
      step('check', { when: 'n > 0', group: 'fast', emits: ['checked'], idempotency: { key: 'n', retention: '1h' } }),
      step('box', { container: { image: 'box:1' } }),
      step('score', {
        model: { ref: 'fraud', inputs: { X: '{% [n] %}' }, output: '{% $outputs %}' },
        emits: ['scored'],
      }),
      step('change', { transform: '{% $ %}', emits: ['changed'] }),
      step('fetch', { fanout: { urls: '{% urls %}', output: '{% $results %}' }, emits: ['fetched'] }),
      step('out', { publish: { exchange: 'others', routingKey: 'a.b' } }),
    ],
  }),
);
const { pipeline } = topology;
const config: PipelineUnitConfig = {
  kind: 'pipeline',
  pipeline,
  unit: 'orders-fast',
  topology,
  placement: {
    pipeline,
    queues: { check: { from: [{ name: 'levada.default.orders.check', adopted: false }], dead: 'dead' } },
    types: ['order.created'],
  },
  consumers,
  sources: [],
  names: { local: { 'orders-box': 'http://127.0.0.1:8081' }, services: {} },
  secret: '/etc/levada/broker',
  secretName: 'default/mq',
  listen: { host: '0.0.0.0', serving: 8080, admin: 9090 },
};
const ofSource: PipelineUnitConfig = { ...config, consumers: [], sources };

describe('the configuration of a pod of a pipeline', () => {
  test.each([
    ['consumers of every kind', config],
    ['a source', ofSource],
  ])('%s: comes out as it went in', (_name, given) => {
    expect(pipelineUnitConfig.parse(JSON.parse(JSON.stringify(given)))).toEqual(given);
  });

  const [check] = consumers;
  test.each<[string, object, string]>([
    ['consumers beside a source', { ...config, sources }, 'consumers, or one source'],
    ['nothing to run', { ...config, consumers: [] }, 'consumers, or one source'],
    ['two sources', { ...ofSource, sources: [...sources, ...sources] }, '"maximum": 1'],
    ['parts of another pipeline', { ...config, placement: { ...config.placement, pipeline: 'a/b' } }, 'one pipeline'],
    ['what nobody reads', { ...config, uri: 'amqp://guest:guest@mq' }, '"unrecognized_keys"'],
    ['an action that is none', { ...config, consumers: [{ ...check, action: { kind: 'shell' } }] }, '"action"'],
    ['a port that is none', { ...config, listen: { ...config.listen, admin: 65_536 } }, '"maximum": 65535'],
  ])('%s: refused', (_name, given, message) => {
    expect(pipelineUnitConfig.safeParse(given).error?.message).toContain(message);
  });
});
