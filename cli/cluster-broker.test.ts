import { describe, expect, it } from 'vitest';
import { type LivePod, type LiveService, podBehind, serviceOf } from './cluster-broker.ts';

it.each([
  ['rabbitmq', 'shop/rabbitmq'],
  ['rabbitmq.brokers', 'brokers/rabbitmq'],
  ['rabbitmq.brokers.svc', 'brokers/rabbitmq'],
  ['rabbitmq.brokers.svc.cluster.local', 'brokers/rabbitmq'],
  ['rabbitmq-1.a.b', undefined],
  ['broker.example.com', undefined],
  ['127.0.0.1', undefined],
  ['::1', undefined],
  ['Rabbit', undefined],
])('the host %s is the Service %s', (host, expected) => {
  const place = serviceOf(host, 'shop');
  expect(place && `${place.namespace}/${place.name}`).toBe(expected);
});

describe('the pod behind a Service', () => {
  const service = (targetPort?: number | string): LiveService => ({
    metadata: { namespace: 'shop', name: 'rabbitmq' },
    spec: { selector: { app: 'rabbitmq' }, ports: [{ port: 5672, ...(targetPort !== undefined && { targetPort }) }] },
  });
  const pod = (name: string, ready: string, metadata: object = {}): LivePod => ({
    metadata: { namespace: 'shop', name, ...metadata },
    spec: { containers: [{}, { ports: [{ name: 'amqp', containerPort: 15672 }] }] },
    status: { conditions: [{ type: 'Ready', status: ready }] },
  });

  it.each([
    ['the port of that name', 'amqp', 15672],
    ['that number', 25672, 25672],
    ["the Service's own", undefined, 5672],
  ])('is one that is ready, at %s', (_, targetPort, port) => {
    const gone = pod('c', 'True', { deletionTimestamp: '2030-01-01T12:00:00Z' });
    const pods = [pod('a', 'False'), gone, { metadata: { name: 'b' } }, pod('d', 'True')];
    expect(podBehind(service(targetPort), 5672, pods)).toEqual({ namespace: 'shop', name: 'd', port });
  });

  it.each([
    ['has no port 5671', service(), 5671, [pod('a', 'True')]],
    ['has no pod that is ready', service(), 5672, [pod('a', 'False')]],
    ['leads to the port amqps, which the pod a has not', service('amqps'), 5672, [pod('a', 'True')]],
  ])('is said when it %s', (said, found, port, pods) => {
    expect(() => podBehind(found, port, pods)).toThrow(`the Service shop/rabbitmq ${said}`);
  });
});
