import { createHash } from 'node:crypto';
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { ModelServerConfig, ModelServerStatus } from '../api/contract/model-server.ts';
import { freePort } from '../operator/drivers/local/ports.ts';
import { startProxy } from '../test/support/proxy.ts';
import {
  call,
  fixture,
  iris,
  post,
  rawConnection,
  type Served,
  type ServerProcess,
  serve,
  serverConfig,
  startProcess,
  until,
} from '../test/support/serve.ts';

const started: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((process) => process.close()));
});

async function start(path: string, args: readonly string[] = [], change: object = {}): Promise<ServerProcess> {
  const ports = { serving: await freePort(), admin: await freePort() };
  const process = await startProcess({ ...serverConfig(path), ...change }, ports, args);
  started.push(process);
  return process;
}

const ok = (url: string): Promise<boolean> =>
  call(url).then(
    ({ status }) => status === 200,
    () => false,
  );
const ready = (process: ServerProcess) => until(() => ok(`http://127.0.0.1:${process.admin}/readyz`));

const features = JSON.stringify({ features: [5.1, 3.5, 1.4, 0.2] });

/** Clients that ask without a pause on connections that they keep, until {@link stop}. */
function load(port: number, clients: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const failures: string[] = [];
  let answered = 0;
  let stopped = false;
  const ask = () =>
    new Promise<boolean>((resolve) => {
      const req = request({ port, host: '127.0.0.1', path: '/predict', method: 'POST', agent }, (res) => {
        let text = '';
        res.on('data', (chunk) => {
          text += chunk;
        });
        res.on('end', () => {
          if (res.statusCode === 200 && text.includes('"prediction":0')) answered++;
          else failures.push(`${res.statusCode} ${text}`);
          resolve(true);
        });
        res.on('error', (error) => {
          failures.push(`half an answer: ${error.message}`);
          resolve(true);
        });
      });
      req.on('error', (error: NodeJS.ErrnoException) => {
        // A connection that is refused was never accepted: another process has the port by then.
        const refused = error.code === 'ECONNREFUSED';
        if (!refused) failures.push(`${error.code} ${error.message}, ${req.reusedSocket ? 'kept' : 'new'} connection`);
        resolve(!refused);
      });
      req.end(features);
    });
  const all = Promise.all(
    Array.from({ length: clients }, async () => {
      while (!stopped && (await ask())) {}
    }),
  ).then(() => agent.destroy());
  return {
    failures,
    answered: () => answered,
    ended: all,
    async stop() {
      stopped = true;
      await all;
    },
  };
}

