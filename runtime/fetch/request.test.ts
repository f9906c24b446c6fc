import { describe, expect, it } from 'vitest';
import { accessOf } from './credentials.ts';
import { redirected, targetOf } from './request.ts';

const keys = { accessKeyId: 'AKID', secretAccessKey: 'SAK' };
const access = (uri: string, values: Record<string, string>) => accessOf(uri, { name: 'models', values });

describe('targetOf', () => {
  it.each([
    ['s3://iris/v1/model.onnx', {}, 'https://iris.s3.us-east-1.amazonaws.com/v1/model.onnx'],
    ['s3://iris/v1', { region: 'eu-west-1' }, 'https://iris.s3.eu-west-1.amazonaws.com/v1'],
    ['s3://iris.models/v1', {}, 'https://s3.us-east-1.amazonaws.com/iris.models/v1'],
    ['s3://iris/v1', { pathStyle: 'true' }, 'https://s3.us-east-1.amazonaws.com/iris/v1'],
    ['s3://iris/v1', { endpoint: 'http://minio:9000' }, 'http://minio:9000/iris/v1'],
    ['s3://iris/v1', { endpoint: 'http://minio:9000/', pathStyle: 'false' }, 'http://iris.minio:9000/v1'],
    ['s3://iris/a b+c&d(é)%25', { endpoint: 'http://m' }, 'http://m/iris/a%20b%2Bc%26d%28%C3%A9%29%25'],
    ['s3://iris/v1', { AWS_ENDPOINT_URL: 'http://m', AWS_REGION: 'x-1' }, 'http://m/iris/v1'],
  ])('%s with %j is %s', (uri, values, url) => {
    expect(targetOf(uri, access(uri, { ...keys, ...values })).url.href).toBe(url);
  });
});

describe('redirected', () => {
  const from = { url: new URL('https://a/m'), isTrusted: true };
  it.each([
    ['/n', 'https://a/n', true],
    ['https://a:443/n', 'https://a/n', true],
    ['https://a:8443/n', 'https://a:8443/n', false],
    ['//b/n', 'https://b/n', false],
    ['https://a.b/n', 'https://a.b/n', false],
  ])('to %s', (location, url, isTrusted) => {
    const next = redirected(from, location, 0, 'uri');
    expect([next.url.href, next.isTrusted]).toEqual([url, isTrusted]);
    // Trust that was lost does not come back.
    expect(redirected({ ...next, isTrusted: false }, 'https://a/m', 1, 'uri').isTrusted).toBe(false);
  });

  it.each(['http://a/m', 'ftp://a/m', 'https://u@a/m', undefined, 'https://'])('to %s is refused', (location) => {
    expect(() => redirected(from, location, 0, 'uri')).toThrow(expect.objectContaining({ code: 'SourceInvalid' }));
  });
});

describe('accessOf', () => {
  it.each([
    ['https://a/m', {}, 'it is not there, or has neither token nor both username and password'],
    ['https://a/m', { username: 'a' }, 'it is not there, or has neither token nor both username and password'],
    ['https://a/m', { username: 'a:4711', password: '' }, 'neither token nor both'],
    ['https://a/m', { username: 'a:4711', password: 'x' }, 'username holds a colon'],
    ['https://a/m', { token: '4711 4711' }, 'token holds a space'],
    ['https://a/m', { token: '4711\r\nx: y' }, 'token holds a line break'],
    ['https://a/m', { token: 'x', username: '4711' }, 'both token and username or password'],
    ['s3://b/k', { accessKeyId: '4711' }, 'it is not there, or lacks accessKeyId or secretAccessKey'],
    ['s3://b/k', { ...keys, endpoint: 'http://u:4711@m' }, 'endpoint is not http://HOST:PORT'],
    ['s3://b/k', { ...keys, endpoint: 'http://m/4711' }, 'endpoint is not http://HOST:PORT'],
    ['s3://b/k', { ...keys, endpoint: 'm:4711' }, 'endpoint is not http://HOST:PORT'],
    ['s3://b/k', { ...keys, region: '4711/' }, 'region is not'],
    ['s3://b/k', { ...keys, pathStyle: '4711' }, 'pathStyle is neither true nor false'],
  ])('%s with %j says what is wrong, and no value', (uri, values, detail) => {
    let message = '';
    try {
      access(uri, values);
    } catch (error) {
      expect(error).toMatchObject({ code: 'SecretInvalid' });
      message = (error as Error).message;
    }
    expect(message).toContain(detail);
    expect(message).toContain('Secret models');
    expect(message).not.toContain('4711');
  });

  it('takes the spelling of the AWS command line, and Levada’s own before it', () => {
    const values = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b\n', AWS_SESSION_TOKEN: 'c', accessKeyId: 'd' };
    expect(access('s3://b/k', values)).toMatchObject({ accessKeyId: 'd', secretAccessKey: 'b', sessionToken: 'c' });
  });
});
