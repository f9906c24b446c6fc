import {
  type ModelDeployment,
  type ModelDeploymentStatus,
  modelDeployment,
} from '../../../api/v1alpha1/model-deployment.ts';
import { nothingObserved, type Observed, type ObservedUnit, type PlanResult, type Unit } from '../units.ts';
import { planModel as plan } from './plan.ts';

export const noon = '2030-01-01T12:00:00.000Z';
export const later = '2030-01-01T13:00:00.000Z';

/** A resource `iris` with the versions v1 and v2, of which v1 serves; `spec` goes on top. */
export function iris(spec: object = {}, generation = 1): ModelDeployment {
  const versions = [
    { name: 'v1', uri: 'file:///models/1' },
    { name: 'v2', uri: 'file:///models/2' },
  ];
  return modelDeployment.parse({
    apiVersion: 'levada.dev/v1alpha1',
    kind: 'ModelDeployment',
    metadata: { name: 'iris', generation },
    spec: { versions, serve: 'v1', ...spec },
  });
}

/** The digest that a model at `path` has in these tests. */
export const digestOf = (path: string): string => path.replace(/\D/g, '').padStart(64, '0').slice(-64);

/** The unit that is planned for `serve` in a resource that runs nothing yet. */
export function unitOf(resource: ModelDeployment): Unit {
  const [unit] = plan({ ...resource, status: undefined }, nothingObserved, noon).units;
  if (!unit) throw new Error('nothing is planned');
  return unit;
}

export function observedUnit(unit: Unit, change: Partial<ObservedUnit> = {}): ObservedUnit {
  return { unit, state: 'Loaded', ready: unit.replicas, sha256: digestOf(unit.config.path), ...change };
}

/** Units, and the one that connections reach. */
export function observed(target: string | undefined, ...units: ObservedUnit[]): Observed {
  return {
    units: Object.fromEntries(units.map((entry) => [entry.unit.name, entry])),
    fronts: { iris: { url: 'http://iris', ...(target !== undefined && { target }) } },
  };
}

/** A plan in a few words. */
export function brief({ units, fronts, status }: PlanResult<ModelDeploymentStatus>): object {
  const ready = status.conditions.find(({ type }) => type === 'Ready');
  const others = status.conditions.filter(({ type, status: value }) => type !== 'Ready' && value === 'True');
  return {
    units: units.map(({ name }) => name).join(' '),
    front: fronts.map(({ target }) => target).join(' '),
    ready: `${ready?.status} ${ready?.reason}: ${ready?.message}`,
    also: others.map(({ type }) => type).join(' '),
    stable: status.stableVersion,
    versions: status.versions
      .map(({ name, state, ready: count, lastFailure }) =>
        [name, state, count, ...(lastFailure ? [lastFailure.reason] : [])].join(' '),
      )
      .join(', '),
  };
}
