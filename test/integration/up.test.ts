import { readFile, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { describe, expect, it } from 'vitest';
import { flat } from '../../cli/get.ts';
import type { LocalResource } from '../../cli/up/admin.ts';
import { readYaml } from '../../operator/source/yaml.ts';
import { features, predict, request } from '../support/http.ts';
import { isRunning, modelServers, noProcesses } from '../support/processes.ts';
import { type Got, iris, type Running, Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';

const serving = 'takes the traffic. http';

async function started(workspace: Workspace, ...args: string[]): Promise<Running> {
  await workspace.write('res/iris.yaml', iris());
  const up = await workspace.up(...args);
  await up.says(serving);
  return up;
}

/** Listens on `port`, or on any that is free. */
function hold(port = 0): Promise<{ port: number; server: Server }> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve({ port: (server.address() as { port: number }).port, server }));
  });
}

const portOf = (url: string | undefined): number => Number(new URL(url ?? '').port);

describe('levada up', () => {
  it('serves both APIs, and get and status show it', async () => {
    await using ws = await Workspace.create();
    const up = await started(ws);
    const got = await ws.get();
    expect(await predict(got.services['iris'])).toEqual({ prediction: 1, version: 'v1' });
    expect(await predict(got.services['iris-v1'])).toEqual({ prediction: 1, version: 'v1' });
    const oip = JSON.stringify({ inputs: [{ name: 'X', shape: [1, 4], datatype: 'FP32', data: features }] });
    const infer = await request(`${got.services['iris']}/v2/models/iris/infer`, oip);
    expect(infer.status).toBe(200);
    expect(JSON.parse(infer.body).outputs[0]).toMatchObject({ name: 'label', data: [1] });
    const metrics = await request(`${got.admin['iris-v1']?.[0]}/metrics`);
    expect(metrics.body).toMatch(/version="v1"/);

    const table = await ws.levada('get');
    expect(table.code).toBe(0);
    expect(table.stdout).toMatch(/^NAME +READY +STABLE +REASON +URL +AGE\niris +True +v1 +Serving +http:\S+ +\d+s\n$/);
    expect((await ws.levada('get', '-o', 'wide')).stdout).toMatch(/^NAME .*URL/);
    const items = JSON.parse((await ws.levada('get', '-o', 'json')).stdout) as { items: Got[] };
    expect(items.items.map(({ metadata }) => metadata.name)).toEqual(['iris']);
    const yaml = readYaml((await ws.levada('get', 'iris', '-o', 'yaml')).stdout);
    expect(yaml.documents[0]?.value).toEqual(await ws.get());
    expect(got.status).toMatchObject({ observedGeneration: 1, stableVersion: 'v1', url: got.services['iris'] });

    const status = await ws.levada('status', 'iris');
    expect(status.code).toBe(0);
    expect(status.stdout).toMatch(/Ready +True +\d+s +Serving/);
    expect(JSON.parse((await ws.levada('status', 'iris', '-o', 'json')).stdout)).toEqual((await ws.get()).status);
    for (const command of ['get', 'status']) {
      const unknown = await ws.levada(command, 'rose');
      expect(unknown).toMatchObject({ code: 1, stdout: '' });
      expect(unknown.stderr).toContain('no resource "rose"; allowed: iris (UnknownResource)');
    }
    expect((await ws.levada('get', '-o', 'xml')).code).toBe(2);
    expect(await up.interrupt()).toMatchObject({ code: 0, stderr: '' });
  });

  it('keeps its address and token from others, and refuses a second run in the folder', async () => {
    await using ws = await Workspace.create();
    const up = await started(ws);
    expect((await stat(ws.path('.levada/run.json'))).mode & 0o777).toBe(0o600);
    const { admin } = JSON.parse(await readFile(ws.path('.levada/run.json'), 'utf8')) as { admin: { url: string } };
    expect((await request(`${admin.url}/resources`)).status).toBe(401);
    const second = await ws.levada('up', 'res');
    expect(second.code).toBe(1);
    expect(second.stderr).toContain(`process ${up.pid} runs resources from this folder already (AlreadyRunning)`);
    expect(await predict((await ws.get()).services['iris'])).toEqual({ prediction: 1, version: 'v1' });
    await up.interrupt();
    const after = await ws.levada('get');
    expect(after).toMatchObject({ code: 1, stdout: '' });
    expect(after.stderr).toContain('(NoRun)');
    expect(await readFile(ws.path('.levada/run.json'), 'utf8')).not.toContain('token');
  });

  it('says NoRun where nothing has ever run, and where the run was killed', async () => {
    await using ws = await Workspace.create();
    expect((await ws.levada('get')).stderr).toContain('(NoRun)');
    const up = await started(ws);
    up.kill('SIGKILL');
    await up.ended;
    const after = await ws.levada('status', 'iris');
    expect(after.code).toBe(1);
    expect(after.stderr).toContain('(NoRun)');
  });

  it('keeps ports over a restart, replaces a busy one and says so', async () => {
    await using ws = await Workspace.create();
    const first = await started(ws);
    const before = await ws.get();
    await first.interrupt();
    const second = await started(ws);
    expect((await ws.get()).services).toEqual(before.services);
    await second.interrupt();
    const port = portOf(before.services['iris']);
    const { server } = await hold(port);
    try {
      const third = await started(ws);
      const now = (await ws.get()).services;
      expect(now['iris-v1']).toBe(before.services['iris-v1']);
      expect(portOf(now['iris'])).not.toBe(port);
      await third.says(`port ${port}, which iris had before, is in use: it has ${portOf(now['iris'])} now`);
      expect(await predict(now['iris'])).toEqual({ prediction: 1, version: 'v1' });
      await third.interrupt();
    } finally {
      server.close();
    }
  });

  it('takes --port, also one that another service had', async () => {
    await using ws = await Workspace.create();
    const first = await started(ws);
    const before = (await ws.get()).services;
    await first.interrupt();
    const second = await started(ws, '--port', `iris-v1=${portOf(before['iris'])}`);
    const now = (await ws.get()).services;
    expect(now['iris-v1']).toBe(before['iris']);
    expect(now['iris']).not.toBe(before['iris']);
    expect(await predict(now['iris'])).toEqual({ prediction: 1, version: 'v1' });
    expect(await predict(now['iris-v1'])).toEqual({ prediction: 1, version: 'v1' });
    await second.interrupt();
  });

  it('exits 2 on a --port that is busy, of nothing, asked for twice or no port', async () => {
    await using ws = await Workspace.create();
    await ws.write('res/iris.yaml', iris());
    const { port, server } = await hold();
    try {
      const busy = await ws.levada('up', 'res', '--port', `iris=${port}`);
      expect(busy).toMatchObject({ code: 2, stdout: '' });
      expect(busy.stderr).toContain(`port ${port} for iris cannot be used: it is in use (PortBusy)`);
    } finally {
      server.close();
    }
    const unknown = await ws.levada('up', 'res', '--port', 'rose=8000');
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toContain('no such service; allowed: iris, iris-v1, iris-v2 (Usage)');
    const twice = await ws.levada('up', 'res', '--port', `iris=${port}`, '--port', `iris-v1=${port}`);
    expect(twice.code).toBe(2);
    expect(twice.stderr).toContain('iris has that port already (Usage)');
    expect((await ws.levada('up', 'res', '--port', 'iris=65536')).code).toBe(2);
    expect((await ws.levada('up')).code).toBe(2);
  });

  it('exits 1 on resources with problems, and starts nothing', async () => {
    await using ws = await Workspace.create();
    await ws.write('res/iris.yaml', iris({ serve: 'v3' }));
    const { code, stdout, stderr } = await ws.levada('up', 'res');
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/res\/iris\.yaml:\d+:\d+: spec\.serve: .*\(ServeUnknown\)\n1 problem in 1 file\n$/);
    await expect(stat(ws.path('.levada'))).rejects.toThrow('ENOENT');
  });

  it('ends where run.json cannot be written', async () => {
    await using ws = await Workspace.create();
    await ws.write('res/iris.yaml', iris());
    await ws.write('.levada', 'a file where a folder is wanted\n');
    const { code, stderr } = await ws.levada('up', 'res');
    expect(code).toBe(1);
    expect(stderr).toMatch(/\.levada/);
  });

  it('holds resources of one name in two namespaces apart', async () => {
    await using ws = await Workspace.create();
    for (const [namespace, serve] of [
      ['a', 'v1'],
      ['b', 'v2'],
    ] as const) {
      await ws.write(`res/${namespace}.yaml`, { ...iris({ serve }), metadata: { name: 'iris', namespace } });
    }
    const all = async () => {
      const all = (await ws.ask<LocalResource[]>('/resources')).map((found) => flat(found) as Got);
      const ready = all.every(({ status }) => status?.stableVersion !== undefined);
      return all.length === 2 && ready && all.map(({ services }) => services['iris']);
    };
    const first = await ws.up();
    const urls = await until('both serve', all);
    expect(await predict(urls[0])).toEqual({ prediction: 1, version: 'v1' });
    expect(await predict(urls[1])).toEqual({ prediction: 2, version: 'v2' });
    await first.interrupt();
    const second = await ws.up();
    expect(await until('both serve again', all)).toEqual(urls);
    expect(second.output).not.toContain('which iris had before');
    await second.interrupt();
  });

  it('starts one process a version, whatever `replicas` says, and is ready', async () => {
    await using ws = await Workspace.create();
    await ws.write('res/iris.yaml', iris({ replicas: 3 }));
    const up = await ws.up();
    await up.says('Version v1 is loaded and takes the traffic');
    expect((await ws.get()).admin['iris-v1']).toHaveLength(1);
    await ws.write('res/iris.yaml', iris({ replicas: 3, serve: 'v2' }));
    await up.says('Version v2 is loaded and takes the traffic');
    expect((await ws.get()).admin['iris-v2']).toHaveLength(1);
    await up.interrupt();
  });

  it.skipIf(noProcesses)('starts as many as that with --replicas, which share the port', async () => {
    await using ws = await Workspace.create();
    await ws.write('res/iris.yaml', iris({ replicas: 3 }));
    const up = await ws.up('--replicas');
    await up.says(serving);
    const { admin, services, status } = await ws.get();
    expect(status?.versions[0]).toMatchObject({ state: 'Loaded', ready: 3 });
    const servers = modelServers(ws.folder, 'iris-v1');
    expect(servers).toHaveLength(3);
    expect(admin['iris-v1']).toHaveLength(3);
    // Each of them answers when the others cannot.
    for (const { pid } of servers) {
      const others = servers.filter((other) => other.pid !== pid);
      for (const other of others) process.kill(other.pid, 'SIGSTOP');
      try {
        expect(await predict(services['iris'])).toEqual({ prediction: 1, version: 'v1' });
      } finally {
        for (const other of others) process.kill(other.pid, 'SIGCONT');
      }
    }
    await up.interrupt();
    expect(servers.filter(({ pid }) => isRunning(pid))).toEqual([]);
  });
});
