import { isFetched, mountPathOf, placeOf } from '../../../api/contract/model-uri.ts';
import { modelService, namespacedName, rolloutCommand, versionName } from '../../../api/contract/names.ts';
import { parseDuration } from '../../../api/duration.ts';
import { type ModelDeployment, type ModelVersion, wantedVersion } from '../../../api/v1alpha1/model-deployment.ts';
import type { Neighbours } from '../neighbours.ts';
import { decideRollout } from '../rollout/rollout.ts';
import type { Decision, ObservedVersion, RolloutSpec, RolloutStatus } from '../rollout/types.ts';
import { type Front, type Observed, sameUnit, type Unit, type UnitPlan } from '../units.ts';
import { brokenGates } from './references.ts';
import { isShared, routingOf, sharers } from './routing.ts';

/** In the pod: where the routing table is mounted. */
export const routingFolder = '/etc/levada-routing';

export interface Traffic extends UnitPlan {
  /** Version that `spec` wants to serve. */
  readonly wanted: string;
  /** Version that takes the traffic now, where one does. */
  readonly stable: string | undefined;
  /** Where versions take over step by step. */
  readonly rollout?: Decision;
}

/** Which units run, where the front leads, and who answers which request. */
export function planTraffic(
  resource: ModelDeployment,
  observed: Observed,
  now: string,
  neighbours: Neighbours,
): Traffic {
  const { spec, status } = resource;
  const isDeclared = spec.versions.some(({ name }) => name === wantedVersion(spec));
  const traffic =
    isDeclared && (spec.rollout || status?.rollout)
      ? bySteps(resource, observed, now, neighbours)
      : whenLoaded(resource, observed);
  return withRouting(resource, observed, traffic);
}

/**
 * The version that serves goes on until the wanted one is ready; then the front moves, and only when it has moved the old
 * unit goes.
 */
function whenLoaded(resource: ModelDeployment, observed: Observed): Traffic {
  const { metadata, spec } = resource;
  const service = modelService(metadata.name);
  const front = frontTo(resource);
  const wanted = wantedVersion(spec);
  const units: Unit[] = [];
  const entry = spec.versions.find(({ name }) => name === wanted);
  if (!entry) return { units, fronts: [], wanted, stable: undefined };
  const next = versionUnit(resource, entry);
  const serving = observed.units[observed.fronts[service]?.target ?? ''];
  if (!serving || serving.unit.name === next.name) {
    return { units: [next], fronts: [front(next.name)], wanted, stable: serving && wanted };
  }
  // The old unit stays as it runs: its entry may be gone from the spec, and an edit must not disturb it now.
  const candidate = observed.units[next.name];
  const ready = candidate?.state === 'Loaded' && sameUnit(candidate.unit, next);
  return {
    units: [serving.unit, next],
    fronts: [front(ready ? next.name : serving.unit.name)],
    wanted,
    stable: serving.unit.version,
  };
}

const frontTo =
  ({ metadata, spec }: ModelDeployment) =>
  (target: string): Front => ({
    service: modelService(metadata.name),
    target,
    ...(spec.expose && { expose: spec.expose }),
  });

/** As the rollout decides. */
function bySteps(resource: ModelDeployment, observed: Observed, now: string, neighbours: Neighbours): Traffic {
  const { metadata, spec, status } = resource;
  const target = observed.fronts[modelService(metadata.name)]?.target;
  const serving = target === undefined ? undefined : observed.units[target]?.unit.version;
  const wanted = wantedVersion(spec);
  const before = rolloutOf(status?.rollout);
  const decision = decideRollout(
    {
      serve: wanted,
      versions: spec.versions.map(({ name }) => name),
      ...(spec.rollout && { rollout: spec.rollout as RolloutSpec }),
      ...(metadata.annotations?.[rolloutCommand] !== undefined && { command: metadata.annotations[rolloutCommand] }),
      broken: brokenGates(resource, neighbours),
    },
    before,
    {
      ...(serving !== undefined && { front: serving }),
      versions: observedVersions(resource, observed),
      appliedWeight: appliedWeight(before, observed),
      ...(observed.routing?.traffic && { traffic: observed.routing.traffic }),
    },
    now,
  );
  const units = decision.runs.flatMap((version) => unitOf(resource, observed, version) ?? []);
  const front = versionName(metadata.name, decision.front);
  return {
    units,
    // Its unit may be one that cannot be made any more: then what there is goes on.
    fronts: units.some(({ name }) => name === front) ? [frontTo(resource)(front)] : [],
    wanted,
    stable: serving,
    rollout: decision,
  };
}

/** As it is declared; of one that is not any more, as it runs. */
function unitOf(resource: ModelDeployment, observed: Observed, version: string): Unit | undefined {
  const entry = resource.spec.versions.find(({ name }) => name === version);
  return entry ? versionUnit(resource, entry) : observed.units[versionName(resource.metadata.name, version)]?.unit;
}

