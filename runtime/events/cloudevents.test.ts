import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Emitted } from '../steps/step.ts';
import { messageOf } from '../steps/testing.ts';
import { isTime } from './attributes.ts';
import { parseReply, type Reply, replyMode, toBinaryHeaders } from './cloudevents.ts';

const binary = { 'ce-specversion': '1.0', 'ce-id': '1', 'ce-source': '/s', 'ce-type': 't' };
const structured = { specversion: '1.0', id: '1', source: '/s', type: 't' };
const typed = { id: '1', source: '/s', type: 't', extensions: {} };
const eventJson = { 'content-type': 'application/cloudevents+json' };
const batchJson = { 'content-type': 'application/cloudevents-batch+json' };

const replyOf = (headers: Reply['headers'], body: unknown): Reply => ({
  headers,
  body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
});

/** The detail of the error, without what is the same in all. */
function refusal(headers: Reply['headers'], body: unknown): string {
  try {
    const events = parseReply(replyOf(headers, body), 'http://h/x');
    throw new Error(`it was taken: ${JSON.stringify(events)}`);
  } catch (error) {
    expect(error).toMatchObject({ code: 'ReplyInvalid', params: { url: 'http://h/x' } });
    return (error as { params: { detail: string } }).params.detail;
  }
}

/** Text that attributes may hold. */
const text = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 40 })
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is left out
  .filter((value) => !/[\u0000-\u001f\u007f-\u009f\p{Cs}\p{Noncharacter_Code_Point}]/u.test(value));
const uri = fc.webUrl({ withFragments: true, withQueryParameters: true });
const attribute = fc
  .stringMatching(/^[a-z0-9]{1,20}$/)
  .filter((name) => !/^(id|source|type|subject|time|specversion|data.*)$/.test(name));
const event = fc.record(
  {
    id: text,
    source: uri,
    type: text,
    subject: text,
    time: fc
      .date({ noInvalidDate: true, min: new Date('0001-01-01'), max: new Date('9999-12-31') })
      .map((date) => date.toISOString()),
    dataschema: uri,
    extensions: fc.dictionary(attribute, text, { maxKeys: 5 }),
    data: fc.jsonValue({ maxDepth: 3 }).filter((value) => !JSON.stringify(value).includes('__proto__')),
  },
  { requiredKeys: ['id', 'source', 'type', 'extensions', 'data'] },
);
const normal = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

test('an event survives binary mode', () => {
  fc.assert(
    fc.property(event, ({ data, ...attributes }) => {
      const headers = toBinaryHeaders(messageOf({ ...attributes }));
      for (const value of Object.values(headers)) expect(value).toMatch(/^[\x21-\x7e]*$/);
      const [parsed] = parseReply(replyOf(headers, JSON.stringify(data)), '');
      expect(parsed).toEqual({ time: messageOf().time, ...attributes, data: normal(data) });
    }),
  );
});

test('events survive structured mode and batches', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 5 }), (events) => {
      const format = ({ extensions, ...rest }: Emitted) => ({ specversion: '1.0', ...extensions, ...rest });
      expect(parseReply(replyOf(batchJson, events.map(format)), '')).toEqual(events.map(normal));
      for (const one of events) expect(parseReply(replyOf(eventJson, format(one)), '')).toEqual([normal(one)]);
    }),
  );
});

test('lone surrogates, which no UTF-8 can hold, are replaced in headers', () => {
  expect(toBinaryHeaders(messageOf({ subject: 'a\ud800b' }))['ce-subject']).toBe('a%EF%BF%BDb');
});

test.each<[string, Reply['headers'], string, ReturnType<typeof replyMode>]>([
  ['nothing', {}, '', 'empty'],
  ['nothing, with a type', { 'content-type': 'application/json' }, '', 'empty'],
  ['nothing, as a batch', batchJson, '', 'empty'],
  ['ce headers', binary, '', 'binary'],
  ['one ce header', { 'ce-type': 't' }, '{}', 'binary'],
  ['the event format', { 'content-type': 'Application/CloudEvents+JSON; charset=UTF-8' }, '{}', 'structured'],
  ['the event format, with ce headers beside it', { ...binary, ...eventJson }, '{}', 'structured'],
  ['the batch format', batchJson, '[]', 'batch'],
  ['another event format', { 'content-type': 'application/cloudevents+protobuf' }, 'x', 'structured'],
  ['JSON', { 'content-type': 'application/json' }, '{}', 'plain'],
  ['anything', {}, 'x', 'plain'],
])('%s', (_, headers, body, mode) => {
  expect(replyMode(replyOf(headers, body))).toBe(mode);
});

