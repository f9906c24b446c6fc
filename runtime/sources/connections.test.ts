import http from 'node:http';
import { describe, expect, test } from 'vitest';
import { rawConnection } from '../../test/support/serve.ts';
import { until } from '../../test/support/wait.ts';
import type { HttpSourceLimits } from './http-source.ts';
import { gate, post, type Running, run } from './testing.ts';

const request = (body: string, headers = '') =>
  `POST /orders/ HTTP/1.1\r\nhost: x\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`;
const works = async ({ url }: Running) => expect((await post(url, {})).status).toBe(202);
const hasCode = (text: string, status: number, code: string) => {
  expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} [\\s\\S]*x-levada-error: ${code}\r\n`, 'i'));
  expect(text).toContain(`{"error":{"code":"${code}","message":"`);
};

describe('what is not HTTP', () => {
  test.each([
    ['garbage', 'hello\r\n\r\n', 400, 'RequestMalformed'],
    ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400, 'RequestMalformed'],
    ['two lengths', request('{}', 'content-length: 3\r\n'), 400, 'RequestMalformed'],
    ['length and chunked', request('{}', 'transfer-encoding: chunked\r\n'), 400, 'RequestMalformed'],
    ['a negative length', 'POST /orders/ HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n', 400, 'RequestMalformed'],
    [
      'a bad chunk',
      'POST /orders/ HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n',
      400,
      'RequestMalformed',
    ],
    ['no host', request('{}').replace('host: x\r\n', ''), 400, 'RequestMalformed'],
    ['a long URL', `POST /${'x'.repeat(100_000)} HTTP/1.1\r\nhost: x\r\n\r\n`, 431, 'HeadersTooLarge'],
    ['long headers', request('{}', `a: ${'x'.repeat(100_000)}\r\n`), 431, 'HeadersTooLarge'],
    ['a wish nobody knows', request('{}', 'expect: wonders\r\n'), 417, 'RequestMalformed'],
  ])('%s: refused with a code, and the connection ends', async (_name, text, status, code) => {
    await using source = await run();
    const client = await rawConnection(source.source.port);
    client.socket.write(text, 'latin1');
    hasCode(await client.ended(), status, code);
    expect(source.outcomes).toEqual([{ status, code, ms: expect.any(Number) }]);
    expect(source.published).toEqual([]);
    await works(source);
  });

  test('after a request that is under way: its answer comes first', async () => {
    const door = gate();
    await using source = await run({}, { publish: () => door.wait() });
    const client = await rawConnection(source.source.port);
    client.socket.write(`${request('{}')}garbage\r\n\r\n`);
    await until('the mistake has come as well', () => door.waiting() === 1);
    client.socket.write('more garbage\r\n\r\n');
    expect((await post(source.url, 'x')).status).toBe(400); // so the garbage has been read, too
    expect(client.text()).toBe('');
    door.open();
    const text = await client.ended();
    expect(text.match(/HTTP\/1.1 \d+/g)).toEqual(['HTTP/1.1 202', 'HTTP/1.1 400']);
  });

  test('HTTP/1.0 is, and needs no host', async () => {
    await using source = await run();
    const client = await rawConnection(source.source.port);
    client.socket.write('POST /orders/ HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}');
    expect(await client.ended()).toMatch(/^HTTP\/1.1 202 /);
  });
});

describe('slow clients', () => {
  const limits: Partial<HttpSourceLimits> = { headersMs: 200, requestMs: 400, keepAliveMs: 100 };

  test.each([
    ['that send nothing', ''],
    ['that stop in the headers', 'POST /orders/ HTTP/1.1\r\nhost: x\r\ncontent-le'],
    ['that stop in the body', request('{"a": 1}').slice(0, -4)],
    ['that stop in a chunk', 'POST /orders/ HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{"feat'],
  ])('%s get 408 and are cut off; others are served meanwhile', async (_name, text) => {
    await using source = await run({}, { limits });
    const clients = await Promise.all(Array.from({ length: 20 }, () => rawConnection(source.source.port)));
    for (const { socket } of clients) socket.write(text);
    await works(source);
    for (const client of clients) hasCode(await client.ended(), 408, 'RequestTimeout');
    expect(source.outcomes.filter(({ status }) => status === 408)).toHaveLength(20);
  });

  test('that drip a byte now and then are cut off all the same', async () => {
    await using source = await run({}, { limits });
    const client = await rawConnection(source.source.port);
    client.socket.write('POST /orders/ HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n');
    const drip = setInterval(() => client.socket.writable && client.socket.write(' '), 20);
    hasCode(await client.ended(), 408, 'RequestTimeout');
    clearInterval(drip);
  });

  test('an idle connection ends quietly', async () => {
    await using source = await run({}, { limits });
    const client = await rawConnection(source.source.port);
    client.socket.write(request('{}'));
    expect((await client.ended()).match(/HTTP\/1.1/g)).toHaveLength(1);
  });

  test('a slow broker is not the client’s fault', async () => {
    const door = gate();
    await using source = await run({}, { limits, publish: () => door.wait() });
    const answer = post(source.url, {});
    const idle = await rawConnection(source.source.port);
    hasCode(await idle.ended(), 408, 'RequestTimeout'); // so much time has passed
    door.open();
    expect((await answer).status).toBe(202);
  });
});

