import { expect, it } from 'vitest';
import { refusal } from './failure.ts';

const forbidden = (rest: string) => `deployments.apps "iris-v1" is forbidden: ${rest}`;

it.each([
  [401, 'Unauthorized', 'ClusterUnauthorized'],
  [403, forbidden('User "levada" cannot patch resource "deployments" in API group "apps"'), 'ClusterForbidden'],
  [403, forbidden('exceeded quota: few, requested: count/deployments.apps=1'), 'ClusterQuotaExceeded'],
  [403, 'admission webhook "validate.kyverno.svc" denied the request: no team label', 'ClusterRefused'],
  [403, forbidden(`ValidatingAdmissionPolicy 'teams' with binding 'all' denied request: no team`), 'ClusterRefused'],
  // Who may write policies is a right as any other.
  [
    403,
    'validatingadmissionpolicies.admissionregistration.k8s.io is forbidden: User "levada" cannot list resource "validatingadmissionpolicies"',
    'ClusterForbidden',
  ],
  [403, forbidden('unable to create new content in namespace shop because it is being terminated'), 'ClusterBusy'],
  [404, 'deployments.apps "iris-v1" not found', 'ClusterNotFound'],
  [409, 'the object has been modified', 'ClusterConflict'],
  [410, 'too old resource version', 'ClusterExpired'],
  [422, 'spec.replicas: Invalid value: -1', 'ClusterRefused'],
  [429, 'too many requests', 'ClusterBusy'],
  [500, 'failed calling webhook "validate.kyverno.svc": no endpoints available', 'ClusterUnavailable'],
  [500, '.spec.toleration: field not declared in schema', 'ClusterRefused'],
  [503, '', 'ClusterUnavailable'],
  [504, 'timed out', 'ClusterUnavailable'],
] as const)('%i %s is %s', (status, message, code) => {
  expect(refusal('patch deployments', status, { message })).toMatchObject({ code });
});

it('is asked again at once only where the API server is busy: a namespace that ends takes its time', () => {
  const waitOf = (status: number, message: string, retryAfterMs?: number) =>
    (refusal('patch', status, { message }, retryAfterMs) as { retryAfterMs?: number }).retryAfterMs;
  expect(waitOf(429, 'too many requests')).toBe(1_000);
  expect(waitOf(429, 'too many requests', 3_000)).toBe(3_000);
  expect(waitOf(403, 'because it is being terminated')).toBeUndefined();
});
