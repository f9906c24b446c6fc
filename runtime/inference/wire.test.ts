import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { call, fixture, post, rawConnection, type Served, serve, serverConfig } from '../../test/support/serve.ts';
import { maxBodyBytes } from './body.ts';

let two: Served;
let all: Served;
let regression: Served;

beforeAll(async () => {
  [two, all, regression] = await Promise.all([
    serve(serverConfig(fixture('two-inputs'))),
    serve(serverConfig(fixture('identity-all'))),
    serve(serverConfig(fixture('regression'))),
  ]);
});
afterAll(() => Promise.all([two.close(), all.close(), regression.close()]));

const a = { name: 'a', shape: [1, 2], datatype: 'FP32', data: [1, 2] };
const b = { name: 'b', shape: [1, 2], datatype: 'FP32', data: [3, 4] };
const infer = (body: unknown, headers?: Record<string, string>) => post(`${two.url}/v2/models/m/infer`, body, headers);

test('the good request that the bad ones differ from', async () => {
  const { status, json } = await infer({ inputs: [a, b] });
  expect([status, json.outputs.map((o: { data: number[] }) => o.data)]).toEqual([
    200,
    [
      [4, 6],
      [3, 8],
    ],
  ]);
});

describe('a bad inference request is answered with its code and names the field', () => {
  const of = (change: object) => ({ inputs: [{ ...a, ...change }, b] });
  const raw = (data: string) => `{"inputs":[{"name":"a","shape":[1,2],"datatype":"FP32","data":[${data}]},
    {"name":"b","shape":[1,2],"datatype":"FP32","data":[3,4]}]}`;
  const cases: [name: string, body: unknown, code: string, message: string][] = [
    ['empty body', '', 'InvalidJson', 'not JSON'],
    ['not JSON', '{"inputs":', 'InvalidJson', 'not JSON'],
    ['broken UTF-8', Buffer.from('7b22c3287d', 'hex'), 'InvalidJson', 'UTF-8'],
    ['NaN', raw('NaN,1'), 'InvalidJson', 'not JSON'],
    ['Infinity', raw('1,-Infinity'), 'InvalidJson', 'not JSON'],
    ['an array', [], 'InvalidInput', 'the body: found an empty list'],
    ['null', 'null', 'InvalidInput', 'the body: found null'],
    ['a number', '5', 'InvalidInput', 'the body: found 5'],
    ['a string', '"x"', 'InvalidInput', 'the body: found "x"'],
    ['no inputs', {}, 'InvalidInput', 'inputs: found nothing'],
    ['inputs null', { inputs: null }, 'InvalidInput', 'inputs: found null'],
    ['inputs a map', { inputs: { a } }, 'InvalidInput', 'inputs: found a map'],
    ['an input null', { inputs: [a, null] }, 'InvalidInput', 'inputs[1]: found null'],
    ['an input missing', { inputs: [a] }, 'MissingInput', 'b is missing'],
    ['all inputs missing', { inputs: [] }, 'MissingInput', 'a, b is missing'],
    ['an input twice', { inputs: [a, a, b] }, 'InvalidInput', 'inputs[1].name: found "a"; allowed: every input once'],
    ['an unknown input', { inputs: [a, b, { ...a, name: 'c' }] }, 'UnknownInput', 'inputs[2].name'],
    ['no name', of({ name: undefined }), 'UnknownInput', 'inputs[0].name'],
    ['__proto__ as a name', of({ name: '__proto__' }), 'UnknownInput', '"__proto__"'],
    ['constructor as a name', of({ name: 'constructor' }), 'UnknownInput', '"constructor"'],
    ['__proto__ as a field', '{"__proto__":{"inputs":[]},"inputs":[]}', 'InvalidInput', '"__proto__"'],
    ['constructor as a field', { constructor: 1, inputs: [a, b] }, 'InvalidInput', '"constructor"'],
    ['an unknown field', { inputs: [a, b], extra: 1 }, 'InvalidInput', 'the body: found "extra"'],
    ['an unknown field of an input', of({ values: [] }), 'InvalidInput', 'inputs[0]: found "values"'],
    ['id a number', { id: 5, inputs: [a, b] }, 'InvalidInput', 'id: found 5'],
    ['wrong datatype', of({ datatype: 'FP64' }), 'WrongDatatype', 'inputs[0].datatype: found "FP64"; allowed: FP32'],
    ['no datatype', of({ datatype: undefined }), 'WrongDatatype', 'inputs[0].datatype: found nothing'],
    ['no shape', of({ shape: undefined }), 'InvalidInput', 'inputs[0].shape: found nothing'],
    ['wrong rank', of({ shape: [2] }), 'WrongShape', 'inputs[0].shape: found shape [2]; allowed: [-1,2]'],
    ['wrong width', of({ shape: [1, 3], data: [1, 2, 3] }), 'WrongShape', 'found shape [1,3]'],
    ['negative dimension', of({ shape: [-1, 2] }), 'InvalidInput', 'inputs[0].shape[0]: found -1'],
    ['zero dimension', of({ shape: [0, 2], data: [] }), 'InvalidInput', 'inputs[0].shape[0]: found 0'],
    ['fractional dimension', of({ shape: [1.5, 2] }), 'InvalidInput', 'inputs[0].shape[0]: found 1.5'],
    ['string dimension', of({ shape: ['1', 2] }), 'InvalidInput', 'inputs[0].shape[0]: found "1"'],
    ['empty shape', of({ shape: [] }), 'WrongShape', 'inputs[0].shape'],
    ['huge dimension', of({ shape: [2 ** 52, 2] }), 'WrongShape', 'at most'],
    [
      'infinite dimension',
      '{"inputs":[{"name":"a","datatype":"FP32","shape":[1e999,2]}]}',
      'InvalidInput',
      'shape[0]: found Infinity',
    ],
    ['product overflow', of({ shape: [2 ** 31, 2 ** 31, 2 ** 31] }), 'WrongShape', 'inputs[0].shape'],
    ['a thousand dimensions', of({ shape: Array(1000).fill(1) }), 'InvalidInput', 'a list of 1000'],
    ['fewer elements than the shape', of({ shape: [2, 2] }), 'WrongShape', 'inputs[0].data: found shape 2 elements'],
    ['no data', of({ data: undefined }), 'InvalidInput', 'inputs[0].data: found nothing'],
    ['data a number', of({ data: 1 }), 'InvalidInput', 'inputs[0].data: found 1'],
    ['ragged data', of({ shape: [2, 2], data: [[1, 2], [3]] }), 'WrongShape', 'inputs[0].data[1]'],
    ['half nested data', of({ shape: [2, 2], data: [[1, 2], 3] }), 'InvalidInput', 'inputs[0].data[1]: found 3'],
    ['nested too deep', of({ data: [[[1], [2]]] }), 'InvalidInput', 'inputs[0].data[0][0]: found a list of 1'],
    ['null element', of({ data: [1, null] }), 'InvalidInput', 'inputs[0].data[1]: found null'],
    ['string element', of({ data: ['1', 2] }), 'InvalidInput', 'inputs[0].data[0]: found "1"'],
    ['boolean element', of({ data: [1, true] }), 'InvalidInput', 'inputs[0].data[1]: found true'],
    ['1e999', raw('1e999,1'), 'InvalidInput', 'inputs[0].data[0]: found Infinity'],
    ['1e39 in FP32', raw('1,1e39'), 'InvalidInput', 'inputs[0].data[1]: found 1e+39'],
    ['inputs with other row counts', of({ shape: [2, 2], data: [1, 2, 3, 4] }), 'WrongShape', 'b: found shape 1 rows'],
    ['outputs a map', { inputs: [a, b], outputs: {} }, 'InvalidInput', 'outputs: found a map'],
    ['unknown output', { inputs: [a, b], outputs: [{ name: 'x' }] }, 'UnknownOutput', 'outputs[0].name: the model'],
    [
      'an output twice',
      { inputs: [a, b], outputs: [{ name: 'sum' }, { name: 'sum' }] },
      'InvalidInput',
      'outputs[1].name: found "sum"',
    ],
    ['binary input', of({ parameters: { binary_data_size: 8 } }), 'InvalidInput', 'inputs[0].parameters'],
    [
      'binary outputs',
      { inputs: [a, b], parameters: { binary_data_output: true } },
      'InvalidInput',
      'the body.parameters',
    ],
    [
      'binary output',
      { inputs: [a, b], outputs: [{ name: 'sum', parameters: { binary_data: true } }] },
      'InvalidInput',
      'outputs[0].parameters',
    ],
    ['parameters a list', { inputs: [a, b], parameters: [] }, 'InvalidInput', 'the body.parameters'],
  ];
  test.each(cases)('%s', async (_name, body, code, message) => {
    const { status, error, json, headers } = await infer(body);
    expect([status, error]).toEqual([400, code]);
    expect(Object.keys(json)).toEqual(['error']);
    expect(json.error).toContain(message);
    expect(headers.get('content-type')).toBe('application/json');
  });

  const elements: [datatype: string, element: string][] = [
    ['UINT8', '256'],
    ['UINT8', '-1'],
    ['INT8', '128'],
    ['INT8', '1.5'],
    ['INT16', '-32769'],
    ['UINT16', '65536'],
    ['INT32', '2147483648'],
    ['UINT32', '4294967296'],
    ['INT64', '9223372036854775808'],
    ['INT64', '-9223372036854775809'],
    ['INT64', '1e30'],
    ['INT64', '0.5'],
    ['INT64', '"1"'],
    ['UINT64', '18446744073709551616'],
    ['UINT64', '-1'],
    ['FP16', '65520'],
    ['FP64', '1e309'],
    ['BOOL', '1'],
    ['BOOL', '"true"'],
    ['BYTES', '1'],
    ['BYTES', 'null'],
    ['INT32', 'true'],
    ['INT32', '{}'],
  ];
  test.each(elements)('%s does not take %s', async (datatype, element) => {
    const text = `{"inputs":[{"name":"${datatype}","shape":[1,2],"datatype":"${datatype}","data":[${element},0]}]}`;
    const { status, error, json } = await post(`${all.url}/v2/models/m/infer`, text);
    expect([status, error]).toEqual([400, 'InvalidInput']);
    expect(json.error).toContain('inputs[0].data[0]: found');
  });
});

