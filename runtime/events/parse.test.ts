import { expect, test } from 'vitest';
import { messageOf } from '../steps/testing.ts';
import { readEvent } from './parse.ts';

test.each<[string | undefined, string, unknown]>([
  ['application/json', '{"a":1}', { a: 1 }],
  [undefined, '[1]', [1]],
  ['application/vnd.order+json; charset=utf-8', '"x"', 'x'],
  ['application/json', '', null],
])('data of type %j, %j, is %j', (datacontenttype, text, data) => {
  const { datacontenttype: _, ...rest } = messageOf({ data: Buffer.from(text) });
  const message = datacontenttype === undefined ? rest : { ...rest, datacontenttype };
  expect(readEvent(message)).toEqual({ message, data });
});

test.each([
  ['text/plain', 'hello', 'datacontenttype is "text/plain"; allowed: application/json, …+json'],
  ['application/json\u001b', '{}', 'datacontenttype is "application/json"; allowed'],
  ['application/json', '{"a":', 'its data: it is not JSON: '],
  ['application/json', '{"__proto__":1}', 'its data: it has a key called __proto__'],
])('data of type %j, %j, is refused', (datacontenttype, text, detail) => {
  const message = messageOf({ datacontenttype, data: Buffer.from(text) });
  expect(() => readEvent(message)).toThrow(
    expect.objectContaining({ code: 'MessageInvalid', message: expect.stringContaining(detail) as string }) as Error,
  );
});
