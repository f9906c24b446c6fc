import { describe, expect, test } from 'vitest';
import { post, run } from './testing.ts';

const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const binary = {
  'ce-specversion': '1.0',
  'ce-id': 'e-1',
  'ce-source': '/shop/web',
  'ce-type': 'order.created',
};
const structured = { specversion: '1.0', id: 'e-1', source: '/shop/web', type: 'order.created' };
const type = { 'content-type': 'application/cloudevents+json; charset=utf-8' };

describe('a CloudEvent keeps what it says of itself', () => {
  const attributes = { subject: 'o-1 é', time: '2025-05-06T07:08:09Z', dataschema: 'https://example.com/order' };

  test('in binary mode', async () => {
    await using source = await run();
    const headers = {
      ...binary,
      'ce-subject': 'o-1%20%C3%A9',
      'ce-time': attributes.time,
      'ce-dataschema': attributes.dataschema,
      'ce-tenant': 'acme',
      traceparent: trace,
    };
    const { status, json, headers: got } = await post(source.url, '{"a": 1.0}', { headers });
    expect([status, json, got['x-levada-event-id']]).toEqual([202, { id: 'e-1' }, 'e-1']);
    const { data, ...event } = source.published[0]!;
    expect(Buffer.from(data).toString()).toBe('{"a": 1.0}');
    expect(event).toEqual({
      ...attributes,
      id: 'e-1',
      source: '/shop/web',
      type: 'order.created',
      datacontenttype: 'application/json',
      extensions: { tenant: 'acme', traceparent: trace },
      delivery: { attempt: 1 },
    });
  });

  test('in structured mode', async () => {
    await using source = await run({ assign: { from: '{% $event.tenant %}' } });
    const event = { ...structured, ...attributes, tenant: 'acme', retries: 3, last: true, data: { a: 1 } };
    expect((await post(source.url, event, { headers: type })).status).toBe(202);
    const { data, extensions, ...rest } = source.published[0]!;
    expect(JSON.parse(Buffer.from(data).toString())).toEqual({ a: 1, from: 'acme' });
    expect(rest).toMatchObject({ ...attributes, id: 'e-1', source: '/shop/web', type: 'order.created' });
    expect(extensions).toMatchObject({ tenant: 'acme', retries: '3', last: 'true' });
  });

  test('its own trace comes before that of the request', async () => {
    await using source = await run();
    const own = trace.replace('0af7', '1111');
    await post(source.url, {}, { headers: { ...binary, 'ce-traceparent': own, traceparent: trace } });
    await post(
      source.url,
      { ...structured, traceparent: 'broken', data: 1 },
      { headers: { ...type, traceparent: trace } },
    );
    expect(source.published.map(({ extensions }) => extensions['traceparent'])).toEqual([own, trace]);
  });

  test('an id that no header can hold is encoded there', async () => {
    await using source = await run();
    const { headers, json } = await post(source.url, { ...structured, id: 'é 日', data: 1 }, { headers: type });
    expect(headers['x-levada-event-id']).toBe('%C3%A9%20%E6%97%A5');
    expect(json).toEqual({ id: 'é 日' });
  });

  test('without data it has none', async () => {
    await using source = await run();
    expect((await post(source.url, structured, { headers: type })).status).toBe(202);
    expect((await post(source.url, '', { headers: binary })).status).toBe(202);
    for (const { data } of source.published) expect(['null', '']).toContain(Buffer.from(data).toString());
  });

  test('a time is given to one that has none', async () => {
    await using source = await run({}, { now: () => 0 });
    await post(source.url, {}, { headers: binary });
    expect(source.published[0]!.time).toBe('1970-01-01T00:00:00.000Z');
  });
});

const { 'ce-id': _, ...noId } = binary;
const { specversion: __, ...noVersion } = structured;

describe('a CloudEvent that is not one', () => {
  test.each<[string, Record<string, string | string[]>, number, string, string]>([
    [
      'another type',
      { ...binary, 'ce-type': 'order.paid' },
      422,
      'InvalidInput',
      'found "order.paid"; allowed: order.created',
    ],
    ['no id', noId, 400, 'InvalidInput', 'ce-id is missing'],
    ['only an extension', { 'ce-tenant': 'acme' }, 400, 'InvalidInput', 'ce-specversion is missing'],
    ['another version', { ...binary, 'ce-specversion': '0.3' }, 400, 'InvalidInput', 'ce-specversion'],
    ['a time that does not exist', { ...binary, 'ce-time': '2025-02-30T00:00:00Z' }, 400, 'InvalidInput', 'ce-time'],
    ['two ids', { ...binary, 'ce-id': ['a', 'b'] }, 400, 'InvalidInput', 'ce-id'],
    ['a name with other characters', { ...binary, 'ce-a_b': '1' }, 400, 'InvalidInput', 'ce-a_b'],
    ['a bad encoding', { ...binary, 'ce-subject': '%C3%28' }, 400, 'InvalidInput', 'ce-subject'],
  ])('in binary mode: %s', async (_name, headers, status, code, says) => {
    await using source = await run();
    const got = await post(source.url, {}, { headers });
    expect([got.status, got.headers['x-levada-error']], got.text).toEqual([status, code]);
    expect(got.json.error.message).toContain(says);
    expect(source.published).toEqual([]);
  });

  test.each<[string, unknown, number, string, string]>([
    ['another type', { ...structured, type: 'order.paid', data: 1 }, 422, 'InvalidInput', 'order.paid'],
    ['no version', noVersion, 400, 'InvalidInput', 'specversion is missing'],
    ['a list', [structured], 400, 'InvalidInput', 'a list of 1'],
    ['an attribute that is a map', { ...structured, tenant: {} }, 400, 'InvalidInput', 'tenant'],
    ['data twice', { ...structured, data: 1, data_base64: 'MQ==' }, 400, 'InvalidInput', 'data_base64'],
    [
      'data of another type',
      { ...structured, datacontenttype: 'text/xml', data: '<a/>' },
      400,
      'InvalidInput',
      'text/xml',
    ],
    ['a long id', { ...structured, id: 'x'.repeat(20_000) }, 400, 'InvalidInput', '16384'],
    ['broken JSON', '{"specversion": ', 400, 'InvalidJson', 'line 1 column 17'],
    ['nothing', '', 400, 'InvalidInput', 'empty'],
  ])('in structured mode: %s', async (_name, body, status, code, says) => {
    await using source = await run();
    const got = await post(source.url, body, { headers: type });
    expect([got.status, got.headers['x-levada-error']], got.text).toEqual([status, code]);
    expect(got.json.error.message).toContain(says);
    expect(source.published).toEqual([]);
  });
});
