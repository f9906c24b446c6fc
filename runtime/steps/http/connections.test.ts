import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { maxMessageBytes } from '../../../api/contract/pipeline.ts';
import { LevadaError } from '../../../api/errors.ts';
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

/** Attempts against a raw server: what the first one ends with. */
async function failureOfRaw(serve: (socket: Socket, index: number) => void, timeoutMs?: number): Promise<LevadaError> {
  await using server = await rawServer(serve);
  return await failureOf(stepFor(`${server.url}/x`, timeoutMs).run(event, contextOf()));
}

test('a connection that is refused means that the handler is not there', async () => {
  let port = 0;
  {
    await using server = await rawServer(() => {});
    port = server.port;
  }
  const step = stepFor(`http://127.0.0.1:${port}/reserve`);
  const error = await failureOf(step.run(event, contextOf()));
  expect(error.code).toBe('HandlerUnavailable');
  expect(error.message).toBe(`http://127.0.0.1:${port}/reserve is not there: connect ECONNREFUSED 127.0.0.1:${port}`);
  // Where a name has several addresses, each of them says so.
  const both = await failureOf(stepFor(`http://localhost:${port}/`).run(event, contextOf()));
  expect(both.message).toContain('ECONNREFUSED');
});

test('TLS that the other side does not speak means that it is not there', async () => {
  await using server = await handlerServer((res) => res.end());
  const error = await failureOf(stepFor(server.url.replace('http:', 'https:')).run(event, contextOf()));
  expect(error.code).toBe('HandlerUnavailable');
});

test('a host that does not resolve is said by name, by DNS and by where it runs', async () => {
  const host = `${'a'.repeat(64)}.invalid`; // no label is as long: no resolver has to be asked
  const byDns = await failureOf(stepFor(`http://${host}/x`).run(event, contextOf()));
  expect(byDns).toMatchObject({ code: 'HostUnknown', params: { found: host } });
  const unknown = new LevadaError('HostUnknown', { found: 'inventory', detail: 'no such service' });
  const byPlace = stepFor('http://inventory/reserve', 1000, () => {
    throw unknown;
  });
  expect(await failureOf(byPlace.run(event, contextOf()))).toBe(unknown);
});

test('the address is looked up for each event, and is not what errors call the handler', async () => {
  await using server = await handlerServer((res, { url }) => json(res, url === '/reserve' ? 200 : 404, {}));
  let up = false;
  const step = stepFor('http://inventory/reserve', 60_000, (url) => {
    if (!up) throw new LevadaError('HostUnknown', { found: url.hostname, detail: 'it is not started yet' });
    return new URL(url.pathname, server.url);
  });
  expect(await failureOf(step.run(event, contextOf()))).toMatchObject({ code: 'HostUnknown' });
  up = true;
  expect(await step.run(event, contextOf())).toEqual([{ data: {} }]);
});

test.each<[string, (socket: Socket) => void]>([
  ['before it answers', () => {}],
  ['in its head', (socket) => answerWith(socket, 'HTTP/1.1 200 OK\r\nContent-')],
  ['in its body', (socket) => answerWith(socket, 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"a"')],
  ['in the body of an error', (socket) => answerWith(socket, 'HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\n{"a"')],
  ['between interim answers', (socket) => answerWith(socket, 'HTTP/1.1 102 Processing\r\n\r\n')],
])('a handler that hangs %s is given up at the deadline, and so is its connection', async (_, serve) => {
  await using server = await rawServer((socket) => {
    serve(socket);
    socket.resume();
  });
  const error = await failureOf(stepFor(`${server.url}/slow`, 100).run(event, contextOf()));
  expect(error.code).toBe('HandlerTimeout');
  expect(error.message).toBe(`${server.url}/slow did not answer within 100 ms`);
  await until('the connection is closed', () => server.sockets.size === 0);
});

test('a handler that sends a byte now and then does not move its deadline', async () => {
  const error = await failureOfRaw((socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      const timer = setInterval(() => socket.write('1\r\n \r\n'), 5);
      socket.once('close', () => clearInterval(timer));
    });
  }, 100);
  expect(error.code).toBe('HandlerTimeout');
});

test('a reply that comes too late is not taken for that of another event', async () => {
  const late: ServerResponse[] = [];
  await using server = await handlerServer((res, { body }) => {
    if (body.includes('"slow"')) late.push(res);
    else json(res, 200, { for: 'quick' });
  });
  const step = stepFor(server.url, 1000); // long enough for a request to arrive on a busy machine
  const slow = failureOf(step.run(eventOf({ order_id: 'slow' }), contextOf()));
  await until('the slow request is there', () => late.length === 1);
  expect((await slow).code).toBe('HandlerTimeout');
  json(late[0] as ServerResponse, 200, { for: 'slow' });
  expect(await step.run(event, contextOf())).toEqual([{ data: { for: 'quick' } }]);
});

