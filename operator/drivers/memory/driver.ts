import { isDeepStrictEqual } from 'node:util';
import { type ObservedUnit, sameUnit, type UnitPlan } from '../../plan/units.ts';
import type { Driver } from '../driver.ts';

/** What loading a model comes to in memory, where there is none: `undefined` is a model that loads. */
export type Outcome = (path: string) => { code: string; message: string } | undefined;

/** Units that are only remembered: the seams without processes, for tests of what stands above a driver. */
export function memoryDriver(outcome: Outcome): Driver {
  const plans = new Map<string, UnitPlan>();
  const states = new Map<string, ObservedUnit>();
  const fronts = new Map<string, string>();
  let changed: (owner: string) => void = () => {};
  let closed = false;

  function start(owner: string, unit: ObservedUnit['unit']): void {
    const key = `${owner}/${unit.name}`;
    const before = states.get(key);
    states.set(key, { unit, state: 'Loading', ready: before?.ready ?? 0 });
    setImmediate(() => {
      const now = states.get(key);
      if (closed || !now || !sameUnit(now.unit, unit)) return;
      const failure = outcome(unit.config.path);
      const sha256 = '0'.repeat(64);
      states.set(
        key,
        failure
          ? { ...now, state: 'Failed', failure }
          : { unit: now.unit, state: 'Loaded', ready: unit.replicas, sha256 },
      );
      changed(owner);
    });
  }

  /** A digest that has become known. */
  function remember(owner: string, unit: ObservedUnit['unit']): void {
    const key = `${owner}/${unit.name}`;
    const before = states.get(key);
    if (before) states.set(key, { ...before, unit });
  }

  return {
    async observe(owner) {
      const plan = plans.get(owner);
      return {
        units: Object.fromEntries(
          (plan?.units ?? []).map(({ name }) => [name, states.get(`${owner}/${name}`) as ObservedUnit]),
        ),
        fronts: Object.fromEntries(
          (plan?.fronts ?? []).map(({ service }) => {
            const target = fronts.get(`${owner}/${service}`);
            return [service, { url: `memory://${service}`, ...(target !== undefined && { target }) }];
          }),
        ),
        // Nobody is there who could take a table late.
        ...(plan?.routing && { routing: { acknowledged: [plan.routing.candidate] } }),
      };
    },
    async apply(owner, plan) {
      const before = plans.get(owner);
      if (isDeepStrictEqual(before ?? { units: [], fronts: [] }, plan)) return false;
      plans.set(owner, plan);
      for (const unit of plan.units) {
        const old = before?.units.find(({ name }) => name === unit.name);
        if (!old || !sameUnit(old, unit)) start(owner, unit);
        else remember(owner, unit);
      }
      for (const { name } of before?.units ?? []) {
        if (!plan.units.some((unit) => unit.name === name)) states.delete(`${owner}/${name}`);
      }
      for (const { service } of before?.fronts ?? []) fronts.delete(`${owner}/${service}`);
      for (const { service, target } of plan.fronts) fronts.set(`${owner}/${service}`, target);
      setImmediate(() => {
        if (!closed) changed(owner);
      });
      return true;
    },
    watch(listener) {
      changed = listener;
    },
    async close() {
      closed = true;
      plans.clear();
      states.clear();
    },
  };
}
