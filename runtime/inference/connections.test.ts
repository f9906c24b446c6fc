import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  call,
  fixture,
  iris,
  post,
  rawConnection,
  type Served,
  serve,
  serverConfig,
} from '../../test/support/serve.ts';

const features = '{"features":[1,2,3]}';
const predict = (headers = '', body = features) =>
  `POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`;

let regression: Served;
let impatient: Served;
let slow: Served;
beforeAll(async () => {
  [regression, impatient, slow] = await Promise.all([
    serve(serverConfig(fixture('regression'))),
    serve(serverConfig(fixture('regression')), { http: { headersMs: 200, requestMs: 400, keepAliveMs: 100 } }),
    serve(serverConfig(fixture('slow'), { batching: { maxBatchSize: 1, maxDelayMs: 0 } })),
  ]);
});
afterAll(() => Promise.all([regression.close(), impatient.close(), slow.close()]));

const works = async ({ url }: Served) => expect((await post(`${url}/predict`, features)).json.prediction).toBe(11.5);

describe('slow clients', () => {
  test.each([
    ['that send nothing', ''],
    ['that stop in the headers', 'POST /predict HTTP/1.1\r\nhost: x\r\ncontent-le'],
    ['that stop in the body', 'POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n{"feat'],
    ['that stop in a chunk', 'POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{"feat'],
  ])('%s get 408 and are cut off; others are served meanwhile', async (_name, text) => {
    const clients = await Promise.all(Array.from({ length: 20 }, () => rawConnection(impatient.port)));
    for (const { socket } of clients) socket.write(text);
    await works(impatient);
    for (const client of clients)
      expect(await client.ended()).toMatch(/^HTTP\/1.1 408 Request Timeout\r\n[\s\S]*\{"error"/);
  });

  test('that drip a byte now and then are cut off all the same', async () => {
    const client = await rawConnection(impatient.port);
    client.socket.write('POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n');
    const drip = setInterval(() => client.socket.writable && client.socket.write(' '), 20);
    client.socket.on('error', () => {});
    expect(await client.ended()).toMatch(/^HTTP\/1.1 408 /);
    clearInterval(drip);
  });

  test('a client that is told 408 and does not close loses its socket', async () => {
    const client = await rawConnection(impatient.port);
    client.socket.allowHalfOpen = true;
    client.socket.write('GET /he');
    await client.ended();
    await impatient.serving.release('serving'); // resolves when the last connection is gone
    const port = await impatient.serving.listen('serving', { host: '127.0.0.1', port: impatient.port });
    expect(port).toBe(impatient.port);
    client.socket.destroy();
    await works(impatient);
  });

  test('an idle connection ends quietly', async () => {
    const client = await rawConnection(impatient.port);
    client.socket.write('GET /health HTTP/1.1\r\nhost: x\r\n\r\n');
    expect(await client.ended()).toMatch(/^HTTP\/1.1 200 [\s\S]*"model_loaded":true}$/);
  });
});

describe('odd clients', () => {
  test.each([
    ['garbage', 'hello\r\n\r\n', 400],
    ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
    ['two lengths', 'POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}', 400],
    [
      'length and chunked',
      'POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['a negative length', 'POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n', 400],
    ['a bad chunk', 'POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n', 400],
    ['no host', 'GET /health HTTP/1.1\r\n\r\n', 400],
    ['a very long URL', `GET /${'x'.repeat(100_000)} HTTP/1.1\r\nhost: x\r\n\r\n`, 431],
    ['very long headers', `GET /health HTTP/1.1\r\nhost: x\r\na: ${'x'.repeat(100_000)}\r\n\r\n`, 431],
  ])('%s: refused, and the connection ends', async (_name, text, status) => {
    const client = await rawConnection(regression.port);
    client.socket.write(text, 'latin1');
    expect(await client.ended()).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    await works(regression);
  });

  test('pipelined requests are answered in their order', async () => {
    const client = await rawConnection(regression.port);
    const rows = Array.from({ length: 100 }, (_, i) => `{"features":[${i},0,0]}`);
    client.socket.write(rows.map((row) => predict('', row)).join(''));
    const text = await client.until((so) => so.split('"class_name":null}').length > 100);
    const answers = [...text.matchAll(/"prediction":(\d+)/g)].map(([, value]) => Number(value));
    expect(answers).toEqual(rows.map((_, i) => 2 * i + 10));
    client.socket.destroy();
  });

  test('a body in single bytes', async () => {
    const client = await rawConnection(regression.port);
    client.socket.setNoDelay(true);
    const text = predict();
    for (const byte of text) await new Promise<void>((resolve) => client.socket.write(byte, () => resolve()));
    expect(await client.until((so) => so.endsWith('}'))).toContain('"prediction":11.5');
    client.socket.destroy();
  });

  test('a chunked body', async () => {
    const client = await rawConnection(regression.port);
    const [head, rest] = [features.slice(0, 7), features.slice(7)];
    client.socket.write('POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n');
    for (const part of [head, rest]) client.socket.write(`${part.length.toString(16)}\r\n${part}\r\n`);
    client.socket.write('0\r\n\r\n');
    expect(await client.until((so) => so.endsWith('}'))).toContain('"prediction":11.5');
    client.socket.destroy();
  });

  test('Expect: 100-continue is continued, other expectations fail', async () => {
    const client = await rawConnection(regression.port);
    client.socket.write(predict('expect: 100-continue\r\n', features).slice(0, -features.length));
    await client.until((so) => so.startsWith('HTTP/1.1 100 Continue\r\n\r\n'));
    client.socket.write(features);
    expect(await client.until((so) => so.endsWith('}'))).toContain('"prediction":11.5');
    client.socket.destroy();
    const other = await rawConnection(regression.port);
    other.socket.write(predict('expect: wonders\r\n'));
    expect(await other.until((so) => so.includes('\r\n\r\n'))).toMatch(/^HTTP\/1.1 417 /);
    other.socket.destroy();
  });

  test('HTTP/1.0 without keep-alive: answered, and the connection ends', async () => {
    const client = await rawConnection(regression.port);
    client.socket.write('GET /health HTTP/1.0\r\n\r\n');
    expect(await client.ended()).toMatch(/^HTTP\/1.1 200 [\s\S]*"model_loaded":true}$/);
  });
});

