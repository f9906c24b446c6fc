import { describe, expect, test } from 'vitest';
import { LevadaError } from '../../api/errors.ts';
import { post, type Running, run, type Sending } from './testing.ts';

const orderSchema = {
  type: 'object',
  required: ['order_id', 'items'],
  properties: {
    order_id: { type: 'string' },
    items: { type: 'array', minItems: 1, items: { type: 'object', properties: { sku: { type: 'string' } } } },
  },
};
const order = { order_id: 'o-1', items: [{ sku: 'tea' }] };
const dataOf = ({ published }: Running, index = 0): unknown =>
  JSON.parse(Buffer.from(published[index]!.data).toString());

describe('an event', () => {
  test('has the body as its data, byte for byte, and says where it comes from', async () => {
    await using source = await run({}, { now: () => Date.UTC(2026, 0, 2, 3, 4, 5) });
    const body = '{ "big": 12345678901234567890, "float": 1.0, "text": "\\u00e9é" }';
    const { status, headers, json } = await post(source.url, body);
    const [event] = source.published;
    expect(Buffer.from(event!.data).toString()).toBe(body);
    expect(event).toMatchObject({
      id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
      source: '/default/orders/api',
      type: 'order.created',
      time: '2026-01-02T03:04:05.000Z',
      datacontenttype: 'application/json',
      delivery: { attempt: 1 },
    });
    expect(status).toBe(202);
    expect(json).toEqual({ id: event!.id });
    expect(headers['x-levada-event-id']).toBe(event!.id);
  });

  test.each(['[1]', '"text"', '7', 'true', 'null'])('may be %s where nothing is assigned', async (body) => {
    await using source = await run();
    expect((await post(source.url, body)).status).toBe(202);
    expect(Buffer.from(source.published[0]!.data).toString()).toBe(body);
  });

  test.each([
    ['application/json; charset=utf-8'],
    ['application/json;charset="UTF-8"'],
    ['application/vnd.order+json'],
    ['APPLICATION/JSON'],
  ])('may be sent as %s', async (type) => {
    await using source = await run();
    expect((await post(source.url, order, { headers: { 'content-type': type } })).status).toBe(202);
  });

  test('a byte order mark is not part of it', async () => {
    await using source = await run();
    expect((await post(source.url, '\ufeff{}')).status).toBe(202);
    expect(Buffer.from(source.published[0]!.data).toString()).toBe('{}');
  });

  test('the query of the request does not matter', async () => {
    await using source = await run();
    expect((await post(`${source.url}?a=1`, order)).status).toBe(202);
  });

  test.each(['PUT', 'PATCH'] as const)('may come by %s', async (method) => {
    await using source = await run({ method });
    expect((await post(source.url, order, { method })).status).toBe(202);
    expect((await post(source.url, order)).headers).toMatchObject({ allow: method });
  });
});

