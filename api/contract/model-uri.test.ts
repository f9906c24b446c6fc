import { expect, it } from 'vitest';
import { modelUriPattern, placeOf } from './model-uri.ts';

it.each([
  ['file:///models/1', { path: '/models/1' }],
  ['file:///a%20b/m.onnx', { path: '/a b/m.onnx' }],
  ['file:///a/./b/../c', { path: '/a/c' }],
  ['pvc://models/iris/1', { path: '/mnt/claims/models/iris/1', claim: 'models' }],
  ['pvc://team.models/m%C3%A4', undefined],
  ['pvc://team.models/m%20n', { path: '/mnt/claims/team.models/m n', claim: 'team.models' }],
  // Nothing leads out of the claim.
  ['pvc://models/../../etc/passwd', { path: '/mnt/claims/models/etc/passwd', claim: 'models' }],
  ['pvc://models/%2e%2e/%2e%2e/etc', { path: '/mnt/claims/models/etc', claim: 'models' }],
  ['pvc://models/a%2F..%2F..%2Fetc', undefined],
  ['pvc://models', undefined],
  ['pvc:///models', undefined],
  ['pvc://Models/1', undefined],
  ['pvc://models:1/1', undefined],
  ['pvc://user@models/1', undefined],
  ['pvc://-models/1', undefined],
  ['pvc://models/1?x', undefined],
  ['https://models/1', undefined],
] as const)('%s', (uri, place) => {
  expect(modelUriPattern.test(uri)).toBe(place !== undefined);
  if (place) expect(placeOf(uri)).toEqual(place);
});