const closings: ReadonlyArray<[string, (socket: Socket) => void]> = [
  ['before its answer', (socket) => socket.once('data', () => socket.end())],
  ['with a reset', (socket) => socket.once('data', () => socket.resetAndDestroy())],
  [
    'in its head',
    (socket) => {
      answerWith(socket, 'HTTP/1.1 200 OK\r\nContent-Le');
      socket.once('data', () => socket.end());
    },
  ],
  [
    'in a body of known length',
    (socket) => {
      answerWith(socket, 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"a":');
      socket.once('data', () => socket.end());
    },
  ],
  [
    'in a body of known length, after announcing that it closes',
    (socket) => {
      answerWith(socket, 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\n{"a":');
      socket.once('data', () => socket.end());
    },
  ],
  [
    'between chunks',
    (socket) => {
      answerWith(socket, 'HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n');
      socket.once('data', () => socket.end());
    },
  ],
  [
    'in a body of unknown length',
    (socket) => {
      answerWith(socket, 'HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{"a":{"b":1}');
      socket.once('data', () => socket.end());
    },
  ],
];
test.each(closings)('a handler that closes %s has not answered; the request is sent once', async (_, serve) => {
  let received = 0;
  await using server = await rawServer((socket) => {
    socket.on('data', () => received++);
    serve(socket);
  });
  const error = await failureOf(stepFor(`${server.url}/x`).run(event, contextOf()));
  expect(error.message).toMatch(
    new RegExp(`^${server.url}/x closed the connection before its answer was complete: .+`),
  );
  expect(error.code).toBe('HandlerClosed');
  expect(received).toBe(1);
});

test('a reply may end with its connection', async () => {
  await using server = await rawServer((socket) => {
    answerWith(socket, 'HTTP/1.0 200 OK\r\n\r\n{"a":1}');
    socket.once('data', () => socket.end());
  });
  expect(await stepFor(server.url).run(event, contextOf())).toEqual([{ data: { a: 1 } }]);
});

test('connections are kept; one that was closed meanwhile is replaced without a second request', async () => {
  await using server = await handlerServer((res) => json(res, 200, {}));
  const step = stepFor(server.url);
  for (let i = 0; i < 3; i++) {
    await step.run(event, contextOf());
    await nextTurn(); // a connection is free again when the turn of its answer is over
  }
  expect(server.connections()).toBe(1);
  for (const socket of server.sockets) socket.destroy();
  expect(await step.run(event, contextOf())).toEqual([{ data: {} }]);
  expect(server.connections()).toBe(2);
  expect(server.requests).toHaveLength(4);
});

test('a kept connection that dies under a request fails it: the handler may have seen it', async () => {
  let requests = 0;
  await using server = await rawServer((socket) => {
    socket.on('data', () => {
      requests++;
      if (requests === 1) socket.write('HTTP/1.1 204 No Content\r\n\r\n');
      else socket.resetAndDestroy();
    });
  });
  const step = stepFor(server.url);
  await step.run(event, contextOf());
  await nextTurn();
  expect(await failureOf(step.run(event, contextOf()))).toMatchObject({ code: 'HandlerClosed' });
  expect(requests).toBe(2);
  expect(server.connections()).toBe(1);
});

test.each<[string, string]>([
  ['no HTTP', 'SSH-2.0-OpenSSH_9.6\r\n'],
  ['a status of one digit', 'HTTP/1.1 2 OK\r\n\r\n'],
  ['a header without a colon', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nnonsense\r\n\r\n{}'],
  ['two lengths that differ', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}'],
  ['a chunk whose length is no number', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n'],
  ['headers without end', `HTTP/1.1 200 OK\r\n${`x-a: ${'y'.repeat(1000)}\r\n`.repeat(40)}`],
  ['100 that nobody asked for', 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n'],
  ['101', 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'],
  ['JSON that is broken', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{"a":'],
  ['JSON that is broken, up to the end of the connection', 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"a":]}'],
  ['what is not UTF-8', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"\xff"'],
  ['a compressed body', 'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc'],
])('%s is not a reply', async (_, text) => {
  const error = await failureOfRaw((socket) => {
    answerWith(socket, text);
    if (text.includes('Connection: close')) socket.once('data', () => socket.end());
  });
  expect(error.message).toMatch(/^the reply of http:\/\/127\.0\.0\.1:\d+\/x is not what was agreed: .+/);
  expect(error.code).toBe('ReplyInvalid');
});

test('a reply that is too large is not read to its end, whether it says its length or not', async () => {
  const large = 100_000_000;
  let written = 0;
  await using server = await rawServer((socket) => {
    const block = Buffer.alloc(65_536, 0x20);
    socket.once('data', (request) => {
      const known = request.toString('latin1').startsWith('POST /known');
      socket.write(`HTTP/1.1 200 OK\r\n${known ? `Content-Length: ${large}` : 'Connection: close'}\r\n\r\n`);
      let left = large;
      const push = () => {
        while (left > 0 && !socket.destroyed) {
          left -= block.length;
          written += block.length;
          if (!socket.write(block)) return socket.once('drain', push);
        }
        return socket;
      };
      push();
    });
  });
  for (const path of ['/known', '/unknown']) {
    written = 0;
    const error = await failureOf(stepFor(server.url + path).run(event, contextOf()));
    expect(error).toMatchObject({ code: 'ReplyTooLarge', params: { limit: maxMessageBytes } });
    await until('the connection is closed', () => server.sockets.size === 0);
    expect(written).toBeLessThan(large / 2);
  }
});

test('a reply of the largest size is read', async () => {
  const text = 'x'.repeat(maxMessageBytes - 2);
  await using server = await handlerServer((res) => json(res, 200, text));
  expect(await stepFor(server.url).run(event, contextOf())).toEqual([{ data: text }]);
});

test('a drain that is over gives up what is under way, and what has not begun', async () => {
  await using server = await rawServer((socket) => socket.resume());
  const step = stepFor(server.url);
  const controller = new AbortController();
  const run = step.run(event, contextOf({ signal: controller.signal }));
  await until('the request is there', () => [...server.sockets].some((socket) => socket.bytesRead > 0));
  const reason = new Error('the drain is over');
  controller.abort(reason);
  await expect(run).rejects.toBe(reason);
  await expect(step.run(event, contextOf({ signal: controller.signal }))).rejects.toBe(reason);
  await until('the connection is closed', () => server.sockets.size === 0);
});

test('what is given up before the connection is there is not sent when it is', async () => {
  await using server = await handlerServer((res) => res.writeHead(204).end());
  const controller = new AbortController();
  const run = stepFor(server.url).run(event, contextOf({ signal: controller.signal }));
  controller.abort(new Error('drained'));
  await expect(run).rejects.toThrow('drained');
  await until('the connection came, and is closed', () => server.connections() === 1 && server.sockets.size === 0);
  expect(server.requests).toHaveLength(0);
});

test('a header that cannot be sent is a message that cannot be', async () => {
  await using server = await handlerServer((res) => res.end());
  const bad = eventOf({}, { extensions: { 'a\r\nx-injected': '1' } });
  expect(await failureOf(stepFor(server.url).run(bad, contextOf()))).toMatchObject({ code: 'MessageInvalid' });
  expect(server.requests).toHaveLength(0);
});

test('many events at once, each with its own reply; close ends the connections', async () => {
  await using server = await handlerServer((res, { body }) => json(res, 200, JSON.parse(body)));
  const step = stepFor(server.url);
  const runs = Array.from({ length: 200 }, (_, i) => step.run(eventOf({ i }), contextOf()));
  expect(await Promise.all(runs)).toEqual(Array.from({ length: 200 }, (_, i) => [{ data: { i } }]));
  expect(server.sockets.size).toBeGreaterThan(0);
  await step.close();
  await step.close();
  await until('all connections are closed', () => server.sockets.size === 0);
  expect(await failureOf(step.run(event, contextOf()))).toBeInstanceOf(LevadaError);
});

test('close ends calls that are under way', async () => {
  await using server = await rawServer((socket) => socket.resume());
  const step = stepFor(server.url);
  const run = failureOf(step.run(event, contextOf()));
  await until('the request is there', () => [...server.sockets].some((socket) => socket.bytesRead > 0));
  await step.close();
  expect(await run).toMatchObject({ code: 'HandlerClosed' });
});

test('listeners do not gather on a signal that outlives many events', async () => {
  await using server = await handlerServer((res) => res.writeHead(204).end());
  const { signal } = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
    listeners++;
    addEventListener.apply(signal, args);
  };
  signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
    listeners--;
    removeEventListener.apply(signal, args);
  };
  const step = stepFor(server.url);
  for (let i = 0; i < 10; i++) await step.run(event, contextOf({ signal }));
  expect(listeners).toBe(0);
});

test('a URL that is none is refused when the step is made', () => {
  expect(() => stepFor('http://[::1')).toThrow(expect.objectContaining({ code: 'InvalidValue' }) as Error);
});

test('a connection that is never made ends at the deadline too', async () => {
  await using server = await rawServer((socket) => socket.resume()); // no TLS handshake comes from it
  const url = server.url.replace('http:', 'https:');
  const error = await failureOf(stepFor(`${url}/x`, 100).run(event, contextOf()));
  expect(error.message).toBe(`${url}/x did not answer within 100 ms`);
  await until('the connection is closed', () => server.sockets.size === 0);
});