describe('the end of a process', () => {
  test('SIGTERM under load: no request fails, though callers hear of it only later; exit code 0', async () => {
    const [first, second] = [await start(iris(2)), await start(iris(2))];
    await Promise.all([ready(first), ready(second)]);
    // What kube-proxy does: it chooses for each connection, by what it has heard so far.
    let endpoint = first;
    const service = await startProxy(() => ({ host: '127.0.0.1', port: endpoint.serving }));
    const clients = load(service.port, 16);
    const more = (count: number) => {
      const before = clients.answered();
      return until(() => clients.answered() >= before + count || clients.failures.length > 0);
    };
    await more(500);
    first.child.kill('SIGTERM');
    await until(async () => (await call(`http://127.0.0.1:${first.admin}/readyz`)).status === 503);
    const connections = service.accepted;
    await more(20);
    expect(service.accepted).toBeGreaterThan(connections); // each answer ends its connection
    endpoint = second;
    expect(await first.exit()).toEqual({ code: 0, signal: null });
    await more(100);
    await clients.stop();
    await service.close();
    expect(clients.failures).toEqual([]);
    expect(first.log.map(({ msg }) => msg)).toEqual(['model loaded', 'draining', 'drained']);
  });

  test('SIGINT under load: no request fails, exit code 0', async () => {
    const server = await start(iris(2));
    await ready(server);
    const clients = load(server.serving, 16);
    await until(() => clients.answered() > 500);
    server.child.kill('SIGINT');
    expect(await server.exit()).toEqual({ code: 0, signal: null });
    await clients.ended;
    expect(clients.failures).toEqual([]);
    expect(clients.answered()).toBeGreaterThan(500);
    expect(server.log.map(({ msg }) => msg)).toEqual(['model loaded', 'draining', 'drained']);
  });

  test('after SIGTERM it is accepted for a moment: whoever sends has not heard of it yet', async () => {
    const server = await start(iris(2));
    await ready(server);
    const url = `http://127.0.0.1:${server.serving}/predict`;
    server.child.kill('SIGTERM');
    await until(async () => (await call(`http://127.0.0.1:${server.admin}/readyz`)).status === 503);
    const { status, headers } = await post(url, features);
    expect([status, headers.get('connection')]).toEqual([200, 'close']);
    expect(await server.exit()).toEqual({ code: 0, signal: null });
  });

  test('what is in hand is answered first: a slow run, and a body that is on its way', async () => {
    const server = await start(fixture('slow'));
    await ready(server);
    const body = JSON.stringify({
      inputs: [{ name: 'X', shape: [160, 4], datatype: 'FP32', data: Array(640).fill(2) }],
    });
    const late = await rawConnection(server.serving);
    late.socket.write(`POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n{`);
    const long = post(`http://127.0.0.1:${server.serving}/v2/models/m/infer`, body);
    const metric = /^levada_inference_batch_size_count.* [1-9]/m;
    await until(async () => metric.test((await call(`http://127.0.0.1:${server.admin}/metrics`)).text));
    server.child.kill('SIGTERM');
    await until(() => server.log.some(({ msg }) => msg === 'draining'));
    expect((await call(`http://127.0.0.1:${server.admin}/readyz`)).status).toBe(503);
    expect((await call(`http://127.0.0.1:${server.admin}/livez`)).status).toBe(200);
    expect((await call(`http://127.0.0.1:${server.admin}/status`)).json.draining).toBe(true);
    late.socket.write(body.slice(1));
    expect((await long).json.outputs[0].shape).toEqual([160, 1]);
    expect(await late.ended()).toMatch(/^HTTP\/1.1 200 OK\r\n[\s\S]*connection: close\r\n/i);
    expect(await server.exit()).toEqual({ code: 0, signal: null });
  });

  test('SIGTERM while it loads a model that never ends its warm-up: the process ends all the same', async () => {
    const server = await start(fixture('endless'));
    await until(() => ok(`http://127.0.0.1:${server.admin}/livez`));
    await until(async () => 'sha256' in (await call(`http://127.0.0.1:${server.admin}/status`)).json);
    server.child.kill('SIGTERM');
    // An orderly exit waits for native code.
    expect(await server.exit()).toEqual({ code: null, signal: 'SIGKILL' });
    expect(server.log.at(-1)?.['msg']).toBe('drained');
  });

  test('SIGTERM during a run that outlasts the time to drain: the process does not wait for its end', async () => {
    const server = await start(fixture('slow'), ['--drain-timeout-ms', '100', '--linger-ms', '0']);
    await ready(server);
    const body = { inputs: [{ name: 'X', shape: [64, 4], datatype: 'FP32', data: Array(256).fill(2) }] };
    const requests = Array.from({ length: 15 }, () =>
      post(`http://127.0.0.1:${server.serving}/v2/models/m/infer`, body),
    );
    const all = Promise.allSettled(requests);
    const metric = /^levada_inference_batch_size_count.* [1-9]/m;
    await until(async () => metric.test((await call(`http://127.0.0.1:${server.admin}/metrics`)).text));
    server.child.kill('SIGTERM');
    expect(await server.exit()).toEqual({ code: null, signal: 'SIGKILL' });
    expect(server.log.at(-1)?.['msg']).toBe('the time to drain is over');
    await all;
  });
});

test('a configuration of no kind that there is: the process ends, and says what is allowed', async () => {
  const config = { ...serverConfig(iris(2)), kind: 'gateway' } as unknown as ModelServerConfig;
  const server = await startProcess(config, { serving: 0, admin: 0 });
  started.push(server);
  expect((await server.exit()).code).toBe(1);
  await until(() => server.stderr().includes('allowed: a configuration whose kind is model-server or pipeline'));
});

