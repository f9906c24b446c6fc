import { expect, test } from 'vitest';
import { LevadaError } from '../../../api/errors.ts';
import type { StepEnvironment } from '../step.ts';
import { policyOf, redirectTarget, targetOf } from './target.ts';

const laptop: StepEnvironment = {
  resolve(url) {
    if (url.hostname === 'inventory') return new URL(url.pathname + url.search, 'http://127.0.0.1:9000');
    if (url.hostname.includes('.')) return url;
    throw new LevadaError('HostUnknown', { found: url.hostname, detail: 'no service of that name' });
  },
};

test.each([
  ['', 'it is not a URL'],
  ['/items/1', 'it is not a URL'],
  ['http://', 'it is not a URL'],
  ['http://a b/', 'it is not a URL'],
  ['http://host:99999/', 'it is not a URL'],
  ['file:///etc/passwd', 'the scheme is file; allowed: http, https'],
  ['gopher://a.test/', 'the scheme is gopher; allowed: http, https'],
  ['http://ann:secret@a.test/', 'a URL with user or password is not called'],
  ['http://ann@a.test/', 'a URL with user or password is not called'],
  ['http://nowhere/', 'the host nowhere does not resolve: no service of that name'],
])('%j is not called: %s', (text, message) => {
  expect(() => targetOf(text, laptop)).toThrow(new Error(message));
});

test('a mapped host is called where it is, under its own policy', () => {
  const target = targetOf('http://inventory/items?id=1#top', laptop);
  expect(target.address.href).toBe('http://127.0.0.1:9000/items?id=1');
  expect(policyOf(target, 'Deny')).toBe('Allow');
  expect(policyOf(targetOf('http://api.test/', laptop), 'Deny')).toBe('Deny');
  expect(policyOf(targetOf('http://api.test/', laptop), 'Allow')).toBe('Allow');
});

test.each([
  ['http://api.test/a/b?c=1', '/d', 'http://api.test/d'],
  ['http://api.test/a/b?c=1', 'd?e=2#f', 'http://api.test/a/d?e=2'],
  ['http://api.test/a/', '//other.test/x', 'http://other.test/x'],
  ['http://api.test/a/', 'https://api.test/a/', 'https://api.test/a/'],
  ['https://api.test/a/', 'https://other.test/', 'https://other.test/'],
])('from %s to %s', (from, location, to) => {
  expect(redirectTarget(location, targetOf(from, laptop), laptop).url.href).toBe(to);
});

test.each([
  ['https://api.test/', 'http://api.test/', 'a redirect from https to http is not followed'],
  ['http://api.test/', 'http://ann:secret@api.test/', 'a URL with user or password is not called'],
  ['http://api.test/', 'file:///etc/passwd', 'the scheme is file; allowed: http, https'],
  ['http://api.test/', 'http://', 'it is not a URL'],
])('from %s to %s is not followed: %s', (from, location, message) => {
  expect(() => redirectTarget(location, targetOf(from, laptop), laptop)).toThrow(new Error(message));
});

test('trust goes from mapped host to mapped host, and to the address that a host is mapped to', () => {
  const mapped = targetOf('http://inventory/a', laptop);
  const trusted = (location: string) => redirectTarget(location, mapped, laptop).isMapped;
  expect(trusted('/b')).toBe(true);
  expect(trusted('http://127.0.0.1:9000/b')).toBe(true);
  expect(trusted('http://127.0.0.1:9001/b')).toBe(false);
  expect(trusted('http://api.test/')).toBe(false);
  const stranger = targetOf('http://api.test/', laptop);
  const lured = redirectTarget('http://inventory/b', stranger, laptop);
  expect(lured.address.href).toBe('http://127.0.0.1:9000/b');
  expect(policyOf(lured, 'Deny')).toBe('Deny');
});
