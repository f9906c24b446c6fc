import { expect, test } from 'vitest';
import { AddressRefused } from '../../net/address.ts';
import { backoffMs } from './fetch.ts';
import { connectionFailure } from './result.ts';

const coded = (code: string) => Object.assign(new Error(`connect ${code} 10.1.2.3:80`), { code });

test.each([
  [coded('ECONNREFUSED'), 'connection refused (ECONNREFUSED)', true],
  [coded('ENOTFOUND'), 'the host does not resolve (ENOTFOUND)', true],
  [coded('ESOMETHING'), 'the connection failed (ESOMETHING)', true],
  [new Error('10.1.2.3'), 'the connection failed', true],
  [new AggregateError([coded('ECONNREFUSED'), coded('ENETUNREACH')]), 'connection refused (ECONNREFUSED)', true],
  [coded('CERT_HAS_EXPIRED'), 'TLS failed (CERT_HAS_EXPIRED)', false],
  [coded('DEPTH_ZERO_SELF_SIGNED_CERT'), 'TLS failed (DEPTH_ZERO_SELF_SIGNED_CERT)', false],
  [coded('ERR_TLS_CERT_ALTNAME_INVALID'), 'TLS failed (ERR_TLS_CERT_ALTNAME_INVALID)', false],
  [new AddressRefused('metadata'), 'refused by the address policy: metadata addresses are never called', false],
])('%s is told without its address', (error, text, mayPass) => {
  expect(connectionFailure(error)).toEqual({ kind: 'failure', error: text, mayPass });
});

test('waits double, less up to a half', () => {
  expect([1, 2, 3, 4].map((attempt) => backoffMs(attempt, 0))).toEqual([50, 100, 200, 400]);
  expect(backoffMs(2, 1)).toBe(50);
});
