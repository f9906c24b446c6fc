import type { ServerResponse } from 'node:http';
import { afterEach, expect, test } from 'vitest';
import { until } from '../../../test/support/wait.ts';
import type { Step } from '../step.ts';
import { answerWith, contextOf, environment, eventOf, failureOf, handlerServer, rawServer } from '../testing.ts';
import { httpStep } from './http.ts';

const steps: Step[] = [];
afterEach(async () => {
  await Promise.all(steps.splice(0).map((step) => step.close()));
});

function stepFor(url: string, timeoutMs = 60_000, resolve = environment.resolve): Step {
  const step = httpStep({ kind: 'http', url, timeoutMs }, { resolve });
  steps.push(step);
  return step;
}

const event = eventOf({ order_id: 'o-1' });
const json = (res: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) =>
  res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));

test('a request is a CloudEvent in binary mode, with what a handler needs to be idempotent', async () => {
  await using server = await handlerServer((res) => res.writeHead(204).end());
  const order = eventOf(
    { order_id: 'o-1', note: 'Preço' },
    { subject: 'Grüße 50%', extensions: { traceparent: '00-aa-bb-00', tenant: 'a"b' } },
  );
  const context = contextOf({ attempt: 3, tracestate: 'a=1', idempotencyKey: 'inventory:\n中' });
  expect(await stepFor(`${server.url}/reserve?x=1`).run(order, context)).toEqual([]);
  const [request] = server.requests;
  expect(request).toMatchObject({ method: 'POST', url: '/reserve?x=1', body: '{"order_id":"o-1","note":"Preço"}' });
  expect(request?.headers).toEqual({
    host: `127.0.0.1:${server.port}`,
    connection: 'keep-alive',
    'content-length': '34',
    'content-type': 'application/json',
    'ce-specversion': '1.0',
    'ce-id': 'e-1',
    'ce-source': '/shop/orders/api',
    'ce-type': 'order.created',
    'ce-subject': 'Gr%C3%BC%C3%9Fe%2050%25',
    'ce-time': '2026-11-23T10:00:00Z',
    'ce-traceparent': '00-aa-bb-00',
    'ce-tenant': 'a%22b',
    'idempotency-key': 'inventory:%0A%E4%B8%AD',
    'x-levada-attempt': '3',
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    tracestate: 'a=1',
    accept: 'application/json, application/cloudevents+json, application/cloudevents-batch+json',
    'accept-encoding': 'identity',
    'user-agent': 'levada',
  });
});

test('an event without data is a request without a body', async () => {
  await using server = await handlerServer((res) => res.writeHead(200).end());
  const empty = new Uint8Array(new ArrayBuffer(64), 8, 0); // a view of nothing in something
  expect(await stepFor(server.url).run(eventOf(null, { data: empty }), contextOf())).toEqual([]);
  expect(server.requests[0]).toMatchObject({ body: '', headers: { 'content-length': '0' } });
});

test('replies become events: typed, untyped, several, none', async () => {
  const attributes = { specversion: '1.0', id: 'r-1', source: '/inventory', type: 'stock.reserved' };
  const replies: Record<string, (res: ServerResponse) => void> = {
    '/none': (res) => res.writeHead(202).end(),
    '/json': (res) => json(res, 200, { reserved: true }),
    '/binary': (res) =>
      json(res, 200, { a: 1 }, { 'ce-specversion': '1.0', 'ce-id': 'r-1', 'ce-source': '/s', 'ce-type': 't' }),
    '/structured': (res) =>
      json(res, 200, { ...attributes, data: [1] }, { 'content-type': 'application/cloudevents+json; charset=utf-8' }),
    '/batch': (res) =>
      json(res, 200, [attributes, { ...attributes, id: 'r-2', data: 2 }], {
        'content-type': 'application/cloudevents-batch+json',
      }),
  };
  await using server = await handlerServer((res, { url }) => replies[url]?.(res));
  const answers: Record<string, unknown> = {};
  for (const path of Object.keys(replies)) {
    answers[path] = await stepFor(server.url + path).run(event, contextOf());
  }
  const typed = { id: 'r-1', source: '/inventory', type: 'stock.reserved', extensions: {} };
  expect(answers).toEqual({
    '/none': [],
    '/json': [{ data: { reserved: true } }],
    '/binary': [{ id: 'r-1', source: '/s', type: 't', extensions: {}, data: { a: 1 } }],
    '/structured': [{ ...typed, data: [1] }],
    '/batch': [
      { ...typed, data: null },
      { ...typed, id: 'r-2', data: 2 },
    ],
  });
});

