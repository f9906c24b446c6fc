import { createHash } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { describe, expect, it } from 'vitest';
import { features, outcome, predict, request } from '../support/http.ts';
import { startLoad } from '../support/load.ts';
import { isRunning, modelServers, noProcesses } from '../support/processes.ts';
import { fixture, iris, irisModel, type Running, Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';

const file = 'res/iris.yaml';
const model = 'models/iris/1/model.onnx';
const sha256 = async (path: string) =>
  createHash('sha256')
    .update(await readFile(path))
    .digest('hex');

async function started(workspace: Workspace, spec: object = {}): Promise<Running> {
  await workspace.write(file, iris(spec));
  const up = await workspace.up();
  await up.says('takes the traffic. http');
  return up;
}

const failureOf = async (workspace: Workspace, version = 'v1') =>
  (await workspace.get()).status?.versions.find(({ name }) => name === version)?.lastFailure?.reason;

/** The one process of a unit, once there is one that is not `old`. */
const serverOf = (workspace: Workspace, unit: string, old = 0): Promise<number> =>
  until(`a process of ${unit}`, () => modelServers(workspace.folder, unit).find(({ pid }) => pid !== old)?.pid);

describe('a model that is not there, or not right', () => {
  it('answers 503 with the reason, is healthy, and serves when the file appears', async () => {
    await using ws = await Workspace.create();
    await rm(ws.path(model));
    await ws.write(file, iris());
    const up = await ws.up();
    await up.says('iris: ArtifactNotFound');
    const { services, status } = await ws.get();
    expect(status?.versions[0]).toMatchObject({ state: 'Failed', ready: 0 });
    expect(status?.conditions.find(({ type }) => type === 'Stalled')).toMatchObject({ status: 'True' });
    expect(await outcome(services['iris'])).toMatchObject({
      status: 503,
      error: 'ModelNotReady',
      body: { detail: expect.stringContaining('ArtifactNotFound') },
    });
    const health = await request(`${services['iris']}/health`);
    expect(health.status).toBe(200);
    expect(JSON.parse(health.body)).toMatchObject({ model_loaded: false });
    expect((await ws.levada('status', 'iris')).code).toBe(1);
    await ws.copy(irisModel(1), model);
    await up.says('takes the traffic. http');
    expect(await predict(services['iris'])).toEqual({ prediction: 1, version: 'v1' });
    expect(await failureOf(ws)).toBeUndefined();
    expect((await ws.levada('status', 'iris')).code).toBe(0);
    await up.interrupt();
  });

  it('is found whole in the end, however slowly it is written', async () => {
    await using ws = await Workspace.create();
    const bytes = await readFile(irisModel(1));
    await rm(ws.path(model));
    await ws.write(file, iris());
    const up = await ws.up();
    await up.says('iris: ArtifactNotFound');
    // Half of it first, long enough to be tried; then the rest, into the same file.
    await writeFile(ws.path(model), bytes.subarray(0, bytes.length / 2));
    await up.says('iris: ModelInvalid');
    await writeFile(ws.path(model), bytes.subarray(bytes.length / 2), { flag: 'a' });
    await up.says('takes the traffic. http');
    await up.interrupt();
  });

  it.skipIf(noProcesses)(
    'goes on when the file changes under it, and refuses the other one at the next start',
    async () => {
      await using ws = await Workspace.create();
      const up = await started(ws);
      const { services } = await ws.get();
      const first = await serverOf(ws, 'iris-v1');
      await ws.copy(irisModel(2), model);
      await up.says('iris: ArtifactChanged');
      expect(await predict(services['iris'])).toEqual({ prediction: 1, version: 'v1' });
      expect((await ws.levada('status', 'iris')).stdout).toContain(await sha256(irisModel(2)));
      expect((await ws.get()).status).toMatchObject({ stableVersion: 'v1', versions: [{ state: 'Loaded' }, {}] });
      process.kill(first, 'SIGKILL');
      await serverOf(ws, 'iris-v1', first);
      await until('it is refused', async () => (await ws.get()).status?.versions[0]?.state === 'Failed');
      expect(await failureOf(ws)).toBe('ArtifactChanged');
      expect(await outcome(services['iris'])).toMatchObject({ status: 503, error: 'ModelNotReady' });
      const from = up.output.length;
      await ws.copy(irisModel(1), model);
      await up.says('takes the traffic. http', { from });
      expect(await predict(services['iris'])).toEqual({ prediction: 1, version: 'v1' });
      await up.interrupt();
    },
  );

  it('is refused when its digest is not the one that is allowed', async () => {
    await using ws = await Workspace.create();
    const versions = [{ name: 'v1', uri: 'file:///models/iris/1', sha256: await sha256(irisModel(1)) }];
    const up = await started(ws, { versions });
    const wrong = { name: 'v2', uri: 'file:///models/iris/2', sha256: '0'.repeat(64) };
    await ws.write(file, iris({ versions: [...versions, wrong], serve: 'v2' }));
    await up.says(/iris: DigestMismatch: .*Version v1 goes on serving/);
    expect(await predict((await ws.get()).services['iris'])).toEqual({ prediction: 1, version: 'v1' });
    await up.interrupt();
  });

  it.each([
    ['truncated', 'ModelInvalid'],
    ['garbage', 'ModelInvalid'],
    ['zipmap', 'ModelUnsupported'],
  ])('%s is Failed, %s, while the old version serves; a good one is taken then', async (name, reason) => {
    await using ws = await Workspace.create();
    await ws.copy(fixture(name), 'models/bad');
    const up = await started(ws);
    const { services } = await ws.get();
    const load = await startLoad(services['iris'] ?? '', 4);
    const versions = [
      { name: 'v1', uri: 'file:///models/iris/1' },
      { name: 'bad', uri: 'file:///models/bad' },
      { name: 'v2', uri: 'file:///models/iris/2' },
    ];
    await ws.write(file, iris({ versions, serve: 'bad' }));
    await up.says(new RegExp(`iris: ${reason}: .*Version v1 goes on serving`));
    const { status } = await ws.get();
    expect(status).toMatchObject({ stableVersion: 'v1' });
    expect(status?.versions[1]).toMatchObject({ state: 'Failed', lastFailure: { reason } });
    expect((await ws.levada('status', 'iris')).code).toBe(1);
    await ws.write(file, iris({ versions, serve: 'v2' }));
    await up.says('Version v2 is loaded and takes the traffic');
    expect(await load.stop()).toMatchObject({ wrong: 0, failed: 0, samples: [] });
    // What it died of is still to be read.
    expect(await failureOf(ws, 'bad')).toBe(reason);
    await up.interrupt();
  });
});

describe.skipIf(noProcesses)('a process that dies', () => {
  it('is back within seconds under load, and levada up says so', async () => {
    await using ws = await Workspace.create();
    const up = await started(ws);
    const load = await startLoad((await ws.get()).services['iris'] ?? '', 16);
    const pid = await serverOf(ws, 'iris-v1');
    const killed = performance.now();
    process.kill(pid, 'SIGKILL');
    await up.says('iris-v1 | the process died (SIGKILL); it is started again');
    await until('it is served again', async () => {
      const { services } = await ws.get();
      return (await predict(services['iris'])).version === 'v1';
    });
    expect(performance.now() - killed).toBeLessThan(10_000);
    const result = await load.stop();
    expect(result.wrong).toBe(0);
    // Those that were on its connections, and those that came while it was loading.
    for (const sample of result.samples) expect(sample).toMatch(/ECONNRESET|socket hang up|EPIPE|failed: 503/);
    await up.interrupt();
  });

  it('again and again is ModelCrashed: tried later and later, healthy meanwhile, and recovers', async () => {
    await using ws = await Workspace.create();
    const up = await started(ws);
    const { services } = await ws.get();
    let last = 0;
    await until(
      'a long wait is said',
      async () => {
        last = await serverOf(ws, 'iris-v1', last);
        process.kill(last, 'SIGKILL');
        // Long enough to look at it before it tries again.
        return /iris: ModelCrashed.* next try in (8|16) s/.test(up.output);
      },
      { timeoutMs: 60_000, seen: () => up.output },
    );
    expect(up.output).toMatch(/the process of iris-v1 died \(SIGKILL\), 3 in a row; next try in 1 s/);
    expect(up.output).toMatch(/the process of iris-v1 died \(SIGKILL\), 4 in a row; next try in 2 s/);
    // It listens before it tries to load again.
    await serverOf(ws, 'iris-v1', last);
    const health = await request(`${services['iris']}/health`);
    expect({ status: health.status, body: JSON.parse(health.body) }).toMatchObject({
      status: 200,
      body: { model_loaded: false },
    });
    expect(await failureOf(ws)).toBe('ModelCrashed');
    const from = up.output.length;
    await up.says('takes the traffic. http', { from, timeoutMs: 60_000 });
    expect(await failureOf(ws)).toBeUndefined();
    expect(modelServers(ws.folder, 'iris-v1')).toHaveLength(1);
    await up.interrupt();
  });

  it('leaves one process when its file changes while it waits to be started again', async () => {
    await using ws = await Workspace.create();
    const up = await started(ws);
    let last = 0;
    await until('ModelCrashed is said', async () => {
      last = await serverOf(ws, 'iris-v1', last);
      process.kill(last, 'SIGKILL');
      return up.output.includes('iris: ModelCrashed');
    });
    const from = up.output.length;
    await ws.copy(irisModel(1), model);
    await up.says('takes the traffic. http', { from, timeoutMs: 60_000 });
    expect(modelServers(ws.folder, 'iris-v1')).toHaveLength(1);
    await up.interrupt();
    expect(modelServers(ws.folder)).toEqual([]);
  });
});

describe.skipIf(noProcesses)('the end of levada up', () => {
  it('answers what is in flight at Ctrl-C, exits 0 and leaves no process', async () => {
    await using ws = await Workspace.create();
    const up = await started(ws);
    const { services } = await ws.get();
    const servers = modelServers(ws.folder);
    // Requests that the server has begun to read when Ctrl-C comes.
    const url = new URL(`${services['iris']}/predict`);
    const body = JSON.stringify({ features });
    const open = Array.from({ length: 8 }, () => {
      const agent = new http.Agent({ keepAlive: true });
      const req = http.request(url, { agent, method: 'POST', headers: { 'content-length': body.length } });
      const answer = new Promise<number>((resolve, reject) => {
        req.once('error', reject);
        req.once('response', (res) => res.resume().once('end', () => resolve(res.statusCode ?? 0)));
      });
      const sent = new Promise<void>((resolve) => req.write(body.slice(0, 5), () => resolve()));
      return { req, answer, sent };
    });
    await Promise.all(open.map(({ sent }) => sent));
    expect((await request(`${services['iris']}/health`)).status).toBe(200);
    up.kill('SIGINT');
    await up.says('draining');
    await until('new connections are refused', () =>
      request(`${services['iris']}/health`, undefined, 500).then(
        () => false,
        (error: NodeJS.ErrnoException) => error.code === 'ECONNREFUSED' || error.name === 'AbortError',
      ),
    );
    for (const { req } of open) req.end(body.slice(5));
    expect(await Promise.all(open.map(({ answer }) => answer))).toEqual(open.map(() => 200));
    expect(await up.ended).toMatchObject({ code: 0, stderr: '' });
    expect(servers.filter(({ pid }) => isRunning(pid))).toEqual([]);
  });

  it('does not wait for a model that never finishes to load', async () => {
    await using ws = await Workspace.create();
    await ws.copy(fixture('endless'), 'models/endless');
    const up = await started(ws);
    const versions = [
      { name: 'v1', uri: 'file:///models/iris/1' },
      { name: 'endless', uri: 'file:///models/endless' },
    ];
    const busy = () => modelServers(ws.folder, 'iris-endless').length;
    // Long enough under way to be in the model itself: its port has been bound, and it says that it is loading.
    const loading = async () => {
      const url = (await ws.get()).services['iris-endless'];
      return url !== undefined && (await ws.get()).admin['iris-endless']?.length === 1;
    };
    await ws.write(file, iris({ versions, serve: 'endless' }));
    await until('it is being loaded', loading);
    await ws.write(file, iris({ versions }));
    await until('it is gone when it is withdrawn', () => busy() === 0, { timeoutMs: 10_000 });
    await ws.write(file, iris({ versions, serve: 'endless' }));
    await until('it is being loaded again', loading);
    const start = performance.now();
    expect(await up.interrupt()).toMatchObject({ code: 0 });
    expect(performance.now() - start).toBeLessThan(10_000);
    expect(modelServers(ws.folder)).toEqual([]);
  });

  it('ends at once at the second Ctrl-C', async () => {
    await using ws = await Workspace.create();
    const up = await started(ws);
    const { services } = await ws.get();
    const req = http.request(`${services['iris']}/predict`, { method: 'POST', headers: { 'content-length': 100 } });
    const lost = new Promise((resolve) => req.once('error', resolve));
    await new Promise<void>((resolve) => req.write('{', () => resolve()));
    expect((await request(`${services['iris']}/health`)).status).toBe(200);
    const servers = modelServers(ws.folder);
    up.kill('SIGINT');
    await up.says('draining');
    up.kill('SIGINT');
    expect(await up.ended).toMatchObject({ code: 1 });
    await lost;
    await until('all are gone', () => servers.every(({ pid }) => !isRunning(pid)));
  });

  it('by SIGKILL lets its processes answer what they have, and end', async () => {
    await using ws = await Workspace.create();
    const up = await started(ws);
    const { services } = await ws.get();
    const servers = modelServers(ws.folder);
    expect(servers).toHaveLength(1);
    const body = JSON.stringify({ features });
    const req = http.request(`${services['iris']}/predict`, {
      method: 'POST',
      headers: { 'content-length': body.length },
    });
    const answer = new Promise<number | undefined>((resolve, reject) => {
      req.once('error', reject);
      req.once('response', (res) => resolve(res.resume().statusCode));
    });
    await new Promise<void>((resolve) => req.write(body.slice(0, 5), () => resolve()));
    expect((await request(`${services['iris']}/health`)).status).toBe(200);
    up.kill('SIGKILL');
    await up.ended;
    req.end(body.slice(5));
    expect(await answer).toBe(200);
    await until('all are gone', () => servers.every(({ pid }) => !isRunning(pid)));
    const again = await started(ws);
    expect(await predict((await ws.get()).services['iris'])).toEqual({ prediction: 1, version: 'v1' });
    await again.interrupt();
  });
});
