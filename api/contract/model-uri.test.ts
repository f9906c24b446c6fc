import { expect, it } from 'vitest';
import { modelUriPattern, mountedUriPattern, placeOf } from './model-uri.ts';

it.each([
  ['file:///models/1', { path: '/models/1' }],
  ['file:///a%20b/m.onnx', { path: '/a b/m.onnx' }],
  ['file:///a/./b/../c', { path: '/a/c' }],
  ['pvc://models/iris/1', { path: '/mnt/claims/models/iris/1', mounted: { claim: 'models' } }],
  ['pvc://team.models/m%C3%A4', undefined],
  ['pvc://team.models/m%20n', { path: '/mnt/claims/team.models/m n', mounted: { claim: 'team.models' } }],
  // Nothing leads out of the claim.
  ['pvc://models/../../etc/passwd', { path: '/mnt/claims/models/etc/passwd', mounted: { claim: 'models' } }],
  ['pvc://models/%2e%2e/%2e%2e/etc', { path: '/mnt/claims/models/etc', mounted: { claim: 'models' } }],
  ['pvc://models/a%2F..%2F..%2Fetc', undefined],
  ['pvc://models', undefined],
  ['pvc:///models', undefined],
  ['pvc://Models/1', undefined],
  ['pvc://models:1/1', undefined],
  ['pvc://user@models/1', undefined],
  ['pvc://-models/1', undefined],
  ['pvc://models/1?x', undefined],
  [
    'configmap://fraud-model/model.onnx',
    { path: '/mnt/configmaps/fraud-model/model.onnx', mounted: { configMap: 'fraud-model' } },
  ],
  ['configmap://m/_A-1.onnx', { path: '/mnt/configmaps/m/_A-1.onnx', mounted: { configMap: 'm' } }],
  // A key is no path.
  ['configmap://m/a/b', undefined],
  ['configmap://m/..', undefined],
  ['configmap://m/..data', undefined],
  ['configmap://m/a%20b', undefined],
  ['configmap://m/', undefined],
  ['configmap://m', undefined],
  ['configmap://M/a', undefined],
  ['https://models/1', undefined],
] as const)('%s', (uri, place) => {
  expect(mountedUriPattern.test(uri)).toBe(place !== undefined);
  if (place) expect(placeOf(uri)).toEqual(place);
});

it.each([
  ['https://models/1', true],
  ['http://127.0.0.1:8080/m%20n@1', true],
  ['s3://iris-models/a b/ä', true],
  ['configmap://m/a', true],
  ['https://models', false],
  ['https://models/', false],
  ['https://u@models/1', false],
  ['https://u:p@models/1', false],
  ['https://models/1?sig=x', false],
  ['https://models/1#x', false],
  ['https://models/ä', false],
  ['https://mod els/1', false],
  ['HTTPS://models/1', false],
  ['s3://b/k', false],
  ['s3://u@iris/k', false],
  ['s3://iris/k?x', false],
])('%s may be what a version is: %s', (uri, isOne) => expect(modelUriPattern.test(uri)).toBe(isOne));

it('says that what is fetched is in a folder of its own', () => {
  expect(placeOf('s3://iris/k')).toEqual({ path: '/mnt/fetched/model.onnx' });
});
