import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../../test/support/wait.ts';
import { nothing, type Observed, type Unit, type UnitPlan } from '../plan/units.ts';
import type { Driver } from './driver.ts';

export interface Harness {
  readonly driver: Driver;
  /** Paths of a model that loads and of one that does not, and the code that says why. */
  readonly good: string;
  readonly bad: string;
  readonly badCode: string;
  /** Ids of the processes of a unit, where units have some. */
  readonly pids: (unit: string) => number[];
  readonly close: () => Promise<void>;
}

type Skippable = 'processes' | 'confirmation';

/** @param skips what a driver does not have, with the reason */
export function driverConformance(
  name: string,
  start: () => Promise<Harness>,
  skips: Partial<Record<Skippable, string>> = {},
): void {
  const itNeeds = (what: Skippable, title: string, test: () => Promise<void>) =>
    it.skipIf(skips[what])(skips[what] ? `${title} (skipped: ${skips[what]})` : title, test);

  describe(`${name} driver`, () => {
    let harness: Harness;
    let driver: Driver;
    beforeEach(async () => {
      harness = await start();
      driver = harness.driver;
    });
    afterEach(() => harness.close());

    const good = (version: string, change: Partial<Unit['config']> = {}) =>
      modelUnit(version, { path: harness.good, ...change });
    const bad = (version: string) => modelUnit(version, { path: harness.bad });
    const reaches = (what: string, check: (observed: Observed) => unknown, owner = 'default/iris') =>
      until(what, async () => {
        const observed = await driver.observe(owner);
        return check(observed) ? observed : undefined;
      });
    const serves = (unit: string, owner?: string) =>
      reaches(
        `${unit} serves`,
        ({ units, fronts }) => units[unit]?.state === 'Loaded' && fronts['iris']?.target === unit,
        owner,
      );

    it('has nothing at first', async () => {
      expect(await driver.observe('default/iris')).toEqual({ units: {}, fronts: {} });
      expect(await driver.apply('default/iris', nothing)).toBe(false);
    });

    it('starts what is applied: Loading, then Loaded, with its digest and an address', async () => {
      expect(await driver.apply('default/iris', serving(good('v1')))).toBe(true);
      const first = await driver.observe('default/iris');
      expect(first.units['iris-v1']).toMatchObject({ unit: good('v1'), state: 'Loading', ready: 0 });
      const { units, fronts } = await serves('iris-v1');
      expect(units['iris-v1']).toMatchObject({ ready: 1, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
      expect(fronts['iris']?.url).toMatch(/^\w+:\/\//);
    });

    it('does nothing when the same is applied again', async () => {
      await driver.apply('default/iris', serving(good('v1')));
      const before = await serves('iris-v1');
      const pids = harness.pids('iris-v1');
      expect(await driver.apply('default/iris', serving(good('v1')))).toBe(false);
      expect(await driver.observe('default/iris')).toEqual(before);
      expect(harness.pids('iris-v1')).toEqual(pids);
    });

    it('says why a unit has failed', async () => {
      await driver.apply('default/iris', serving(bad('v1')));
      const { units } = await reaches('it has failed', (now) => now.units['iris-v1']?.state === 'Failed');
      expect(units['iris-v1']).toMatchObject({ ready: 0, failure: { code: harness.badCode } });
      expect(units['iris-v1']?.failure?.message).toContain(harness.bad);
    });

    it('starts nothing anew for a digest that has become known', async () => {
      await driver.apply('default/iris', serving(good('v1')));
      const { units } = await serves('iris-v1');
      const pids = harness.pids('iris-v1');
      const known = good('v1', { resolvedSha256: units['iris-v1']?.sha256 ?? '' });
      await driver.apply('default/iris', serving(known));
      expect((await driver.observe('default/iris')).units['iris-v1']).toMatchObject({
        unit: known,
        state: 'Loaded',
        ready: 1,
      });
      expect(harness.pids('iris-v1')).toEqual(pids);
    });

    it('keeps a changed unit as it was until it is ready as it is to be', async () => {
      await driver.apply('default/iris', serving(good('v1')));
      await serves('iris-v1');
      const [pid] = harness.pids('iris-v1');
      await driver.apply('default/iris', serving(bad('v1')));
      const failed = await reaches('the change has failed', (now) => now.units['iris-v1']?.state === 'Failed');
      expect(failed.units['iris-v1']).toMatchObject({ unit: bad('v1'), ready: 1 });
      expect(failed.fronts['iris']?.target).toBe('iris-v1');
      if (pid !== undefined) expect(harness.pids('iris-v1')).toContain(pid);
      const changed = good('v1', { batching: { maxBatchSize: 7, maxDelayMs: 0 } });
      await driver.apply('default/iris', serving(changed));
      await reaches('the next change is taken', ({ units }) => {
        const now = units['iris-v1'];
        return now?.state === 'Loaded' && now.unit.config.batching.maxBatchSize === 7;
      });
      if (pid !== undefined) await until('the old process ends', () => !harness.pids('iris-v1').includes(pid));
    });

    it('does not disturb the unit that serves with one that fails', async () => {
      await driver.apply('default/iris', serving(good('v1')));
      await serves('iris-v1');
      const pids = harness.pids('iris-v1');
      await driver.apply('default/iris', { ...serving(good('v1')), units: [good('v1'), bad('v2')] });
      const now = await reaches('v2 has failed', ({ units }) => units['iris-v2']?.state === 'Failed');
      expect(now.units['iris-v1']).toMatchObject({ state: 'Loaded', ready: 1 });
      expect(now.fronts['iris']?.target).toBe('iris-v1');
      expect(harness.pids('iris-v1')).toEqual(pids);
    });

    it('moves the front to another unit, at the same address', async () => {
      await driver.apply('default/iris', serving(good('v1')));
      const before = await serves('iris-v1');
      await driver.apply('default/iris', { ...serving(good('v1')), units: [good('v1'), good('v2')] });
      await reaches('v2 is loaded', ({ units }) => units['iris-v2']?.state === 'Loaded');
      await driver.apply('default/iris', {
        units: [good('v1'), good('v2')],
        fronts: [{ service: 'iris', target: 'iris-v2' }],
      });
      const after = await serves('iris-v2');
      expect(after.fronts['iris']?.url).toBe(before.fronts['iris']?.url);
    });

    itNeeds('confirmation', 'says that the front has moved only when processes have confirmed it', async () => {
      await driver.apply('default/iris', serving(good('v1')));
      await serves('iris-v1');
      await driver.apply('default/iris', {
        units: [good('v1'), good('v2')],
        fronts: [{ service: 'iris', target: 'iris-v2' }],
      });
      // v2 has not even been started.
      const now = await driver.observe('default/iris');
      expect(now.fronts['iris']?.target).toBe('iris-v1');
      expect(now.units['iris-v1']).toMatchObject({ state: 'Loaded', ready: 1 });
      await serves('iris-v2');
    });

    itNeeds('confirmation', 'leaves the front where it is while its new target is not ready', async () => {
      await driver.apply('default/iris', serving(good('v1')));
      await serves('iris-v1');
      await driver.apply('default/iris', {
        units: [good('v1'), bad('v2')],
        fronts: [{ service: 'iris', target: 'iris-v2' }],
      });
      const now = await reaches('v2 has failed', ({ units }) => units['iris-v2']?.state === 'Failed');
      expect(now.fronts['iris']?.target).toBe('iris-v1');
    });

    it('removes what is not in the plan', async () => {
      await driver.apply('default/iris', { ...serving(good('v1')), units: [good('v1'), good('v2')] });
      await serves('iris-v1');
      await driver.apply('default/iris', serving(good('v1')));
      expect(Object.keys((await driver.observe('default/iris')).units)).toEqual(['iris-v1']);
      await until('its processes end', () => harness.pids('iris-v2').length === 0);
      expect(await driver.apply('default/iris', nothing)).toBe(true);
      expect(await driver.observe('default/iris')).toEqual({ units: {}, fronts: {} });
      await until('all processes end', () => harness.pids('iris-v1').length === 0);
      expect(await driver.apply('default/iris', nothing)).toBe(false);
    });

    it('keeps owners apart, also where their units share a name', async () => {
      await driver.apply('a/iris', serving(good('v1')));
      await driver.apply('b/iris', serving(bad('v1')));
      await serves('iris-v1', 'a/iris');
      await reaches('b has failed', ({ units }) => units['iris-v1']?.state === 'Failed', 'b/iris');
      await driver.apply('b/iris', nothing);
      expect((await driver.observe('a/iris')).units['iris-v1']).toMatchObject({ state: 'Loaded', ready: 1 });
      expect(await driver.apply('a/iris', serving(good('v1')))).toBe(false);
    });

    it('tells the watcher whose state may have changed, and then it has', async () => {
      const seen: string[] = [];
      driver.watch((owner) => {
        void driver.observe(owner).then(({ units }) => seen.push(`${owner} ${units['iris-v1']?.state}`));
      });
      await driver.apply('a/iris', serving(good('v1')));
      await driver.apply('b/iris', serving(bad('v1')));
      await until('both ends are told', () => seen.includes('a/iris Loaded') && seen.includes('b/iris Failed'), {
        seen: () => seen.join('\n'),
      });
      expect(new Set(seen.map((line) => line.split(' ')[0]))).toEqual(new Set(['a/iris', 'b/iris']));
    });

    itNeeds('processes', 'ends every process when it is closed', async () => {
      await driver.apply('default/iris', { ...serving(good('v1')), units: [good('v1'), good('v2')] });
      await serves('iris-v1');
      expect(harness.pids('iris-v1')).toHaveLength(1);
      await driver.close();
      expect([...harness.pids('iris-v1'), ...harness.pids('iris-v2')]).toEqual([]);
    });
  });
}

/** A unit of the model `iris`. */
export function modelUnit(version: string, config: Partial<Unit['config']>, replicas = 1): Unit {
  return {
    kind: 'model-version',
    name: `iris-${version}`,
    model: 'iris',
    version,
    replicas,
    resources: undefined,
    config: {
      kind: 'model-server',
      model: 'iris',
      version,
      path: '',
      batching: { maxBatchSize: 64, maxDelayMs: 0 },
      ...config,
    },
  };
}

/** One unit, to which the front leads. */
export const serving = (unit: Unit): UnitPlan => ({
  units: [unit],
  fronts: [{ service: 'iris', target: unit.name }],
});
