import { isFetched, mountPathOf, placeOf } from '../../../api/contract/model-uri.ts';
import { modelService, versionName } from '../../../api/contract/names.ts';
import { parseDuration } from '../../../api/duration.ts';
import { type ModelDeployment, type ModelVersion, wantedVersion } from '../../../api/v1alpha1/model-deployment.ts';
import { type Front, type Observed, sameUnit, type Unit, type UnitPlan } from '../units.ts';

export interface Traffic extends UnitPlan {
  /** Version that `spec` wants to serve. */
  readonly wanted: string;
  /** Version that takes the traffic now, where one does. */
  readonly stable: string | undefined;
}

/**
 * Which units run, and where the front leads. The version that serves goes on until the wanted one is ready; then the
 * front moves, and only when it has moved the old unit goes.
 */
export function planTraffic(resource: ModelDeployment, observed: Observed): Traffic {
  const { metadata, spec } = resource;
  const service = modelService(metadata.name);
  const front = (target: string): Front => ({ service, target, ...(spec.expose && { expose: spec.expose }) });
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
      batching: { maxBatchSize: batching.maxBatchSize, maxDelayMs: parseDuration(batching.maxDelay) ?? 0 },
    },
  };
}

const sourceOf = ({ uri, secretRef }: ModelVersion) => ({ uri, ...(secretRef && { secret: secretRef.name }) });