function observedVersions(resource: ModelDeployment, observed: Observed): Record<string, ObservedVersion> {
  return Object.fromEntries(
    Object.values(observed.units).map(({ unit, state, ready, sha256, failure }) => {
      const wanted = unitOf(resource, observed, unit.version) ?? unit;
      const resolved = resource.status?.versions.find(({ name }) => name === unit.version)?.resolved?.digest;
      const digest = resolved ?? (sha256 === undefined ? undefined : `sha256:${sha256}`);
      return [
        unit.version,
        {
          ...(digest !== undefined && { digest }),
          ready,
          fullCapacity: state === 'Loaded' && sameUnit(unit, wanted),
          ...(failure && state === 'Failed' && { failure: failure.message }),
        },
      ];
    }),
  );
}

/** What all processes have acknowledged; one that has not yet what the rollout asked for decides. */
function appliedWeight(rollout: RolloutStatus | undefined, { routing }: Observed): number {
  const acknowledged = routing?.acknowledged ?? [];
  if (!rollout || rollout.phase === 'Stable' || acknowledged.length === 0) {
    return Math.max(0, ...acknowledged.map((one) => one?.weight ?? 0));
  }
  const { candidate, weight } = rollout;
  const weights = acknowledged.map((one) => (one && (one.version === candidate || weight === 0) ? one.weight : 0));
  return weights.find((one) => one !== weight) ?? weight;
}

/** A status that somebody has restored without half of it is none. */
function rolloutOf(status: NonNullable<ModelDeployment['status']>['rollout']): RolloutStatus | undefined {
  if (!status) return undefined;
  const { phase, id, candidate, startedAt, progressedAt, countedUntil } = status;
  const isWhole = [id, candidate, startedAt, progressedAt, countedUntil].every((field) => field !== undefined);
  if (phase !== 'Stable' && !isWhole) return undefined;
  return (phase === 'Stable' ? status : { ...emptyRollout, ...status }) as RolloutStatus;
}

const emptyRollout = { message: '', intent: '', step: 0, requests: 0, weight: 0, appliedWeight: 0, gates: [] };

/** Adds the versions that get requests besides, and the table that says so. */
function withRouting(resource: ModelDeployment, observed: Observed, traffic: Traffic): Traffic {
  const { spec } = resource;
  const [front] = traffic.fronts;
  const serving = traffic.units.find(({ name }) => name === front?.target);
  if (!serving) return traffic;
  const running = new Set(traffic.units.map(({ version }) => version));
  const others = [...new Set(sharers(spec))].filter((version) => !running.has(version));
  const units = [...traffic.units, ...others.flatMap((version) => unitOf(resource, observed, version) ?? [])];
  // What was said once has to be taken back.
  if (!isShared(spec) && !traffic.rollout && !observed.routing) return { ...traffic, units };
  const status = traffic.rollout?.status;
  const rollout = status && status.phase !== 'Stable' ? status : undefined;
  return {
    ...traffic,
    units,
    routing: routingOf(spec, serving.version, rollout, new Set(units.map((unit) => unit.version))),
  };
}

function versionUnit({ metadata, spec, status }: ModelDeployment, version: ModelVersion): Unit {
  const { classNames, classNamesFrom, batching, serviceAccountName, podTemplate } = spec;
  const resolved = status?.versions.find(({ name }) => name === version.name)?.resolved;
  const places = [version.uri, ...(classNamesFrom ? [classNamesFrom.uri] : [])].map(placeOf);
  const mounts = new Map(places.flatMap(({ mounted }) => (mounted ? [[mountPathOf(mounted), mounted]] : [])));
  const digest = resolved?.uri === version.uri ? resolved.digest.replace(/^sha256:/, '') : undefined;
  return {
    kind: 'model-version',
    name: versionName(metadata.name, version.name),
    model: metadata.name,
    version: version.name,
    replicas: spec.replicas,
    resources: spec.resources,
    ...(serviceAccountName !== undefined && { serviceAccountName }),
    ...(podTemplate && { podTemplate }),
    ...(mounts.size > 0 && { mounts: [...mounts.values()] }),
    config: {
      kind: 'model-server',
      model: metadata.name,
      version: version.name,
      path: placeOf(version.uri).path,
      ...(isFetched(version.uri) && { source: sourceOf(version) }),
      ...(version.sha256 && { sha256: version.sha256 }),
      ...(digest && { resolvedSha256: digest }),
      ...(classNames && { classNames }),
      ...(classNamesFrom && { classNamesPath: placeOf(classNamesFrom.uri).path }),
      routing: { resource: namespacedName(metadata), folder: routingFolder },
      batching: { maxBatchSize: batching.maxBatchSize, maxDelayMs: parseDuration(batching.maxDelay) ?? 0 },
    },
  };
}

const sourceOf = ({ uri, secretRef }: ModelVersion) => ({ uri, ...(secretRef && { secret: secretRef.name }) });
