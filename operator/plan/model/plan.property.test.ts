import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { ModelDeployment, ModelDeploymentStatus } from '../../../api/v1alpha1/model-deployment.ts';
import { type Observed, type ObservedUnit, type PlanResult, sameUnit, type UnitPlan } from '../units.ts';
import { planModel as plan } from './plan.ts';
import { digestOf, iris, later, noon } from './testing.ts';

/** Where models are that do not load. */
const isBad = (path: string): boolean => path.includes('bad');

/** What a driver does, without processes: units load or fail when they are told to, and die when they are told to. */
class World {
  readonly #units = new Map<string, ObservedUnit>();
  #target: string | undefined;
  #confirmed: string | undefined;

  get observed(): Observed {
    return {
      units: Object.fromEntries(this.#units),
      fronts: { iris: { url: 'http://iris', ...(this.#confirmed !== undefined && { target: this.#confirmed }) } },
    };
  }

  apply({ units, fronts }: UnitPlan): void {
    for (const unit of units) {
      const before = this.#units.get(unit.name);
      if (before && sameUnit(before.unit, unit)) this.#units.set(unit.name, { ...before, unit });
      else this.#units.set(unit.name, { unit, state: 'Loading', ready: before?.ready ?? 0 });
    }
    for (const name of this.#units.keys()) if (!units.some((unit) => unit.name === name)) this.#units.delete(name);
    this.#target = fronts[0]?.target;
    this.#settle();
  }

  /** Loading ends, one way or the other. */
  load(name: string): void {
    const found = this.#units.get(name);
    if (found?.state !== 'Loading') return;
    const { unit, ready } = found;
    const { path } = unit.config;
    const failure = { code: 'ModelInvalid', message: `${path} is bad` };
    this.#units.set(
      name,
      isBad(path)
        ? { unit, state: 'Failed', ready, failure }
        : { unit, state: 'Loaded', ready: unit.replicas, sha256: digestOf(path) },
    );
    this.#settle();
  }

  crash(name: string): void {
    const found = this.#units.get(name);
    if (found) this.#units.set(name, { unit: found.unit, state: 'Loading', ready: 0 });
  }

  #settle(): void {
    const serving = this.#units.get(this.#confirmed ?? '');
    const next = this.#units.get(this.#target ?? '');
    if (next && (next.ready > 0 || (serving?.ready ?? 0) === 0)) this.#confirmed = this.#target;
  }
}

const versionNames = ['v1', 'v2', 'v3'];
const spec = fc
  .record({
    paths: fc.uniqueArray(fc.constantFrom(...versionNames), { minLength: 1 }).chain((names) =>
      fc.record({
        names: fc.constant(names),
        uris: fc.array(fc.constantFrom('1', '2', 'bad'), { minLength: names.length, maxLength: names.length }),
        serve: fc.constantFrom(...names),
      }),
    ),
    maxBatchSize: fc.constantFrom(1, 64),
    replicas: fc.constantFrom(1, 2),
  })
  .map(({ paths: { names, uris, serve }, maxBatchSize, replicas }) => ({
    versions: names.map((name, i) => ({ name, uri: `file:///models/${uris[i]}` })),
    serve,
    batching: { maxBatchSize },
    replicas,
  }));
const unitName = fc.constantFrom(...versionNames.map((name) => `iris-${name}`));
const step = fc.oneof(
  { weight: 2, arbitrary: spec.map((edit) => ({ edit })) },
  { weight: 5, arbitrary: fc.constant({ reconcile: true }) },
  { weight: 4, arbitrary: unitName.map((load) => ({ load })) },
  { weight: 1, arbitrary: unitName.map((crash) => ({ crash })) },
);

/** One reconcile, held to what must be so at any time. */
function reconcile(resource: ModelDeployment, world: World, now: string): PlanResult<ModelDeploymentStatus> {
  const before = world.observed;
  const result = plan(resource, before, now);
  const names = result.units.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  expect(result.fronts).toHaveLength(1);
  const target = result.fronts[0]?.target ?? '';
  expect(names).toContain(target);
  const confirmed = before.fronts['iris']?.target ?? '';
  if ((before.units[confirmed]?.ready ?? 0) > 0) {
    const next = before.units[target];
    const isLoaded =
      next?.state === 'Loaded' && result.units.some((unit) => unit.name === target && sameUnit(unit, next.unit));
    if (target !== confirmed) expect(isLoaded, 'the front moves to what is loaded').toBe(true);
    expect(names, 'what serves stays until the front has moved').toContain(confirmed);
  }
  world.apply(result);
  if ((before.units[confirmed]?.ready ?? 0) > 0) {
    const after = world.observed;
    expect(after.units[after.fronts['iris']?.target ?? '']?.ready, 'something goes on serving').toBeGreaterThan(0);
  }
  return result;
}

it('comes to rest whatever has happened, never drops what serves, and then changes nothing', () => {
  fc.assert(
    fc.property(spec, fc.array(step, { maxLength: 30 }), (first, steps) => {
      const world = new World();
      let generation = 1;
      let resource = iris(first, generation);
      for (const happened of steps) {
        if ('edit' in happened) resource = { ...iris(happened.edit, ++generation), status: resource.status };
        else if ('load' in happened) world.load(happened.load);
        else if ('crash' in happened) world.crash(happened.crash);
        else resource = { ...resource, status: reconcile(resource, world, noon).status };
      }
      const servedBefore = world.observed.units[world.observed.fronts['iris']?.target ?? '']?.ready ?? 0;
      for (let i = 0; i < 6; i++) {
        resource = { ...resource, status: reconcile(resource, world, noon).status };
        for (const name of Object.keys(world.observed.units)) world.load(name);
      }
      const rest = reconcile(resource, world, later);
      expect(rest.status).toEqual(resource.status);
      const atRest = world.observed;
      const again = reconcile({ ...resource, status: rest.status }, world, later);
      expect(again).toEqual(rest);
      expect(world.observed).toEqual(atRest);
      const { serve = '', versions } = resource.spec;
      const good = !isBad(versions.find(({ name }) => name === serve)?.uri ?? '');
      const ready = rest.status.conditions.find(({ type }) => type === 'Ready');
      expect(ready?.status).toBe(good ? 'True' : 'False');
      expect(ready?.observedGeneration).toBe(generation);
      if (good) expect(atRest.fronts['iris']?.target).toBe(`iris-${serve}`);
      else if (servedBefore > 0) expect(rest.status.stableVersion).toBeDefined();
    }),
    { numRuns: 2_000 },
  );
});
