/** Servers that are slow, large, broken or elsewhere than they seem. */
import type http from 'node:http';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { until } from '../../../test/support/wait.ts';
import { json, shareOf, testScope } from './testing.ts';

const { serve, talk, step } = testScope();

/** A server that answers everything with these bytes. */
const says = (text: string, end = true) =>
  talk((socket) => socket.once('data', () => (end ? socket.end(text) : socket.write(text))));
const ok = (body: string, headers = '') =>
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n${headers}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;

describe('deadlines', () => {
  const late = (url: string) => ({ url, status: 'timeout', error: 'Request timed out' });

  test('one URL that hangs holds up nobody else, and its connection is closed', async () => {
    const quick = await serve((_, response) => json(response, 1));
    const hanging = await serve(() => {});
    // A busy machine takes a moment over those that are quick.
    const made = step({ action: { timeoutMs: 2_000 } });
    const urls = [hanging.url, ...Array.from({ length: 19 }, () => quick.url)];
    const results = await made.get(urls);
    expect(results[0]).toEqual(late(hanging.url));
    expect(results.slice(1)).toEqual(urls.slice(1).map((url) => ({ url, status: 200, data: 1 })));
    await until('it is closed', () => hanging.sockets.size === 0);
  });

  test('a body that drips does not move the deadline', async () => {
    const server = await serve((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const drip = setInterval(() => response.write(' '), 5);
      response.on('close', () => clearInterval(drip));
    });
    expect(await step({ action: { timeoutMs: 100 } }).get(server.url)).toEqual([late(server.url)]);
    await until('it is closed', () => server.sockets.size === 0);
  });

  test('redirects, attempts and waits are within it', async () => {
    let count = 0;
    const circle = await serve((_, response) => {
      setTimeout(() => response.writeHead(302, { location: `/${++count}` }).end(), 20);
    });
    const busy = await serve((_, response) => json(response, {}, 503));
    const made = step({ action: { timeoutMs: 150, attempts: 5, maxRedirects: 20 } });
    const [redirected, failed] = await made.get([circle.url, busy.url]);
    expect(redirected).toEqual(late(circle.url));
    expect(failed).toMatchObject({ status: 'error', error: 'HTTP 503 Service Unavailable' });
    expect(count).toBeLessThan(15);
  });

  test('connecting is within it, and a name that nobody answers for', async () => {
    const made = step({ action: { timeoutMs: 50 }, share: shareOf({ resolve: () => {} }) });
    const urls = ['http://one.test/', 'http://one.test/', 'http://two.test/', 'http://three.test/'];
    expect(await made.get(urls)).toEqual(urls.map(late));
  });

  test('it begins when the request may start', async () => {
    const { url } = await serve((_, response) => setTimeout(() => json(response, 1), 40));
    const made = step({ action: { timeoutMs: 200, concurrency: 1 } });
    const results = await made.get(Array.from({ length: 8 }, () => url));
    expect(results.map(({ status }) => status)).toEqual(Array(8).fill(200));
  });

  test('an error that was announced is that error, whatever its body does', async () => {
    const server = await serve((_, response) => {
      response.writeHead(404, { 'content-length': 100 });
      response.write('not');
    });
    expect(await step().get(server.url)).toMatchObject([{ status: 'error', error: 'HTTP 404 Not Found' }]);
    await until('it is closed', () => server.sockets.size === 0);
  });
});

describe('size', () => {
  test.each([
    ['with a length', { 'content-length': 100e6 }],
    ['without', {}],
  ])('100 MB %s: the connection is closed long before', async (_, headers) => {
    let sent = 0;
    const server = await serve((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', ...headers });
      const chunk = Buffer.alloc(1e6, ' ');
      const more = () => {
        if (sent >= 100e6 || response.destroyed) return;
        sent += chunk.length;
        response.write(chunk, more);
      };
      more();
    });
    const error = 'the answer is larger than 1048576 bytes';
    expect(await step().get(server.url)).toEqual([{ url: server.url, status: 'error', error }]);
    await until('it is closed', () => server.sockets.size === 0);
    expect(sent).toBeLessThan(50e6);
  });

  test('the limit is the last size that is read', async () => {
    const { url } = await serve((request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      for (const byte of `"${'x'.repeat(Number(request.url?.slice(1)) - 2)}"`) response.write(byte);
      response.end();
    });
    const results = await step({ action: { maxBytes: 50 } }).get([`${url}/50`, `${url}/51`]);
    expect(results.map(({ status }) => status)).toEqual([200, 'error']);
  });

  test('the answers to an event have a limit in all; what is dropped makes room', async () => {
    const body = JSON.stringify('x'.repeat(3_000_000));
    const { url } = await serve((request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(request.url === '/bad' ? `[${body}` : body);
    });
    const made = step({ action: { maxBytes: 16_777_216, concurrency: 1 } });
    const results = await made.get(['/', '/bad', '/', '/', '/', '/bad', '/', '/', '/'].map((path) => url + path));
    expect(results.map(({ status }) => status)).toEqual([200, 'error', 200, 200, 200, 'error', 200, 'error', 'error']);
    expect(results.at(-1)).toMatchObject({ error: 'the answers to this event are too large in all' });
  });

  test('a compressed answer is refused, so a bomb stays small', async () => {
    const bomb = gzipSync(Buffer.alloc(50e6, '['), { level: 9 });
    const { url } = await serve((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end(bomb);
    });
    expect(await step().get(url)).toMatchObject([
      { error: 'the answer is compressed (gzip), though identity was asked for' },
    ]);
  });
});