describe('headers, paths and methods', () => {
  const cases: [method: string, path: string, headers: Record<string, string>, status: number, code: string][] = [
    ['POST', '/v2/models/m/infer', { 'content-encoding': 'gzip' }, 415, 'UnsupportedMediaType'],
    ['POST', '/v2/models/m/infer', { 'inference-header-content-length': '5' }, 415, 'UnsupportedMediaType'],
    ['POST', '/predict', { 'content-encoding': 'br' }, 415, 'UnsupportedMediaType'],
    ...['0', '-1', '1.5', 'soon', '1e3', '0x10', '', '600001', '99999999999999'].map(
      (value): [string, string, Record<string, string>, number, string] => [
        'POST',
        '/v2/models/m/infer',
        { 'x-request-timeout-ms': value },
        400,
        'InvalidInput',
      ],
    ),
    ['POST', '/v2/models/other/infer', {}, 404, 'UnknownModel'],
    ['POST', '/v2/models/%6D%6D/infer', {}, 404, 'UnknownModel'],
    ['POST', '/v2/models/%E0%A4%A/infer', {}, 404, 'UnknownModel'],
    ['POST', '/v2/models/__proto__/infer', {}, 404, 'UnknownModel'],
    ['POST', '/v2/models/m/versions/v2/infer', {}, 404, 'UnknownVersion'],
    ['GET', '/v2/models/m/versions/v2', {}, 404, 'UnknownVersion'],
    ['GET', '/', {}, 404, 'RouteNotFound'],
    ['POST', '/constructor', {}, 404, 'RouteNotFound'],
    ['GET', '/v2/models', {}, 404, 'RouteNotFound'],
    ['GET', '/v2/models/m/versions', {}, 404, 'RouteNotFound'],
    ['POST', '/v2/models/m/infer/x', {}, 404, 'RouteNotFound'],
    ['GET', `/${'x'.repeat(8_000)}`, {}, 404, 'RouteNotFound'],
  ];
  test.each(cases)('%s %s %j: %i %s', async (method, path, headers, status, code) => {
    const init = { method, headers, ...(method === 'POST' && { body: JSON.stringify({ inputs: [a, b] }) }) };
    const reply = await call(two.url + path, init);
    expect([reply.status, reply.error]).toEqual([status, code]);
    expect(reply.text.length).toBeLessThan(600);
  });

  test.each([
    ['GET', '/predict', 'POST'],
    ['GET', '/v2/models/m/infer', 'POST'],
    ['DELETE', '/v2/models/m', 'GET, HEAD'],
    ['POST', '/health', 'GET, HEAD'],
    ['PUT', '/v2', 'GET, HEAD'],
  ])('%s %s is not allowed: Allow says %s', async (method, path, allow) => {
    const reply = await call(two.url + path, { method });
    expect([reply.status, reply.error, reply.headers.get('allow')]).toEqual([405, 'MethodNotAllowed', allow]);
  });

  test.each([
    '/v2/models/%6D/infer',
    '/v2/models/m/versions/v1/infer',
    '/v2/models/m/infer?x=1',
    '/v2/models/m/infer/',
  ])('POST %s works', async (path) => expect((await post(two.url + path, { inputs: [a, b] })).status).toBe(200));

  test.each([
    ['/health', { status: 'ok', model_loaded: true }],
    ['/v2', { name: 'levada', version: '0.1.0', extensions: [] }],
    ['/v2/health/live', { live: true }],
    ['/v2/health/ready', { ready: true }],
    ['/v2/models/m/ready', { name: 'm', ready: true }],
    ['/v2/models/m/versions/v1/ready', { name: 'm', ready: true }],
  ])('GET and HEAD %s', async (path, body) => {
    const get = await call(two.url + path);
    expect([get.status, get.json, get.headers.get('x-levada-version')]).toEqual([200, body, 'v1']);
    const head = await call(two.url + path, { method: 'HEAD' });
    expect([head.status, head.text, head.headers.get('content-length')]).toEqual([200, '', `${get.text.length}`]);
  });

  test('GET /v2/models/m describes the tensors', async () => {
    const { json } = await call(`${two.url}/v2/models/m`);
    const tensor = { datatype: 'FP32', shape: [-1, 2] };
    expect(json).toEqual({
      name: 'm',
      versions: ['v1'],
      platform: 'onnx_onnxv1',
      inputs: [
        { name: 'a', ...tensor },
        { name: 'b', ...tensor },
      ],
      outputs: [
        { name: 'sum', ...tensor },
        { name: 'product', ...tensor },
      ],
    });
  });

  test('an answer without a body to read leaves the connection open, an early answer ends it', async () => {
    const client = await rawConnection(two.port);
    client.socket.write('GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\nGET /v2 HTTP/1.1\r\nhost: x\r\n\r\n');
    expect(await client.until((text) => text.includes('extensions'))).not.toContain('onnection: close');
    client.socket.write('POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}');
    expect(await client.ended()).toMatch(/404 Not Found\r\n[\s\S]*connection: close/);
  });
});