describe('bodies', () => {
  test('in single bytes, and in chunks', async () => {
    await using source = await run();
    const client = await rawConnection(source.source.port);
    client.socket.setNoDelay(true);
    for (const byte of request('{"a":"é"}')) {
      await new Promise<void>((resolve) => client.socket.write(byte, () => resolve()));
    }
    await client.until((text) => text.includes('}'));
    client.socket.write('POST /orders/ HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n');
    for (const part of ['4\r\n{"a"\r\n', '5\r\n:"b"}\r\n', '0\r\n\r\n']) client.socket.write(part);
    await client.until((text) => (text.match(/202 Accepted/g) ?? []).length === 2);
    expect(source.published.map(({ data }) => Buffer.from(data).toString())).toEqual(['{"a":"é"}', '{"a":"b"}']);
    client.socket.destroy();
  });

  test('Expect: 100-continue is continued', async () => {
    await using source = await run();
    const client = await rawConnection(source.source.port);
    client.socket.write(request('{}', 'expect: 100-continue\r\n').slice(0, -2));
    await client.until((text) => text.startsWith('HTTP/1.1 100 Continue\r\n\r\n'));
    client.socket.write('{}');
    await client.until((text) => text.includes('HTTP/1.1 202'));
    client.socket.destroy();
  });

  test('pipelined requests are answered in their order', async () => {
    await using source = await run({ response: { status: 200, body: '{% n %}' } });
    const client = await rawConnection(source.source.port);
    client.socket.write(Array.from({ length: 50 }, (_, n) => request(`{"n":${n}}`)).join(''));
    const text = await client.until((so) => so.split('\r\n\r\n49').length > 1);
    expect([...text.matchAll(/\r\n\r\n(\d+)/g)].map(([, n]) => Number(n))).toEqual(
      Array.from({ length: 50 }, (_, n) => n),
    );
    client.socket.destroy();
  });

  test('one that is too large is refused before its end, and the client gets to know', async () => {
    await using source = await run();
    const client = await rawConnection(source.source.port);
    client.socket.write('POST /orders/ HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n');
    const block = Buffer.alloc(65_536, 0x20);
    for (let i = 0; i < 100; i++) client.socket.write(block);
    hasCode(await client.ended(), 413, 'BodyTooLarge');
    await works(source);
  });

  test.each([
    ['in the body', request('{"a": 1}').slice(0, -4)],
    ['in the headers', 'POST /orders/ HTTP/1.1\r\nhos'],
  ])('a client that goes away %s leaves nothing behind', async (_name, text) => {
    await using source = await run({}, { limits: { maxHeldBytes: 20_000 } });
    for (let i = 0; i < 20; i++) {
      const client = await rawConnection(source.source.port);
      client.socket.write(text);
      client.socket.destroy();
      await client.ended();
    }
    await until('the memory is free again', async () => (await post(source.url, 'x'.repeat(15_000))).status === 400);
    expect(source.published).toEqual([]);
    expect(source.logged).toEqual([]);
  });
});

describe('memory', () => {
  test('requests that would take more than there is are refused, until others are answered', async () => {
    const door = gate();
    await using source = await run({}, { limits: { maxHeldBytes: 100_000 }, publish: () => door.wait() });
    const body = JSON.stringify('x'.repeat(40_000));
    const taken = [post(source.url, body), post(source.url, body)];
    await until('two are under way', () => door.waiting() === 2);
    const { status, headers, json } = await post(source.url, body);
    expect([status, json.error.code, headers['retry-after']]).toEqual([503, 'MemoryBudget', '1']);
    expect((await post(source.url, 'x')).status).toBe(400); // a small one fits
    door.open();
    expect((await Promise.all(taken)).map(({ status }) => status)).toEqual([202, 202]);
    await works(source);
    expect((await post(source.url, body)).status).toBe(202);
  });

  test('a client that goes away frees nothing that the broker still has', async () => {
    const door = gate();
    await using source = await run({}, { limits: { maxHeldBytes: 30_000 }, publish: () => door.wait() });
    for (let i = 1; i <= 2; i++) {
      const req = http.request(source.url, { method: 'POST', agent: false }).on('error', () => undefined);
      req.end(JSON.stringify('x'.repeat(8_000)));
      await until('it is under way', () => door.waiting() === i);
      req.destroy();
    }
    expect((await post(source.url, JSON.stringify('x'.repeat(8_000)))).status).toBe(503);
    door.open();
    await works(source);
  });
});
