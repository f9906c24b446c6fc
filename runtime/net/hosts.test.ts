import { describe, expect, test } from 'vitest';
import { errorCodeOf } from '../../api/errors.ts';
import { type Names, resolveHost, resolveInPod } from './hosts.ts';

const local: Record<string, string> = {
  inventory: 'http://127.0.0.1:9000',
  'api.example.com': 'https://localhost:9443',
};
const services: Record<string, string> = {
  'default/fraud': 'http://127.0.0.1:8001',
  'shop/fraud': 'http://127.0.0.1:8002',
};
const names: Names = {
  local: (host) => local[host],
  service: (namespace, service) => services[`${namespace}/${service}`],
};

describe('where a URL leads on a laptop', () => {
  test.each([
    [
      'a host of levada.local.yaml, path and query kept',
      'http://inventory/reserve?x=1',
      'http://127.0.0.1:9000/reserve?x=1',
    ],
    ['also one with dots, and its scheme', 'http://api.example.com/v1', 'https://localhost:9443/v1'],
    ['a Service of the own namespace', 'http://fraud/v2', 'http://127.0.0.1:8001/v2'],
    ['whatever port the cluster has', 'http://fraud:8080/v2', 'http://127.0.0.1:8001/v2'],
    ['a Service of another namespace', 'http://fraud.shop/v2', 'http://127.0.0.1:8002/v2'],
    ['with svc', 'http://fraud.shop.svc/v2', 'http://127.0.0.1:8002/v2'],
    ['in full', 'http://fraud.shop.svc.cluster.local/v2', 'http://127.0.0.1:8002/v2'],
    ['an address', 'http://127.0.0.1:5000/x', 'http://127.0.0.1:5000/x'],
    ['an IPv6 address', 'http://[::1]:5000/x', 'http://[::1]:5000/x'],
    ['localhost', 'http://localhost:5000/x', 'http://localhost:5000/x'],
    ['a name that DNS may know', 'https://example.org/x', 'https://example.org/x'],
  ])('%s', (_, from, to) => {
    expect(resolveHost(new URL(from), 'default', names).href).toBe(to);
  });

  test('a name without dots that nothing has is an error that says where to put it', () => {
    const resolve = () => resolveHost(new URL('http://nowhere/x'), 'default', names);
    expect(resolve).toThrow(/"nowhere" does not resolve: .*levada\.local\.yaml/);
    try {
      resolve();
    } catch (error) {
      expect(errorCodeOf(error)).toBe('HostUnknown');
    }
  });
});

test.each([
  ['a container of the pod, path and query kept', 'http://shop-box/handle?x=1', 'http://127.0.0.1:8081/handle?x=1'],
  ['a Service, which DNS knows', 'http://fraud/v2', 'http://fraud/v2'],
  ['what every object has', 'http://constructor/', 'http://constructor/'],
])('where a URL leads in a pod: %s', (_name, url, expected) => {
  expect(resolveInPod(new URL(url), { 'shop-box': 'http://127.0.0.1:8081' }).href).toBe(expected);
});