describe('deep nesting', () => {
  test.each(['/predict', '/v2/models/m/infer'])('%s: 10 MB of brackets, open and closed', async (path) => {
    const depth = 5 * 2 ** 20;
    for (const text of ['['.repeat(2 * depth), '['.repeat(depth) + ']'.repeat(depth)]) {
      for (const body of [
        text,
        `{"features":${text}}`,
        `{"inputs":${text}}`,
        `{"id":"x","parameters":{"a":${text}}}`,
      ]) {
        const start = performance.now();
        const { status, text: answer } = await post(regression.url + path, body);
        expect(status).toBe(path === '/predict' ? 422 : 400);
        expect(answer.length).toBeLessThan(1_000);
        // Parsing that takes seconds; looking for the depth takes none.
        expect(performance.now() - start).toBeLessThan(1_000);
      }
    }
    expect((await call(`${two.url}/health`)).status).toBe(200);
  });

  test('a small body that is deep, and is read exactly', async () => {
    const deep = '['.repeat(30_000) + ']'.repeat(30_000);
    const text = `{"parameters":{"a":${deep}},"inputs":[{"name":"INT64","shape":[1,2],"datatype":"INT64",
      "data":[9223372036854775807,0]}]}`;
    const { status, error } = await post(`${all.url}/v2/models/m/infer`, text);
    expect([status, error]).toEqual([400, 'InvalidJson']);
  });
});

