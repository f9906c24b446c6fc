/** The seed's concurrent HTTP client and our fan-out step, on the same servers. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeExit, runPython } from '../../cli/python.ts';
import type { Result } from '../../runtime/steps/fanout/result.ts';
import { httpServer, rawServer, type TestServer, testStep } from '../../runtime/steps/fanout/testing.ts';
import { requireAiohttpPython } from '../support/models.ts';

const driver = fileURLToPath(new URL('../support/seed_client.py', import.meta.url));
/** For both. Long enough for a machine that is busy with other tests, and for a name server that says no. */
const timeoutMs = 4000;

const answers: Record<string, (response: ServerResponse, request: IncomingMessage) => void> = {
  '/object': (response) => reply(response, 200, '{"id": 1, "name": "Füller", "tags": ["a", null, 1.5e3]}'),
  '/list': (response) => reply(response, 200, '[1, 2, 3]'),
  '/null': (response) => reply(response, 200, 'null'),
  '/created': (response) => reply(response, 201, '{"created": true}'),
  '/vendor': (response) => reply(response, 200, '{"vendor": true}', 'application/vnd.shop+json; charset=utf-8'),
  '/latin1': (response) =>
    reply(response, 200, Buffer.from('"Füller"', 'latin1'), 'application/json; charset=iso-8859-1'),
  '/empty-json': (response) => reply(response, 200, ''),
  '/no-content': (response) => response.writeHead(204).end(),
  '/not-found': (response) => reply(response, 404, '{"detail": "Not Found"}'),
  '/failed': (response) => reply(response, 500, '{"detail": "oops"}'),
  '/broken': (response) => reply(response, 200, '{"id": 1,'),
  '/html': (response) => reply(response, 200, '<p>hello</p>', 'text/html'),
  '/no-type': (response) => response.writeHead(200).end('{}'),
  '/moved': (response) => response.writeHead(302, { location: '/object' }).end(),
  '/circle': (response) => response.writeHead(302, { location: '/circle' }).end(),
  '/unasked': (response) => response.writeHead(304).end(),
  '/hangs': () => {},
  '/hangs-in-body': (response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': 100 });
    response.write('{"id":');
  },
  '/closes': (response) => response.destroy(),
  '/closes-in-body': (response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': 100 });
    response.write('{"id":', () => response.destroy());
  },
};

function reply(response: ServerResponse, status: number, body: string | Buffer, type = 'application/json'): void {
  response.writeHead(status, { 'content-type': type }).end(body);
}

let server: TestServer;
let garbage: TestServer;
let closed: string;
beforeAll(async () => {
  server = await httpServer((request, response) => {
    const answer = answers[request.url?.split('?')[0] ?? ''];
    if (answer) answer(response, request);
    else reply(response, 200, JSON.stringify({ url: request.url }));
  });
  garbage = await rawServer((socket) => socket.once('data', () => socket.end('hello\r\n\r\n')));
  const gone = await httpServer(() => {});
  closed = gone.url;
  await gone.close();
});
afterAll(() => Promise.all([server.close(), garbage.close()]));

async function seedClient(python: string, urls: readonly string[]): Promise<Result[]> {
  const run = await runPython(python, [driver, String(timeoutMs / 1000), ...urls], { timeoutMs: 60_000 });
  if (run.status !== 0) throw new Error(`${driver} ${describeExit(run)}:\n${run.stderr.join('\n')}`);
  return JSON.parse(run.stdout) as Result[];
}

/** What both must agree on; of an error, whether there is one. */
const comparable = (results: readonly Result[]) =>
  results.map((result) => ('error' in result ? { ...result, error: result.error !== '' } : result));

test('the same url, order, status and data as async_http_client.py', async (context) => {
  const python = await requireAiohttpPython(context);
  const urls = [
    ...Object.keys(answers).map((path) => server.url + path),
    ...['/echo?a=1&b=%20x', '/object', '/echo/%C3%BC?q=%C3%BC', '/echo#part'].map((path) => server.url + path),
    ...[closed, garbage.url, 'http://invalid-domain-xyz.invalid/', 'not a url', 'http://', 'ftp://127.0.0.1/x'],
  ];
  const step = testStep({ action: { timeoutMs } });
  try {
    const [theirs, ours] = await Promise.all([seedClient(python, urls), step.get(urls)]);
    expect(ours.map(({ url }) => url)).toEqual(urls);
    expect(comparable(ours)).toEqual(comparable(theirs));
    const statuses = new Set(ours.map(({ status }) => status));
    expect(statuses).toEqual(new Set([200, 201, 'error', 'timeout']));
    const late = ours.filter(({ status }) => status === 'timeout');
    expect(late.map(({ url }) => url)).toEqual(['/hangs', '/hangs-in-body'].map((path) => server.url + path));
    expect(late).toEqual(theirs.filter(({ status }) => status === 'timeout'));
  } finally {
    await step.close();
  }
});
