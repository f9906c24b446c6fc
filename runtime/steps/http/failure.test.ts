import { expect, test } from 'vitest';
import { errorDetail, retryAfter, transportError } from './failure.ts';

const now = Date.parse('2026-11-23T10:00:00Z');
const day = 24 * 60 * 60 * 1000;

test.each<[string | string[] | undefined, number | undefined]>([
  ['0', 0],
  ['7', 7000],
  [' 120 ', 120_000],
  ['99999999999999999999', day],
  ['Mon, 23 Nov 2026 10:00:30 GMT', 30_000],
  ['Monday, 23-Nov-26 10:00:30 GMT', 30_000],
  ['Mon Nov 23 10:00:30 2026', 30_000],
  ['Sun, 22 Nov 2026 10:00:00 GMT', 0],
  ['Mon, 23 Nov 2099 10:00:00 GMT', day],
  [undefined, undefined],
  ['', undefined],
  ['-1', undefined],
  ['1.5', undefined],
  ['1e3', undefined],
  ['soon', undefined],
  ['2026-11-23T10:00:30Z', undefined],
  ['Monkey', undefined],
  [['1', '2'], undefined],
])('Retry-After %j asks for %j ms', (value, ms) => {
  expect(retryAfter(value, now)).toBe(ms);
});

const coded = (code: string, message = code) => Object.assign(new Error(message), { code });
const parser = (reason: string) =>
  Object.assign(new Error(`Response does not match the HTTP/1.1 protocol (${reason})`), { name: 'HTTPParserError' });

test.each([
  [coded('ECONNREFUSED'), 'connecting', 'HandlerUnavailable'],
  [coded('EHOSTUNREACH'), 'connecting', 'HandlerUnavailable'],
  [coded('ENETUNREACH'), 'connecting', 'HandlerUnavailable'],
  [coded('ECONNRESET'), 'connecting', 'HandlerUnavailable'],
  [coded('EAI_AGAIN'), 'connecting', 'HandlerUnavailable'],
  [coded('DEPTH_ZERO_SELF_SIGNED_CERT'), 'connecting', 'HandlerUnavailable'],
  [coded('ENOTFOUND'), 'connecting', 'HostUnknown'],
  [coded('UND_ERR_CONNECT_TIMEOUT'), 'connecting', 'HandlerTimeout'],
  [coded('UND_ERR_INVALID_ARG'), 'connecting', 'MessageInvalid'],
  [coded('ECONNRESET'), 'sent', 'HandlerClosed'],
  [coded('EPIPE'), 'sent', 'HandlerClosed'],
  [coded('UND_ERR_SOCKET', 'other side closed'), 'sent', 'HandlerClosed'],
  [coded('UND_ERR_SOCKET', 'bad response'), 'sent', 'ReplyInvalid'],
  [coded('UND_ERR_HEADERS_OVERFLOW'), 'sent', 'ReplyInvalid'],
  [coded('UND_ERR_RES_CONTENT_LENGTH_MISMATCH'), 'sent', 'ReplyInvalid'],
  [coded('UND_ERR_RES_CONTENT_LENGTH_MISMATCH'), 'answered', 'HandlerClosed'],
  [parser('Invalid EOF state'), 'answered', 'HandlerClosed'],
  [parser('Invalid status code'), 'sent', 'ReplyInvalid'],
  ['not an error at all', 'sent', 'HandlerClosed'],
] as const)('%s while %s is %s', (error, progress, code) => {
  const found = transportError(error, { name: 'http://a/x', host: 'a', timeoutMs: 5, progress });
  expect(found.code).toBe(code);
  expect(found.message).not.toMatch(/\{\w+\}/); // every placeholder is filled in
  expect(found.cause).toBe(error);
});

test.each<[string | undefined, string, string]>([
  ['text/plain', 'no stock', 'no stock'],
  ['text/html; charset=utf-8', '<h1>Oh</h1>\n\n<p>no</p>', '<h1>Oh</h1> <p>no</p>'],
  ['application/problem+json', '{"title":"no"}', '{"title":"no"}'],
  [undefined, 'no stock', 'no stock'],
  ['text/plain', '', 'no body'],
  ['text/plain', ' \r\n\u001b', 'a blank body'],
  ['image/png', '\u0089PNG', 'a body that is not text (image/png)'],
  ['text/plain', '\u001b[31mred\u0000\u200b\u2028end', '[31mred end'],
  ['text/plain', '😀'.repeat(300), `${'😀'.repeat(200)}…`],
])('of a body of type %j, %j is reported as %j', (type, body, detail) => {
  expect(errorDetail({ headers: { 'content-type': type }, body: Buffer.from(body) })).toBe(detail);
});