describe('large bodies', () => {
  const size = 50 * 2 ** 20;
  const upload = (path: string, headers: Record<string, string | number>) =>
    new Promise<{ status: number | undefined; error: unknown; connection: unknown; sent: boolean }>(
      (resolve, reject) => {
        const req = httpRequest(two.url + path, { method: 'POST', headers, agent: false }, (res) => {
          res.resume();
          res.once('close', () => {
            const { 'x-levada-error': error, connection } = res.headers;
            resolve({ status: res.statusCode, error, connection, sent: req.writableFinished });
          });
        });
        req.once('error', reject);
        const chunk = Buffer.alloc(2 ** 16, ' ');
        let left = size / chunk.length;
        const write = () => {
          while (left-- > 0) if (!req.write(chunk)) return void req.once('drain', write);
          req.end();
        };
        write();
      },
    );

  test.each([
    ['with Content-Length', { 'content-length': size }],
    ['chunked', {}],
  ])('%s: 413, the connection ends, memory stays flat', async (_name, headers) => {
    const before = process.memoryUsage().rss;
    for (const path of ['/predict', '/v2/models/m/infer', '/predict']) {
      const { status, error, connection } = await upload(path, headers);
      expect([status, error, connection]).toEqual([413, 'BodyTooLarge', 'close']);
    }
    // Three bodies have 150 MB; the client here holds one chunk of each.
    expect(process.memoryUsage().rss - before).toBeLessThan(3 * maxBodyBytes);
  });

  test('a client that writes all before it reads sees the 413 too', async () => {
    const client = await rawConnection(two.port);
    client.socket.pause();
    client.socket.write(`POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: ${size}\r\n\r\n`);
    await new Promise<void>((resolve, reject) => {
      client.socket.once('error', reject);
      client.socket.write(Buffer.alloc(size, ' '), () => resolve());
    });
    client.socket.resume();
    expect(await client.ended()).toMatch(/^HTTP\/1.1 413 /);
  });

  test('the budget for bodies is whole again afterwards', async () => {
    // More than the budget in all: a leak of what was refused or abandoned would show as 503.
    for (let i = 0; i < 8; i++) {
      const client = await rawConnection(two.port);
      client.socket.write(`POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: ${maxBodyBytes}\r\n\r\n`);
      await new Promise<void>((resolve) => client.socket.write(Buffer.alloc(maxBodyBytes - 1, ' '), () => resolve()));
      client.socket.destroy();
    }
    const { status } = await infer(`{"inputs":[${JSON.stringify(a)},${JSON.stringify(b)}]}${' '.repeat(2 ** 20)}`);
    expect(status).toBe(200);
  });
});
