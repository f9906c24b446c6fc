import { cp, mkdtemp, readdir, realpath, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { predict } from '../../../test/support/http.ts';
import { modelServers, noProcesses } from '../../../test/support/processes.ts';
import { fixture, irisModel } from '../../../test/support/up.ts';
import { until } from '../../../test/support/wait.ts';
import { nothing, type ObservedUnit } from '../../plan/units.ts';
import { driverConformance, modelUnit, serving } from '../conformance.ts';
import { LocalDriver, type LocalOptions } from './driver.ts';

const owner = 'default/iris';

interface Local {
  readonly folder: string;
  readonly driver: LocalDriver;
  readonly notes: string[];
  readonly pids: (unit: string) => number[];
  close(): Promise<void>;
}

async function startLocal(options: Partial<LocalOptions> = {}): Promise<Local> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'levada-driver-')));
  const notes: string[] = [];
  const driver = new LocalDriver({
    stateDir: join(folder, 'units'),
    mapPath: (path) => path,
    fetch: () => Promise.reject(new Error('nothing is fetched')),
    env: process.env,
    useReplicas: true,
    pollMs: 50,
    port: () => ({ port: 0, fixed: false }),
    log: () => {},
    note: (text) => notes.push(text),
    askSteps: async () => [],
    ...options,
  });
  return {
    folder,
    driver,
    notes,
    pids: (unit) => modelServers(join(folder, 'units'), unit).map(({ pid }) => pid),
    async close() {
      await driver.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

driverConformance(
  'local',
  async () => ({
    ...(await startLocal()),
    good: irisModel(2),
    bad: join(fixture('garbage'), 'model.onnx'),
    badCode: 'ModelInvalid',
    ...(noProcesses && { pids: () => [] }),
  }),
  noProcesses ? { processes: noProcesses } : {},
);

describe('local driver', () => {
  let local: Local;
  let driver: LocalDriver;
  let model: string;
  const use = async (options: Partial<LocalOptions> = {}) => {
    await local.close();
    local = await startLocal(options);
    driver = local.driver;
    model = join(local.folder, 'model.onnx');
  };
  beforeEach(async () => {
    local = await startLocal();
    driver = local.driver;
    model = join(local.folder, 'model.onnx');
  });
  afterEach(() => local.close());

  const unitIs = (what: string, check: (unit: ObservedUnit) => unknown) =>
    until(what, async () => {
      const unit = (await driver.observe(owner)).units['iris-v1'];
      return unit && check(unit) ? unit : undefined;
    });
  const loaded = () => unitIs('it is loaded', ({ state }) => state === 'Loaded');
  const url = (service = 'iris') => `http://127.0.0.1:${driver.addresses(owner).services[service]}`;

  it('serves at the address of the front and at that of the unit', async () => {
    await driver.apply(owner, serving(modelUnit('v1', { path: irisModel(1), classNames: ['a', 'b', 'c'] })));
    await loaded();
    expect(await predict(url())).toEqual({ prediction: 1, version: 'v1' });
    expect(await predict(url('iris-v1'))).toEqual({ prediction: 1, version: 'v1' });
  });

  it('says that the file has changed, and that it has not after all', async () => {
    await cp(irisModel(1), model);
    await driver.apply(owner, serving(modelUnit('v1', { path: model })));
    const { sha256 } = await loaded();
    await cp(irisModel(2), model);
    // While it is copied it is not there for a moment.
    const changed = await unitIs('the change is seen', ({ artifactNow = '' }) => /^[0-9a-f]{64}$/.test(artifactNow));
    expect(changed).toMatchObject({ state: 'Loaded', sha256 });
    await rm(model);
    await unitIs('it is gone', ({ artifactNow }) => artifactNow === 'none');
    await cp(irisModel(1), model);
    await unitIs('it is back', ({ artifactNow }) => artifactNow === undefined);
  });

  it('finishes a plan that has failed half-way, and goes back from one', async () => {
    const { port, close } = await hold();
    await use({ port: (_, name) => (name === 'iris-v2' ? { port, fixed: true } : { port: 0, fixed: false }) });
    const [v1, v2] = [modelUnit('v1', { path: irisModel(1) }), modelUnit('v2', { path: irisModel(2) })];
    await driver.apply(owner, serving(v1));
    await loaded();
    const plan = { units: [v1, v2], fronts: [{ service: 'iris', target: 'iris-v2' }] };
    await expect(driver.apply(owner, plan)).rejects.toMatchObject({ code: 'PortBusy' });
    expect(await driver.apply(owner, serving(v1))).toBe(true);
    expect((await driver.observe(owner)).fronts['iris']?.target).toBe('iris-v1');
    await expect(driver.apply(owner, plan)).rejects.toMatchObject({ code: 'PortBusy' });
    close();
    expect(await driver.apply(owner, plan)).toBe(true);
    await until('v2 serves', async () => (await driver.observe(owner)).fronts['iris']?.target === 'iris-v2');
    await until('it answers', async () => (await predict(url())).version === 'v2');
  });

  it('removes what a plan that has failed the first time has left', async () => {
    const { port, close } = await hold();
    await use({ port: (_, name) => (name === 'iris-v2' ? { port, fixed: true } : { port: 0, fixed: false }) });
    const units = [modelUnit('v1', { path: irisModel(1) }), modelUnit('v2', { path: irisModel(2) })];
    const plan = { units, fronts: [{ service: 'iris', target: 'iris-v1' }] };
    await expect(driver.apply(owner, plan)).rejects.toMatchObject({ code: 'PortBusy' });
    expect(await driver.apply(owner, nothing)).toBe(true);
    expect(await driver.observe(owner)).toEqual({ units: {}, fronts: {} });
    if (!noProcesses) await until('no process is left', () => local.pids('iris-').length === 0);
    close();
  });

  it('gives no port twice, although nothing listens on it yet', async () => {
    const free = await hold();
    free.close();
    await use({ port: () => ({ port: free.port, fixed: false }) });
    await driver.apply(owner, serving(modelUnit('v1', { path: irisModel(1) })));
    const { services } = driver.addresses(owner);
    expect(services['iris']).toBe(free.port);
    expect(services['iris-v1']).not.toBe(free.port);
    expect(local.notes).toEqual([
      `port ${free.port}, which iris-v1 had before, is in use: it has ${services['iris-v1']} now`,
    ]);
  });

  it('starts one process without useReplicas, and none anew when only `replicas` changes', async () => {
    await use({ useReplicas: false });
    await driver.apply(owner, serving(modelUnit('v1', { path: irisModel(1) }, 3)));
    expect(await loaded()).toMatchObject({ ready: 1, unit: { replicas: 3 } });
    const pids = noProcesses ? [] : local.pids('iris-v1');
    await driver.apply(owner, serving(modelUnit('v1', { path: irisModel(1) }, 5)));
    expect(await loaded()).toMatchObject({ ready: 1, unit: { replicas: 5 } });
    if (!noProcesses) expect(local.pids('iris-v1')).toEqual(pids);
  });

  it('takes what has failed from where the mount leads now', async () => {
    let mount = '/nowhere';
    await use({ mapPath: (path) => path.replace('/models', mount) });
    await driver.apply(owner, serving(modelUnit('v1', { path: '/models/model.onnx' })));
    const failed = await unitIs('it has failed', ({ state }) => state === 'Failed');
    expect(failed.failure).toMatchObject({ code: 'ArtifactNotFound' });
    mount = join(irisModel(1), '..');
    driver.remount();
    await loaded();
  });

  it('leaves no configuration behind', async () => {
    await driver.apply(owner, serving(modelUnit('v1', { path: irisModel(1) })));
    await loaded();
    expect(await readdir(join(local.folder, 'units'))).toHaveLength(1);
    await driver.close();
    expect(await readdir(join(local.folder, 'units'))).toEqual([]);
  });

  describe.skipIf(noProcesses)('when processes die', () => {
    it('starts one again, which takes only what the version was resolved to', async () => {
      await cp(irisModel(1), model);
      const unit = modelUnit('v1', { path: model });
      await driver.apply(owner, serving(unit));
      const { sha256 = '' } = await loaded();
      await driver.apply(owner, serving({ ...unit, config: { ...unit.config, resolvedSha256: sha256 } }));
      await cp(irisModel(2), model);
      const [pid = 0] = local.pids('iris-v1');
      process.kill(pid, 'SIGKILL');
      const failed = await unitIs('it is refused', ({ state }) => state === 'Failed');
      expect(failed).toMatchObject({ ready: 0, failure: { code: 'ArtifactChanged' } });
      await cp(irisModel(1), model);
      await loaded();
      expect(local.pids('iris-v1')).toHaveLength(1);
    });

    it('leaves the front with what serves until the next one really accepts connections', async () => {
      const units = [modelUnit('v1', { path: irisModel(1) }), modelUnit('v2', { path: irisModel(2) })];
      await driver.apply(owner, { units, fronts: [{ service: 'iris', target: 'iris-v1' }] });
      await loaded();
      await until('v2 is loaded', async () => (await driver.observe(owner)).units['iris-v2']?.state === 'Loaded');
      const [pid = 0] = local.pids('iris-v2');
      process.kill(pid, 'SIGSTOP');
      try {
        await driver.apply(owner, { units, fronts: [{ service: 'iris', target: 'iris-v2' }] });
        for (let i = 0; i < 5; i++) expect(await predict(url())).toEqual({ prediction: 1, version: 'v1' });
        expect((await driver.observe(owner)).fronts['iris']?.target).toBe('iris-v1');
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await until('v2 answers', async () => (await predict(url())).version === 'v2');
      expect((await driver.observe(owner)).fronts['iris']?.target).toBe('iris-v2');
    });

    it('runs one process after crashes, whenever the file changes', async () => {
      await cp(irisModel(1), model);
      await driver.apply(owner, serving(modelUnit('v1', { path: model })));
      await loaded();
      const crashed = await unitIs('it has crashed', (unit) => {
        for (const pid of local.pids('iris-v1')) process.kill(pid, 'SIGKILL');
        return unit.failure?.code === 'ModelCrashed';
      });
      expect(crashed.state).toBe('Failed');
      // No process is there: the next one is being waited for.
      await cp(irisModel(2), model);
      await loaded();
      // Longer than any wait between a death and the next start.
      const deadline = performance.now() + 1_200;
      let most = 0;
      await until('the wait is over', () => {
        most = Math.max(most, local.pids('iris-v1').length);
        return performance.now() > deadline;
      });
      expect(most).toBe(1);
      await driver.close();
      expect(local.pids('iris-v1')).toEqual([]);
    });
  });
});

/** A port that is in use until it is closed. */
function hold(): Promise<{ port: number; close: () => void }> {
  const server = createServer();
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      resolve({ port: (server.address() as { port: number }).port, close: () => server.close() });
    });
  });
}