describe('a model that never ends', () => {
  test('in its warm-up: health answers, and the process ends when its time is over, saying why', async () => {
    const server = await start(fixture('endless'), ['--load-timeout-ms', '1500']);
    await until(() => ok(`http://127.0.0.1:${server.serving}/health`));
    expect((await call(`http://127.0.0.1:${server.serving}/health`)).json.status).toBe('loading');
    expect(await server.exit()).toEqual({ code: null, signal: 'SIGKILL' });
    expect(server.log.at(-1)).toMatchObject({ level: 60, reason: expect.stringMatching(/was not ready after 1.5 s/) });
  });

  test('in a run in its thread: the process ends when the time of a run is over', async () => {
    const server = await start(fixture('slow'), ['--run-timeout-ms', '200']);
    await ready(server);
    const body = { inputs: [{ name: 'X', shape: [64, 4], datatype: 'FP32', data: Array(256).fill(2) }] };
    const url = `http://127.0.0.1:${server.serving}/v2/models/m/infer`;
    // A model whose run is long enough for the time-out: quick machines need several.
    void Promise.allSettled(Array.from({ length: 50 }, () => post(url, body)));
    expect(await server.exit()).toEqual({ code: null, signal: 'SIGKILL' });
    expect(server.log.at(-1)).toMatchObject({ level: 60, reason: 'a run has not ended after 0.2 s' });
  });
});

test('--load-after-ms: there, answering, and loading only later', async () => {
  const server = await start(iris(2), ['--load-after-ms', '400']);
  await until(() => ok(`http://127.0.0.1:${server.serving}/health`));
  expect((await call(`http://127.0.0.1:${server.admin}/readyz`)).status).toBe(503);
  await ready(server);
  expect((await call(`http://127.0.0.1:${server.serving}/health`)).json.status).toBe('ok');
});

describe('listening sockets come and go', () => {
  const inProcess = async (): Promise<Served> => {
    const served = await serve(serverConfig(iris(2)));
    started.push(served);
    return served;
  };

  test('release() under load: no request fails, other sockets go on', async () => {
    const { serving, port } = await inProcess();
    const second = await serving.listen('second', { host: '127.0.0.1', port: 0 });
    const [leaving, staying] = [load(port, 16), load(second, 4)];
    await until(() => leaving.answered() > 300 && staying.answered() > 100);
    await serving.release('serving');
    await leaving.ended;
    const before = staying.answered();
    await until(() => staying.answered() > before + 100);
    await staying.stop();
    expect([leaving.failures, staying.failures]).toEqual([[], []]);
  });

  test('release() lets an idle connection ask once more', async () => {
    const { serving, port } = await inProcess();
    const client = await rawConnection(port);
    const get = 'GET /health HTTP/1.1\r\nhost: x\r\n\r\n';
    client.socket.write(get);
    await client.until((text) => text.endsWith('}'));
    const released = serving.release('serving');
    client.socket.write(get);
    expect(await client.ended()).toMatch(/keep-alive[\s\S]*"ok"[\s\S]*connection: close[\s\S]*"ok"/i);
    await released;
  });

  test('a socket name that is not there, and one that is released twice', async () => {
    const { serving } = await inProcess();
    await serving.release('nobody');
    await Promise.all([serving.release('serving'), serving.release('serving')]);
  });
});

test('a file that is not there is looked for again, and so is one that is another', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'levada-main-'));
  const path = join(folder, 'model.onnx');
  try {
    const sha256 = createHash('sha256')
      .update(await readFile(join(iris(1), 'model.onnx')))
      .digest('hex');
    const process = await start(path, ['--look-again-ms', '20'], { sha256 });
    await until(() => ok(`http://127.0.0.1:${process.admin}/livez`));
    const code = async () => {
      const { json } = await call(`http://127.0.0.1:${process.admin}/status`);
      return (json as ModelServerStatus).failure?.code;
    };
    await until(async () => (await code()) === 'ArtifactNotFound');
    await cp(join(iris(2), 'model.onnx'), path);
    await until(async () => (await code()) === 'DigestMismatch');
    await cp(join(iris(1), 'model.onnx'), path);
    await ready(process);
    expect(await code()).toBeUndefined();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