test.each<[string, Reply['headers'], unknown, Emitted[]]>([
  ['no body', { 'content-type': 'text/html' }, '', []],
  ['JSON', { 'content-type': 'application/json' }, { a: 1 }, [{ data: { a: 1 } }]],
  ['JSON without a type', {}, 'null', [{ data: null }]],
  ['no data', binary, '', [{ ...typed, data: null }]],
  ['quoted text', { ...binary, 'ce-subject': '"a \\"b\\" c"' }, '', [{ ...typed, subject: 'a "b" c', data: null }]],
  ['text with spaces', { ...binary, 'ce-subject': 'a b' }, '', [{ ...typed, subject: 'a b', data: null }]],
  ['hex in either case', { ...binary, 'ce-x': '%c3%A9' }, '', [{ ...typed, extensions: { x: 'é' }, data: null }]],
  ['one round of decoding', { ...binary, 'ce-x': '%2541' }, '', [{ ...typed, extensions: { x: '%41' }, data: null }]],
  ['an empty extension', { ...binary, 'ce-x': '' }, '', [{ ...typed, extensions: { x: '' }, data: null }]],
  ['no events', batchJson, [], []],
  [
    'extensions of other types',
    eventJson,
    { ...structured, a: true, b: 7, c: -1, d: null, subject: null },
    [{ ...typed, extensions: { a: 'true', b: '7', c: '-1' }, data: null }],
  ],
  ['data in base64', eventJson, { ...structured, data_base64: 'eyJhIjoxfQ==' }, [{ ...typed, data: { a: 1 } }]],
  ['no data in base64', eventJson, { ...structured, data_base64: '' }, [{ ...typed, data: null }]],
  [
    'a type of data that is JSON',
    eventJson,
    { ...structured, datacontenttype: 'application/x+json', data: 1 },
    [{ ...typed, data: 1 }],
  ],
  [
    'the largest batch',
    batchJson,
    Array.from({ length: 1000 }, () => structured),
    Array.from({ length: 1000 }, () => ({ ...typed, data: null })),
  ],
])('taken: %s', (_, headers, body, events) => {
  expect(parseReply(replyOf(headers, body), '')).toEqual(events);
});

const without = <T extends object>(value: T, key: keyof T): Partial<T> => {
  const { [key]: _, ...rest } = value;
  return rest as Partial<T>;
};