const one = { inputs: [{ name: 'X', shape: [1, 4], datatype: 'FP32', data: [1, 2, 3, 4] }] };
const rows = (count: number) => ({
  inputs: [{ name: 'X', shape: [count, 4], datatype: 'FP32', data: Array(count * 4).fill(1) }],
});
const requests = async ({ service }: Served, code: number) => {
  const text = await service.metrics.registry.getSingleMetricAsString('levada_inference_requests_total');
  return Number(new RegExp(`code="${code}"[^}]*} (\\d+)`).exec(text)?.[1] ?? 0);
};

describe('a slow model', () => {
  const url = () => `${slow.url}/v2/models/m/infer`;

  test('runs in a thread: health answers many times while one run goes on', async () => {
    let running = true;
    const long = post(url(), rows(20)).finally(() => {
      running = false;
    });
    let answers = 0;
    while (running) {
      expect((await call(`${slow.url}/health`)).json.status).toBe('ok');
      answers++;
    }
    expect((await long).status).toBe(200);
    expect(answers).toBeGreaterThan(20);
  });

  test('DeadlineExceeded, queued and in flight: 504 long before the run ends', async () => {
    let ended = false;
    const long = post(url(), rows(20)).finally(() => {
      ended = true;
    });
    const replies = await Promise.all([1, 2, 3].map(() => post(url(), one, { 'x-request-timeout-ms': '1' })));
    expect(ended).toBe(false);
    for (const { status, error, headers, json } of replies) {
      expect([status, error, headers.get('retry-after')]).toEqual([504, 'DeadlineExceeded', null]);
      expect(json.error).toMatch(/^no answer within \d+ ms$/);
    }
    expect((await long).status).toBe(200);
  });

  test('QueueFull: 429 with Retry-After, and those that wait are answered', async () => {
    const replies = await Promise.all(
      [rows(1024), rows(1)]
        .flatMap((body) => [body, body, body])
        .map((body) => post(url(), body, { 'x-request-timeout-ms': '500' })),
    );
    const refused = replies.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThan(0);
    for (const { error, headers, json } of refused) {
      expect([error, headers.get('retry-after')]).toEqual(['QueueFull', '1']);
      expect(json.error).toMatch(/rows are waiting; at most 1024 do/);
    }
    expect((await post(url(), one)).status).toBe(200);
  });

  test('clients that go away are not counted, and what they asked is not run', async () => {
    const before = await requests(slow, 200);
    const long = post(url(), rows(20));
    const clients = await Promise.all(Array.from({ length: 50 }, () => rawConnection(slow.port)));
    const body = JSON.stringify(one);
    for (const { socket } of clients)
      socket.write(`POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    for (const { socket } of clients) socket.destroy();
    expect((await long).status).toBe(200);
    expect((await post(url(), one)).status).toBe(200);
    await slow.service.idle();
    expect((await requests(slow, 200)) - before).toBeLessThan(10);
  });
});

describe('a model that is not there', () => {
  test('not loaded yet: 503 with Retry-After, health is 200', async () => {
    const served = await serve(serverConfig(iris(1)), { unloaded: true });
    try {
      const health = await call(`${served.url}/health`);
      expect([health.status, health.json]).toEqual([200, { status: 'loading', model_loaded: false }]);
      for (const path of ['/predict', '/v2/models/m/infer']) {
        const { status, error, headers, json } = await post(served.url + path, features);
        expect([status, error, headers.get('retry-after')]).toEqual([503, 'ModelNotReady', '1']);
        expect(JSON.stringify(json)).toContain('Loading');
      }
      expect((await call(`${served.url}/v2/models/m`)).status).toBe(503);
      expect((await call(`${served.url}/v2/health/live`)).status).toBe(200);
      for (const path of ['/v2/health/ready', '/v2/models/m/ready']) {
        const { status, json } = await call(served.url + path);
        expect([status, json.ready]).toEqual([503, false]);
      }
      await served.service.load();
      expect((await call(`${served.url}/v2/models/m/ready`)).status).toBe(200);
    } finally {
      await served.close();
    }
  });

  test('failed: 503 with the reason', async () => {
    const sha256 = createHash('sha256').update('another').digest('hex');
    const served = await serve(serverConfig(iris(1), { sha256 }));
    try {
      expect((await call(`${served.url}/health`)).json).toEqual({ status: 'failed', model_loaded: false });
      const { status, error, json } = await post(`${served.url}/predict`, features);
      expect([status, error]).toEqual([503, 'ModelNotReady']);
      expect(json.detail).toMatch(/DigestMismatch: .*allows only/);
    } finally {
      await served.close();
    }
  });
});