describe('servers that misbehave', () => {
  const cutOff = /^the connection was (closed before the answer was complete|reset)/;
  test.each([
    ['close at once', '', cutOff],
    ['close in the headers', 'HTTP/1.1 200 OK\r\ncontent-ty', /^the connection was (closed before|reset)/],
    ['close in the body', ok('{"a":1}').slice(0, -3), cutOff],
    [
      'close in a chunk',
      'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{"a',
      cutOff,
    ],
    ['are not HTTP', 'hello\r\n\r\n', /^the answer is not HTTP/],
    ['upgrade', 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n', /closed before/],
    [
      'have endless headers',
      `HTTP/1.1 200 OK\r\nx: ${'x'.repeat(100_000)}\r\n\r\n`,
      /headers of the answer are too large/,
    ],
  ])('%s: an error', async (_, text, error) => {
    const { url } = await says(text);
    const [result] = await step().get(url);
    expect(result).toEqual({ url, status: 'error', error: expect.stringMatching(error) });
  });

  test('interim answers are passed over', async () => {
    const { url } = await says(`HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n${ok('1')}`);
    expect(await step().get(url)).toEqual([{ url, status: 200, data: 1 }]);
  });

  test('a second answer that nobody asked for goes nowhere', async () => {
    const server = await says(ok('1') + ok('2'), false);
    const made = step();
    for (let i = 0; i < 3; i++) expect(await made.get(server.url)).toEqual([{ url: server.url, status: 200, data: 1 }]);
  });

  test('a kept connection that is closed in the moment of the next request: sent again, once', async () => {
    let requests = 0;
    const server = await talk((socket) => {
      let isFirst = true;
      socket.on('data', () => {
        requests++;
        if (isFirst) socket.write(ok('1'));
        else socket.destroy();
        isFirst = false;
      });
    });
    const made = step();
    expect(await made.get(server.url)).toMatchObject([{ status: 200 }]);
    expect(await made.get(server.url)).toMatchObject([{ status: 200 }]);
    expect([requests, server.connections()]).toEqual([3, 2]);
  });
});

describe('attempts', () => {
  const failing = async (times: number, status: number, headers: http.OutgoingHttpHeaders = {}) => {
    const seen: number[] = [];
    const server = await serve((_, response) => {
      seen.push(performance.now());
      if (seen.length > times) json(response, seen.length);
      else response.writeHead(status, headers).end();
    });
    return { ...server, seen };
  };

  test.each([408, 425, 429, 500, 502, 503, 504])('%i is tried again', async (status) => {
    const { url } = await failing(2, status);
    expect(await step({ action: { attempts: 3 } }).get(url)).toEqual([{ url, status: 200, data: 3 }]);
  });

  test.each([400, 401, 403, 404, 409, 410, 422])('%i is not', async (status) => {
    const { url, seen } = await failing(1, status);
    expect(await step({ action: { attempts: 3 } }).get(url)).toMatchObject([{ status: 'error' }]);
    expect(seen).toHaveLength(1);
  });

  test('nothing is by default, and no more than attempts', async () => {
    const { url, seen } = await failing(9, 503);
    expect(await step().get(url)).toMatchObject([{ status: 'error' }]);
    expect(await step({ action: { attempts: 3 } }).get(url)).toMatchObject([{ status: 'error' }]);
    expect(seen).toHaveLength(4);
  });

  test('connections that break are tried again', async () => {
    let count = 0;
    const { url } = await talk((socket) => {
      if (++count < 3) socket.destroy();
      else socket.once('data', () => socket.end(ok('3')));
    });
    expect(await step({ action: { attempts: 3 } }).get(url)).toEqual([{ url, status: 200, data: 3 }]);
  });

  test('Retry-After is waited for where it fits, and ends it where it does not', async () => {
    const patient = await failing(1, 429, { 'retry-after': '1' });
    const busy = await failing(1, 503, { 'retry-after': '60' });
    const made = step({ action: { attempts: 2, timeoutMs: 10_000 } });
    expect(await made.get([patient.url, busy.url])).toMatchObject([{ status: 200 }, { status: 'error' }]);
    expect((patient.seen[1] ?? 0) - (patient.seen[0] ?? 0)).toBeGreaterThan(990);
    expect(busy.seen).toHaveLength(1);
  });
});

describe('redirects', () => {
  const chain = (status: number) =>
    serve((request, response) => {
      const left = Number(request.url?.slice(1));
      if (left > 0) response.writeHead(status, { location: String(left - 1) }).end('moved');
      else json(response, 'there');
    });

  test.each([301, 302, 303, 307, 308])('%i is followed, on the same connection', async (status) => {
    const server = await chain(status);
    const results = await step().get(`${server.url}/10`);
    expect(results).toEqual([{ url: `${server.url}/10`, status: 200, data: 'there' }]);
    expect(server.connections()).toBe(1);
  });

  test('so many and no more', async () => {
    const { url } = await chain(302);
    const [enough, tooMany] = await step({ action: { maxRedirects: 3 } }).get([`${url}/3`, `${url}/4`]);
    expect(enough).toMatchObject({ status: 200 });
    expect(tooMany).toMatchObject({ status: 'error', error: 'more than 3 redirects' });
    expect(await step({ action: { maxRedirects: 0 } }).get(`${url}/1`)).toMatchObject([
      { error: 'the answer is a redirect, and none is followed' },
    ]);
  });

  test.each([
    ['a circle', '/b', 'the redirects go in a circle'],
    ['itself', '/a', 'the redirects go in a circle'],
    [
      'a metadata address',
      'http://169.254.169.254/latest',
      expect.stringMatching(/metadata addresses are never called/),
    ],
    ['the same in hex', 'http://0xA9FEA9FE/', expect.stringMatching(/metadata addresses are never called/)],
    ['a file', 'file:///etc/passwd', expect.stringMatching(/not followed: the scheme is file/)],
    [
      'a password',
      'http://ann:secret@a.test/',
      'the redirect is not followed: a URL with user or password is not called',
    ],
  ])('to %s: an error', async (_, location, error) => {
    const { url } = await serve((request, response) => {
      response.writeHead(302, { location: request.url === '/b' ? '/a' : location }).end();
    });
    expect(await step().get(`${url}/a`)).toEqual([{ url: `${url}/a`, status: 'error', error }]);
  });

  test('without a Location it is an answer like others', async () => {
    const { url } = await serve((_, response) => json(response, 1, 302));
    expect(await step().get(url)).toEqual([{ url, status: 302, data: 1 }]);
  });
});

describe('the address policy', () => {
  const address = (list: string[]) =>
    shareOf({
      resolve: (_, answered) =>
        answered(
          null,
          list.map((one) => ({ address: one, family: one.includes(':') ? 6 : 4 })),
        ),
    });
  const never = (network: string) => `refused by the address policy: ${network} addresses are never called`;

  test.each([
    ['http://169.254.169.254/latest/meta-data', 'metadata'],
    ['http://2852039166/', 'metadata'],
    ['http://0251.0376.0251.0376/', 'metadata'],
    ['http://[::ffff:169.254.169.254]/', 'metadata'],
    ['http://[64:ff9b::a9fe:a9fe]/', 'metadata'],
    ['http://[fd00:ec2::254]/', 'metadata'],
    ['http://100.100.100.200/', 'metadata'],
    ['http://169.254.1.1/', 'link-local'],
    ['http://[fe80::1]/', 'link-local'],
    ['http://0.0.0.0/', 'unspecified'],
    ['http://[::]/', 'unspecified'],
    ['http://224.0.0.1/', 'multicast'],
    ['https://255.255.255.255/', 'broadcast'],
  ])('%s is never called', async (url, network) => {
    expect(await step().get(url)).toEqual([{ url, status: 'error', error: never(network) }]);
  });

  test('a name is judged by all that it resolves to, when it is connected to', async () => {
    const server = await serve((_, response) => json(response, 1));
    const url = `http://rebound.test:${server.port}/`;
    const good = step({ share: address(['127.0.0.1']) });
    expect(await good.get(url)).toMatchObject([{ status: 200 }]);
    const mixed = step({ share: address(['127.0.0.1', 'fe80::1']) });
    expect(await mixed.get(url)).toEqual([{ url, status: 'error', error: never('link-local') }]);
    expect(server.connections()).toBe(1);
  });

  test('Deny refuses loopback and private addresses, also where an Allow keeps a connection', async () => {
    const server = await serve((_, response) => json(response, 1));
    const share = shareOf();
    const allow = step({ share });
    const deny = step({ share, action: { privateNetworks: 'Deny' } });
    expect(await allow.get(server.url)).toMatchObject([{ status: 200 }]);
    const error = 'refused by the address policy: loopback addresses are not called where privateNetworks is Deny';
    const urls = [server.url, `http://localhost:${server.port}/`];
    expect(await deny.get(urls)).toEqual(urls.map((url) => ({ url, status: 'error', error })));
    expect(server.connections()).toBe(1);
  });

  test('hosts that levada up maps are called all the same', async () => {
    const server = await serve((request, response) => json(response, request.url));
    const environment = {
      resolve: (url: URL) => (url.hostname === 'inventory' ? new URL(`${url.pathname}${url.search}`, server.url) : url),
    };
    const made = step({ action: { privateNetworks: 'Deny' }, environment });
    expect(await made.get(['http://inventory/a?b', server.url])).toMatchObject([
      { url: 'http://inventory/a?b', status: 200, data: '/a?b' },
      { status: 'error' },
    ]);
  });
});