test('where a step emits nothing, a reply without a type is ignored, whatever it is; a typed one is not', async () => {
  await using server = await handlerServer((res, { url }) => {
    if (url === '/typed') json(res, 200, 1, { 'ce-type': 't' });
    else res.writeHead(200, { 'content-type': 'text/html' }).end('<p>OK</p>');
  });
  const context = contextOf({ emits: [] });
  expect(await stepFor(server.url).run(event, context)).toEqual([]);
  expect(await failureOf(stepFor(`${server.url}/typed`).run(event, context))).toMatchObject({ code: 'ReplyInvalid' });
  expect(await failureOf(stepFor(server.url).run(event, contextOf()))).toMatchObject({
    code: 'ReplyInvalid',
    message: expect.stringContaining('content-type is text/html; allowed: application/json') as unknown,
  });
});

test.each([
  [400, 'HandlerRejected'],
  [401, 'HandlerRejected'],
  [404, 'HandlerRejected'],
  [409, 'HandlerRejected'],
  [422, 'HandlerRejected'],
  [408, 'HandlerBusy'],
  [425, 'HandlerBusy'],
  [429, 'HandlerBusy'],
  [500, 'HandlerFailed'],
  [501, 'HandlerFailed'],
  [507, 'HandlerFailed'],
  [502, 'HandlerUnavailable'],
  [503, 'HandlerUnavailable'],
  [504, 'HandlerUnavailable'],
] as const)('%i is %s, with the beginning of its body and what Retry-After asks for', async (status, code) => {
  const body = `{"detail":\t"no\u0007 stock\u202e\r\n"}${'x'.repeat(300)}`;
  await using server = await handlerServer((res) =>
    res
      .writeHead(status, { 'content-type': 'application/problem+json', 'retry-after': '7', 'x-secret': 's' })
      .end(body),
  );
  const error = await failureOf(stepFor(`${server.url}/x?key=secret`).run(event, contextOf()));
  expect(error).toMatchObject({ code, params: { status, retryAfterMs: 7000 } });
  expect(error.message).toContain(`${status}: {"detail": "no stock "}xxx`);
  expect(error.message).not.toMatch(/[\p{C}]|secret/u);
  expect(error.message.length).toBeLessThan(320);
});

test('the body of an error is read so far as it is shown; the rest is not waited for', async () => {
  await using server = await rawServer((socket) => {
    answerWith(socket, `HTTP/1.1 500 Oh\r\nContent-Length: 100000000\r\n\r\n${'stack '.repeat(4000)}`);
  });
  const error = await failureOf(stepFor(server.url).run(event, contextOf()));
  expect(error).toMatchObject({ code: 'HandlerFailed' });
  expect(error.message).toMatch(/^the handler answered 500: stack stack /);
  await until('the connection is closed', () => server.sockets.size === 0);
});

test.each([301, 302, 303, 307, 308, 304])('%i is not followed', async (status) => {
  await using server = await handlerServer((res) => res.writeHead(status, { location: '/other?token=1' }).end());
  const error = await failureOf(stepFor(server.url).run(event, contextOf()));
  expect(error).toMatchObject({ code: 'HandlerRejected', params: { status, detail: 'redirects are not followed' } });
  expect(server.requests).toHaveLength(1);
});

test('interim answers announce the one that counts', async () => {
  await using server = await rawServer((socket) => {
    answerWith(
      socket,
      'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n',
      'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}',
    );
  });
  expect(await stepFor(server.url).run(event, contextOf())).toEqual([{ data: {} }]);
});
