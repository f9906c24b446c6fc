import { describe, expect, test } from 'vitest';
import { OperatorMetrics } from '../operator/engine/metrics.ts';
import { call, fixture, iris, post, rawConnection, serve, serverConfig } from '../test/support/serve.ts';
import { startAdmin } from './admin.ts';

async function start(path: string) {
  const batching = { maxBatchSize: 64, maxDelayMs: 20 };
  const served = await serve(serverConfig(path, { batching }));
  let draining = false;
  const port = await startAdmin({
    host: '127.0.0.1',
    port: 0,
    metrics: served.service.metrics,
    status: () => ({ ...served.service.status, draining }),
  });
  return {
    ...served,
    admin: `http://127.0.0.1:${port}`,
    adminPort: port,
    drain: () => {
      draining = true;
    },
  };
}

/** Samples of the text format by name and labels, `model` and `version` left out. Throws where a line is not in it. */
function parse(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  const typed = new Set<string>();
  for (const line of text.split('\n')) {
    const type = /^# TYPE (\S+) (counter|gauge|histogram|summary)$/.exec(line);
    if (type) typed.add(type[1] as string);
    if (line === '' || line.startsWith('#')) continue;
    if (line.startsWith('nodejs_version_info{')) continue; // its `version` is Node's
    const match = /^([a-zA-Z_:][\w:]*)\{((?:\w+="(?:[^"\\\n]|\\.)*",?)*)\} (\S+)$/.exec(line);
    if (!match) throw new Error(`not a sample: ${line}`);
    const [, name = '', labels = '', value] = match;
    expect(typed.has(name) || typed.has(name.replace(/_(bucket|sum|count)$/, '')), line).toBe(true);
    const own = labels.split(/(?<="),/).filter((label) => label !== '');
    expect(own).toContain('model="m"');
    expect(own).toContain('version="v1"');
    const key = `${name}{${own.filter((label) => !/^(model|version)=/.test(label)).sort()}}`;
    expect(samples.has(key), key).toBe(false);
    samples.set(key, Number(value));
  }
  return samples;
}

describe('the admin port', () => {
  test('/metrics counts what was answered', async () => {
    const { url, admin, close, service } = await start(fixture('fails-when-negative'));
    const before = parse((await call(`${admin}/metrics`)).text);
    const infer = (data: number[], more = {}) =>
      post(`${url}/v2/models/m/infer`, {
        inputs: [{ name: 'X', datatype: 'FP32', shape: [data.length / 2, 2], data }],
        ...more,
      });
    // Each awaited, so that each is a run of its own: 1, 2 and 3 rows; then five that share one.
    for (const rows of [1, 2, 3]) expect((await infer(Array(rows * 2).fill(1))).status).toBe(200);
    const shared = await Promise.all(Array.from({ length: 5 }, () => infer([1, 1])));
    expect(shared.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    expect((await infer([-1, 1])).status).toBe(500);
    expect((await infer([1, 1], { outputs: [{ name: 'no' }] })).error).toBe('UnknownOutput');
    expect((await infer([1, 1], { id: 1 })).error).toBe('InvalidInput');
    expect((await post(`${url}/v2/models/m/infer`, '{')).error).toBe('InvalidJson');
    expect((await post(`${url}/v2/models/other/infer`, '{')).error).toBe('UnknownModel');
    expect((await post(`${url}/predict`, { features: [1, 2] })).status).toBe(200);
    expect((await post(`${url}/predict`, { features: [1] })).status).toBe(422);
    await service.idle();

    const { headers, text } = await call(`${admin}/metrics`);
    expect(headers.get('content-type')).toMatch(/^text\/plain; version=0.0.4/);
    const after = parse(text);
    const grown = (key: string) => (after.get(key) ?? 0) - (before.get(key) ?? 0);
    const count = (code: number, protocol: string) =>
      grown(`levada_inference_requests_total{code="${code}",protocol="${protocol}"}`);
    expect([200, 500, 400, 404].map((code) => count(code, 'oip'))).toEqual([8, 1, 3, 1]);
    expect([200, 422].map((code) => count(code, 'simple'))).toEqual([1, 1]);
    const errors = ['InferenceFailed', 'UnknownOutput', 'InvalidInput', 'InvalidJson', 'UnknownModel'];
    for (const error of errors) expect(grown(`levada_inference_errors_total{error="${error}",protocol="oip"}`)).toBe(1);
    expect(grown('levada_inference_errors_total{error="InvalidInput",protocol="simple"}')).toBe(1);
    expect(grown('levada_inference_request_duration_seconds_count{}')).toBe(9);
    // Rows: 1 + 2 + 3 + 5 + 1. How many runs the five took is the event loop's business.
    expect(grown('levada_inference_batch_size_sum{}')).toBe(12);
    expect(grown('levada_inference_batch_size_count{}')).toBe(grown('levada_inference_run_duration_seconds_count{}'));
    expect(grown('levada_inference_batch_size_count{}')).toBeLessThan(9);
    expect(after.get('levada_inference_queued_rows{}')).toBe(0);
    expect(['Loaded', 'Loading', 'Failed'].map((s) => after.get(`levada_model_state{state="${s}"}`))).toEqual([
      1, 0, 0,
    ]);
    expect([...after.values()].every((value) => value >= 0)).toBe(true);
    await close();
  });

  test('/readyz, /livez and /status follow the model', async () => {
    const good = await start(iris(2));
    expect((await call(`${good.admin}/readyz`)).status).toBe(200);
    expect((await call(`${good.admin}/readyz?verbose`)).status).toBe(200);
    expect((await call(`${good.admin}/status`)).json).toEqual({ ...good.service.status, draining: false });
    good.drain();
    const drained = await call(`${good.admin}/readyz`);
    expect([drained.status, drained.text]).toEqual([503, 'draining\n']);
    expect((await call(`${good.admin}/livez`)).text).toBe('ok\n');
    await good.close();

    const bad = await start(fixture('garbage'));
    const { status, text } = await call(`${bad.admin}/readyz`);
    expect([status, text]).toEqual([503, `${bad.service.status.failure?.message}\n`]);
    expect((await call(`${bad.admin}/livez`)).status).toBe(200);
    expect((await call(`${bad.admin}/status`)).json).toMatchObject({
      state: 'Failed',
      failure: { code: 'ModelInvalid' },
    });
    expect((await call(`${bad.admin}/metrics`)).text).toMatch(/^levada_model_state\{.*state="Failed".*\} 1$/m);
    await bad.close();
  });

  test('/livez fails while something hangs', async () => {
    let hung: string | undefined;
    const port = await startAdmin({
      host: '127.0.0.1',
      port: 0,
      metrics: new OperatorMetrics(),
      status: () => ({ state: 'Loaded', draining: false, ...(hung !== undefined && { hung }) }),
    });
    const livez = async () => (await call(`http://127.0.0.1:${port}/livez`)).status;
    expect(await livez()).toBe(200);
    hung = 'work has not ended in time';
    expect(await livez()).toBe(503);
  });

  test.each([
    ['GET', '/', 404],
    ['GET', '/constructor', 404],
    ['GET', '/__proto__', 404],
    ['POST', '/metrics', 405],
    ['HEAD', '/metrics', 200],
  ])('%s %s: %i', async (method, path, status) => {
    const { admin, close } = await start(iris(2));
    expect((await call(admin + path, { method })).status).toBe(status);
    await close();
  });

  test('garbage ends its connection and nothing else', async () => {
    const { admin, adminPort, close } = await start(iris(2));
    const client = await rawConnection(adminPort);
    client.socket.write('nonsense\r\n\r\n');
    expect(await client.ended()).toMatch(/^HTTP\/1.1 400 /);
    expect((await call(`${admin}/livez`)).status).toBe(200);
    await close();
  });

  test('a port that is taken is an error', async () => {
    const { adminPort, service, close } = await start(iris(2));
    const again = startAdmin({
      host: '127.0.0.1',
      port: adminPort,
      metrics: service.metrics,
      status: () => ({ state: 'Loaded', draining: false }),
    });
    await expect(again).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await close();
  });
});