describe('the trace', () => {
  const valid = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const trace = async (headers: Record<string, string>) => {
    await using source = await run();
    await post(source.url, order, { headers });
    return source.published[0]!.extensions;
  };

  test('of the request goes on', async () => {
    const headers = { traceparent: valid, tracestate: 'congo=t61rcWkgMzE' };
    expect(await trace(headers)).toEqual(headers);
  });

  test.each([
    ['none', {}],
    ['an invalid one', { traceparent: '00-zz-b7ad6b7169203331-01', tracestate: 'congo=t61rcWkgMzE' }],
    ['one of zeros', { traceparent: `00-${'0'.repeat(32)}-b7ad6b7169203331-01` }],
  ])('%s: a new one begins, without a state', async (_name, headers) => {
    const { traceparent, tracestate } = await trace(headers);
    expect(traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    expect(traceparent).not.toContain('b7ad6b7169203331');
    expect(tracestate).toBeUndefined();
  });
});

describe('assign', () => {
  test('sets and overrides fields; expressions see the body as it was sent, and the event to be', async () => {
    await using source = await run({
      assign: {
        status: 'pending',
        total: '{% $sum(items.price) %}',
        was: '{% status %}',
        nested: { id: '{% $event.id %}', type: ['{% $event.type %}'] },
      },
    });
    await post(source.url, { status: 'hacked', items: [{ price: 2 }, { price: 3 }] });
    expect(dataOf(source)).toEqual({
      status: 'pending',
      items: [{ price: 2 }, { price: 3 }],
      total: 5,
      was: 'hacked',
      nested: { id: source.published[0]!.id, type: ['order.created'] },
    });
  });

  test('a field whose expression gives nothing is not there, whatever the client sent', async () => {
    await using source = await run({ assign: { owner: '{% user.name %}' } });
    await post(source.url, { owner: 'me', a: 1 });
    expect(dataOf(source)).toEqual({ a: 1 });
  });

  test.each([
    ['[1,2]', 'a list of 2'],
    ['"a"', '"a"'],
    ['null', 'null'],
    ['7', '7'],
  ])('%s is no object', async (body, found) => {
    await using source = await run({ assign: { a: 1 } });
    const { status, json } = await post(source.url, body);
    expect([status, json]).toEqual([
      400,
      {
        error: {
          code: 'InvalidInput',
          field: 'body',
          message: `body: found ${found}; allowed: a JSON object`,
        },
      },
    ]);
    expect(source.published).toEqual([]);
  });

  test('an expression that fails on the data is the data’s fault', async () => {
    await using source = await run({ assign: { a: '{% $number(total) %}' } });
    const { status, headers } = await post(source.url, { total: 'much' });
    expect([status, headers['x-levada-error']]).toEqual([422, 'ExpressionFailed']);
    expect(source.published).toEqual([]);
  });
});

describe('the schema', () => {
  test('is checked after assign, and the field that breaks it is named', async () => {
    await using source = await run({
      emits: { type: 'order.created', schema: orderSchema },
      assign: { order_id: 'o-2' },
    });
    expect((await post(source.url, { items: [{ sku: 'tea' }] })).status).toBe(202);
    const { status, headers, json } = await post(source.url, { items: [{ sku: 7 }] });
    expect(status).toBe(422);
    expect(headers['x-levada-error']).toBe('EventBreaksSchema');
    expect(json.error.code).toBe('EventBreaksSchema');
    expect(json.error.field).toMatch(/items.*0.*sku/);
    expect(json.error.message).toContain('allowed: ');
    expect(source.published).toHaveLength(1);
  });

  test('the body itself has a name as well', async () => {
    await using source = await run({ emits: { type: 'order.created', schema: { type: 'object' } } });
    expect((await post(source.url, '[]')).json.error.field).toBe('body');
  });
});

describe('the answer', () => {
  test('is what the configuration says, with what was assigned', async () => {
    await using source = await run({
      assign: { order_id: 'o-9' },
      response: { status: 201, body: { message: 'accepted', order: '{% order_id %}', id: '{% $event.id %}' } },
    });
    const { status, headers, json } = await post(source.url, {});
    expect(status).toBe(201);
    expect(headers['content-type']).toBe('application/json');
    expect(json).toEqual({ message: 'accepted', order: 'o-9', id: source.published[0]!.id });
  });

  test.each([204, 205])('%i has no body', async (code) => {
    await using source = await run({ response: { status: code, body: { a: 1 } } });
    const { status, headers, text } = await post(source.url, order);
    expect([status, text, headers['content-type']]).toEqual([code, '', undefined]);
    expect(headers['x-levada-event-id']).toBe(source.published[0]!.id);
  });

  test('an expression that gives nothing is null', async () => {
    await using source = await run({ response: { status: 200, body: '{% nothing %}' } });
    expect((await post(source.url, order)).text).toBe('null');
  });

  test('one that cannot be made takes no event', async () => {
    await using source = await run({ response: { status: 200, body: '{% $number(order_id) %}' } });
    const { status, headers } = await post(source.url, order);
    expect([status, headers['x-levada-error']]).toEqual([422, 'ExpressionFailed']);
    expect(source.published).toEqual([]);
  });

  test.each([
    ['BrokerFull', { found: 9, limit: 8 }, 503, '1'],
    ['BrokerUnavailable', { detail: 'gone', retryAfterMs: 4_200 }, 503, '5'],
    ['SourceUnavailable', { detail: 'no queue' }, 503, '1'],
    ['MessageTooLarge', { found: 9, limit: 8 }, 413, undefined],
  ] as const)('%s of the broker is the client’s to know', async (code, params, status, retryAfter) => {
    await using source = await run({}, { publish: () => Promise.reject(new LevadaError(code, params)) });
    const got = await post(source.url, order);
    expect(got.status).toBe(status);
    expect(got.headers['x-levada-error']).toBe(code);
    expect(got.headers['retry-after']).toBe(retryAfter);
    expect(got.json.error).toEqual({ code, message: new LevadaError(code, params).message });
    expect(source.logged).toEqual([]);
  });

  test.each([
    ['an error of any kind', () => Promise.reject(new TypeError('secret 42'))],
    ['something that is no error', () => Promise.reject('secret 42')],
    ['a code that is not for clients', () => Promise.reject(new LevadaError('HostUnknown', { found: 'secret 42' }))],
    [
      'a throw',
      () => {
        throw new Error('secret 42');
      },
    ],
  ])('%s from the broker is a 500 that says nothing, and is logged', async (_name, publish) => {
    await using source = await run({}, { publish });
    const got = await post(source.url, order);
    expect([got.status, got.json.error.code]).toEqual([500, 'InternalError']);
    expect(got.text).not.toContain('secret');
    expect(source.logged).toEqual([expect.objectContaining({ pipeline: 'default/orders', source: 'api' })]);
  });

  test('each is observed, with its code', async () => {
    await using source = await run();
    await post(source.url, order);
    await post(source.url, 'x');
    await post(`${source.url}x`, order);
    expect(source.outcomes).toEqual([
      { status: 202, ms: expect.any(Number) },
      { status: 400, code: 'InvalidJson', ms: expect.any(Number) },
      { status: 404, code: 'RouteNotFound', ms: expect.any(Number) },
    ]);
    for (const { ms } of source.outcomes) expect(ms).toBeGreaterThan(0);
  });
});

describe('what is not taken', () => {
  const deep = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;
  const wrong: [string, string | Buffer, Sending, number, string, string][] = [
    ['nothing', '', {}, 400, 'InvalidJson', 'it is empty'],
    ['broken JSON', '{"a": x}', {}, 400, 'InvalidJson', 'found "x" at line 1 column 7'],
    ['half of it', '{"a": [1,', {}, 400, 'InvalidJson', 'it ends too early, at line 1 column 10'],
    ['a form', 'a=1&b=2', {}, 400, 'InvalidJson', 'found "a" at line 1 column 1'],
    ['two values', '{} {}', {}, 400, 'InvalidJson', 'found "{" at line 1 column 4'],
    ['NaN', '{"a": NaN}', {}, 400, 'InvalidJson', 'column 7'],
    ['Latin-1', Buffer.from('{"a": "é"}', 'latin1'), {}, 400, 'InvalidJson', 'UTF-8'],
    ['half a surrogate in bytes', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), {}, 400, 'InvalidJson', 'UTF-8'],
    ['UTF-16', Buffer.from('{"a": 1}', 'utf16le'), {}, 400, 'InvalidJson', 'found U+0000'],
    ['what is too deep', deep(200), {}, 400, 'InvalidJson', 'deep'],
    ['what is very deep', deep(400_000), {}, 400, 'InvalidJson', 'deep'],
    ['__proto__', '{"a": {"__proto__": {"admin": true}}}', {}, 400, 'InvalidJson', '__proto__'],
    [
      'a form that says so',
      'a=1',
      { headers: { 'content-type': 'application/x-www-form-urlencoded' } },
      415,
      'UnsupportedMediaType',
      'application/x-www-form-urlencoded',
    ],
    ['text', '{}', { headers: { 'content-type': 'text/plain' } }, 415, 'UnsupportedMediaType', 'text/plain'],
    ['no media type', '{}', { headers: { 'content-type': 'json' } }, 415, 'UnsupportedMediaType', 'json'],
    ['an empty content-type', '{}', { headers: { 'content-type': '' } }, 415, 'UnsupportedMediaType', 'content-type'],
    [
      'another charset',
      '{}',
      { headers: { 'content-type': 'application/json; charset=latin1' } },
      415,
      'UnsupportedMediaType',
      'UTF-8',
    ],
    ['compression', '{}', { headers: { 'content-encoding': 'gzip' } }, 415, 'UnsupportedMediaType', 'gzip'],
    [
      'a batch',
      '[]',
      { headers: { 'content-type': 'application/cloudevents-batch+json' } },
      415,
      'UnsupportedMediaType',
      'application/cloudevents+json',
    ],
    ['a body that is too large', `"${'x'.repeat(2 ** 20)}"`, {}, 413, 'BodyTooLarge', '1048576'],
    [
      'one that says no length',
      `"${'x'.repeat(2 ** 20)}"`,
      { headers: { 'transfer-encoding': 'chunked' } },
      413,
      'BodyTooLarge',
      '1048576',
    ],
    ['another method', '{}', { method: 'PUT' }, 405, 'MethodNotAllowed', 'PUT'],
    ['a GET', '', { method: 'GET' }, 405, 'MethodNotAllowed', 'POST'],
    ['a DELETE', '', { method: 'DELETE' }, 405, 'MethodNotAllowed', 'POST'],
    ['OPTIONS', '', { method: 'OPTIONS' }, 405, 'MethodNotAllowed', 'POST'],
    ['a method of WebDAV', '', { method: 'PROPFIND' }, 405, 'MethodNotAllowed', 'POST'],
  ];
  test.each(wrong)('%s', async (_name, body, sending, status, code, says) => {
    await using source = await run();
    const { headers, text, json, ...got } = await post(source.url, body, sending);
    expect([got.status, headers['x-levada-error'], json.error.code], text).toEqual([status, code, code]);
    expect(json.error.message).toContain(says);
    expect(Object.keys(json)).toEqual(['error']);
    if (status === 405) expect(headers.allow).toBe('POST');
    expect(source.published).toEqual([]);
    expect(source.logged).toEqual([]);
    expect((await post(source.url, order)).status).toBe(202);
  });

  test('a HEAD is told so without a body', async () => {
    await using source = await run();
    const { status, headers, text } = await post(source.url, '', { method: 'HEAD' });
    expect([status, headers['x-levada-error'], headers.allow, text]).toEqual([405, 'MethodNotAllowed', 'POST', '']);
  });

  test.each(['orders', 'orders//', 'Orders/', 'healthz', '', 'orders/x', '%zz', 'orders/%', '%00', '../orders/'])(
    'another path: /%s',
    async (path) => {
      await using source = await run();
      const { status, headers, json } = await post(`http://127.0.0.1:${source.source.port}/${path}`, order);
      if (path === '../orders/') return expect(status).toBe(202); // the client has resolved it
      expect([status, headers['x-levada-error']]).toEqual([404, 'RouteNotFound']);
      expect(json.error.message).toContain('allowed: POST /orders/');
      expect(source.published).toEqual([]);
    },
  );

  test('a body that has no content-type is read as JSON', async () => {
    await using source = await run();
    const answer = await fetch(source.url, { method: 'POST', body: Buffer.from('{"a":1}') });
    expect(answer.status).toBe(202);
    expect(dataOf(source)).toEqual({ a: 1 });
  });

  test('a limit can be another one', async () => {
    await using source = await run({}, { limits: { maxBodyBytes: 10 } });
    expect((await post(source.url, '"12345678"')).status).toBe(202);
    expect((await post(source.url, '"123456789"')).status).toBe(413);
  });
});