test.each<[string, Reply['headers'], unknown, string]>([
  ['no id', without(binary, 'ce-id'), '', 'ce-id is missing'],
  ['no source', without(binary, 'ce-source'), '', 'ce-source is missing'],
  ['no type', without(binary, 'ce-type'), '', 'ce-type is missing'],
  ['no specversion', { 'ce-type': 't' }, '', 'ce-specversion is missing'],
  ['version 0.3', { ...binary, 'ce-specversion': '0.3' }, '', 'ce-specversion is "0.3"; allowed: "1.0"'],
  ['an empty id', { ...binary, 'ce-id': '' }, '', 'ce-id is empty'],
  ['an id twice', { ...binary, 'ce-id': ['1', '2'] }, '', 'ce-id is there 2 times'],
  ['a name', { ...binary, 'ce-my-ext': '1' }, '', 'attribute "ce-my-ext": a name is lower-case letters and digits'],
  ['no name', { ...binary, 'ce-': '1' }, '', 'attribute "ce-": a name is lower-case letters and digits'],
  ['a time', { ...binary, 'ce-time': 'yesterday' }, '', 'ce-time is "yesterday"; allowed: RFC 3339'],
  ['a percent sign', { ...binary, 'ce-subject': '50%' }, '', 'ce-subject is "50%", which is not percent-encoded UTF-8'],
  ['half a letter', { ...binary, 'ce-x': '%C3' }, '', 'ce-x is "%C3", which is not percent-encoded UTF-8'],
  ['control characters', { ...binary, 'ce-x': 'a%00' }, '', 'ce-x has control characters'],
  ['raw UTF-8', { ...binary, 'ce-x': 'Ã©' }, '', 'ce-x has other characters than printable ASCII'],
  ['a source with spaces', { ...binary, 'ce-source': 'a%20b' }, '', 'ce-source has spaces: it is a URI'],
  [
    'two content types',
    { ...binary, 'ce-datacontenttype': 'text/xml' },
    '',
    'ce-datacontenttype: content-type says it',
  ],
  ['XML', { ...binary, 'content-type': 'text/xml' }, '<a/>', 'content-type is text/xml; allowed: application/json'],
  ['HTML', { 'content-type': 'text/html' }, '<a/>', 'content-type is text/html; allowed: application/json, …+json'],
  ['text', {}, 'OK', 'it is not JSON: '],
  [
    'another event format',
    { 'content-type': 'application/cloudevents+avro' },
    'x',
    'is application/cloudevents+avro; allowed',
  ],
  ['broken JSON', eventJson, '{"a"', 'it is not JSON: '],
  ['a list', eventJson, [structured], 'the event is a list of 1; allowed: a JSON object'],
  ['null', eventJson, 'null', 'the event is null; allowed: a JSON object'],
  ['a structured event without id', eventJson, without(structured, 'id'), 'the event: id is missing'],
  ['an id that is null', eventJson, { ...structured, id: null }, 'the event: id is missing'],
  ['an id that is a number', eventJson, { ...structured, id: 7 }, 'the event: id is 7; allowed: text'],
  ['an extension that is a map', eventJson, { ...structured, x: {} }, 'the event: x is a map; allowed: text'],
  ['an extension with a fraction', eventJson, { ...structured, x: 1.5 }, 'the event: x is 1.5; allowed: text'],
  ['a name with capitals', eventJson, { ...structured, orderId: '1' }, 'the event: attribute "orderId": a name is'],
  ['specversion 1', eventJson, { ...structured, specversion: 1 }, 'the event: specversion is 1; allowed: text'],
  ['a day that is none', eventJson, { ...structured, time: '2026-02-29T00:00:00Z' }, 'the event: time is "2026-02-29T'],
  [
    'data twice',
    eventJson,
    { ...structured, data: 1, data_base64: '' },
    'the event: both data and data_base64 are there',
  ],
  ['no base64', eventJson, { ...structured, data_base64: 'a?b=' }, 'the event: data_base64 is not base64'],
  ['base64 without padding', eventJson, { ...structured, data_base64: 'eyJhIjoxfQ' }, 'data_base64 is not base64'],
  [
    'base64 with bits left over',
    eventJson,
    { ...structured, data_base64: 'eyJhIjoxfR==' },
    'data_base64 is not base64',
  ],
  ['base64 of a number', eventJson, { ...structured, data_base64: 7 }, 'data_base64 is not base64'],
  ['base64 of no JSON', eventJson, { ...structured, data_base64: '/w==' }, 'the event: data_base64: it is not UTF-8'],
  [
    'data of another type',
    eventJson,
    { ...structured, datacontenttype: 'text/xml', data: '<a/>' },
    'datacontenttype is "text/xml"',
  ],
  ['__proto__', eventJson, '{"specversion":"1.0","__proto__":{"id":"1"}}', 'it has a key called __proto__'],
  ['__proto__ in the data', {}, '{"a":{"__proto__":{"admin":true}}}', 'it has a key called __proto__'],
  ['a batch of one, without the list', batchJson, structured, 'a batch is a list of events; found a map'],
  ['a batch that is too large', batchJson, Array(1001).fill(structured), '1001 events; at most 1000 in one reply'],
  [
    'the third of a batch',
    batchJson,
    [structured, structured, { ...structured, type: '' }],
    'event 2 of the batch: type is empty',
  ],
])('refused: %s', (_, headers, body, detail) => {
  expect(refusal(headers, body)).toContain(detail);
});

test.each<[string, boolean]>([
  ['2026-11-23T10:00:00Z', true],
  ['2026-11-23t10:00:00.123456789z', true],
  ['2026-11-23T10:00:00+05:30', true],
  ['2024-02-29T23:59:60Z', true],
  ['0000-02-29T00:00:00Z', true],
  ['1900-02-29T00:00:00Z', false],
  ['2026-11-31T00:00:00Z', false],
  ['2026-00-10T00:00:00Z', false],
  ['2026-11-23T24:00:00Z', false],
  ['2026-11-23T10:60:00Z', false],
  ['2026-11-23T10:00:00', false],
  ['2026-11-23 10:00:00Z', false],
  ['2026-11-23', false],
  ['2026-11-23T10:00:00+24:00', false],
  ['2026-11-23T10:00:00.Z', false],
])('%s is a time: %j', (value, is) => {
  expect(isTime(value)).toBe(is);
});
