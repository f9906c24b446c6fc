import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isJsonType, JsonProblem, printable, readJson } from './json.ts';

const read = (text: string) => readJson(Buffer.from(text));

test('whatever JSON can hold comes back', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
      fc.pre(!JSON.stringify(value).includes('__proto__'));
      expect(readJson(Buffer.from(JSON.stringify(value)))).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});

test.each<[string, Uint8Array | string, RegExp]>([
  ['nothing', '', /^it is not JSON: Unexpected end/],
  ['a word', 'yes', /^it is not JSON: /],
  ['two values', '1 2', /^it is not JSON: /],
  ['NaN', '[NaN]', /^it is not JSON: /],
  ['bytes', new Uint8Array([0x22, 0xff, 0x22]), /^it is not UTF-8$/],
  ['an overlong encoding', new Uint8Array([0x22, 0xc0, 0xaf, 0x22]), /^it is not UTF-8$/],
  ['129 lists', `${'['.repeat(129)}${']'.repeat(129)}`, /^it is nested deeper than 128 levels$/],
  ['a million lists', '['.repeat(1_000_000), /^it is nested deeper than 128 levels$/],
  ['__proto__', '{"a":[{"__proto__":{}}]}', /^it has a key called __proto__$/],
  ['__proto__ with an escape', '{"\\u005f_proto__":1}', /^it has a key called __proto__$/],
])('%s is refused', (_, bytes, message) => {
  const run = () => readJson(Buffer.from(bytes as string));
  expect(run).toThrow(JsonProblem);
  expect(run).toThrow(message);
});

test.each([
  ['128 lists', `${'['.repeat(128)}${']'.repeat(128)}`],
  ['brackets inside of text', `"${'['.repeat(500)}\\"${'{'.repeat(500)}"`],
  ['a byte order mark', '\ufeff{}'],
  ['the word as a value', '["__proto__","\\u0041"]'],
])('%s is taken', (_, text) => {
  expect(read(text)).toEqual(JSON.parse(text.replace('\ufeff', '')));
});

test('every proper beginning of an object is said to be unfinished; text with a mistake in it is not', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })), fc.nat(), (value, at) => {
      const bytes = Buffer.from(JSON.stringify({ first: 1, ...value }).replaceAll(/[^\x20-\x7e]/g, '?'));
      const part = bytes.subarray(0, 1 + (at % (bytes.length - 1)));
      expect(() => readJson(part)).toThrow(expect.objectContaining({ unfinished: true }) as Error);
    }),
  );
  expect(() => read('{"a":}')).toThrow(expect.objectContaining({ unfinished: false }) as Error);
});

test.each([
  ['application/json', true],
  ['Application/JSON; charset=utf-8', true],
  ['application/json;', true],
  ['text/json', true],
  ['application/vnd.shop.order+json', true],
  ['application/cloudevents+json', true],
  ['application/jsonp', false],
  ['application/json-seq', false],
  ['application/xml', false],
  ['text/plain', false],
  ['json', false],
  ['', false],
  ['application/json\r\nx-injected: 1', false],
  ['application/json; a=\u0000', false],
])('%j is JSON: %j', (type, isJson) => {
  expect(isJsonType(type)).toBe(isJson);
});

test('printable text is one line of the length at most, without what controls a terminal', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 400 }), fc.integer({ min: 1, max: 100 }), (text, limit) => {
      const line = printable(text, limit);
      expect(line).not.toMatch(/\p{C}/u);
      expect(Array.from(line).length).toBeLessThanOrEqual(limit + 1);
    }),
  );
  expect(printable('a\r\n\tb\u001b[2Jc\u202ed', 80)).toBe('a b [2Jc d');
});
