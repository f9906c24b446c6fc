import { versionName } from '../../../api/contract/names.ts';
import { errorMessage } from '../../../api/errors.ts';
import type { ModelDeployment, ModelVersion, VersionStatus } from '../../../api/v1alpha1/model-deployment.ts';
import { type Observed, type ObservedUnit, sameUnit, type UnitPlan } from '../units.ts';

/** The state of each declared version. */
export function planVersions(
  { metadata, spec, status }: ModelDeployment,
  observed: Observed,
  planned: UnitPlan,
  now: string,
): VersionStatus[] {
  return spec.versions.map((version) => {
    const name = versionName(metadata.name, version.name);
    const unit = asPlanned(observed.units[name], planned, name);
    const before = status?.versions.find((entry) => entry.name === version.name);
    const resolved = resolve(version, before, unit);
    const state = unit?.state ?? 'Pending';
    const failure = failureOf(version, unit, resolved);
    const lastFailure = failure ? withTime(failure, before, now) : state === 'Loaded' ? undefined : before?.lastFailure;
    return {
      name: version.name,
      ...(resolved && { resolved }),
      state,
      ready: unit?.ready ?? 0,
      ...(lastFailure && { lastFailure }),
    };
  });
}

/** What processes say of the unit as it is to be: what they say of another one, which they were started as, is not it. */
function asPlanned(found: ObservedUnit | undefined, { units }: UnitPlan, name: string): ObservedUnit | undefined {
  const unit = units.find((entry) => entry.name === name);
  if (!found || !unit) return undefined;
  return sameUnit(found.unit, unit) ? found : { unit, state: 'Loading', ready: found.ready };
}

/** Resolved once: what the version was when it was first loaded. A file that never loaded may still be mended. */
function resolve(version: ModelVersion, before: VersionStatus | undefined, unit: ObservedUnit | undefined) {
  if (before?.resolved?.uri === version.uri) return before.resolved;
  if (unit?.state !== 'Loaded' || unit.sha256 === undefined) return undefined;
  return { uri: version.uri, digest: `sha256:${unit.sha256}` };
}

interface Failure {
  reason: string;
  message: string;
}

function failureOf(
  version: ModelVersion,
  unit: ObservedUnit | undefined,
  resolved: VersionStatus['resolved'],
): Failure | undefined {
  if (unit?.failure) return { reason: unit.failure.code, message: unit.failure.message };
  const found = unit?.artifactNow;
  if (found === undefined || !resolved || resolved.digest === `sha256:${found}`) return undefined;
  const digest = resolved.digest.replace(/^sha256:/, '');
  return {
    reason: 'ArtifactChanged',
    message: errorMessage('ArtifactChanged', { path: version.uri, found, resolved: digest }),
  };
}

function withTime(failure: Failure, before: VersionStatus | undefined, now: string): Failure & { time: string } {
  const same = before?.lastFailure?.reason === failure.reason && before.lastFailure.message === failure.message;
  return { ...failure, time: same ? (before?.lastFailure?.time ?? now) : now };
}
