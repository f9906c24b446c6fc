import { versionName } from '../../api/contract/names.ts';
import { errorMessage } from '../../api/errors.ts';
import type { ModelDeployment, ModelVersion, VersionStatus } from '../../api/v1alpha1/model-deployment.ts';
import type { Observed, ObservedUnit } from './units.ts';

/** The state of each declared version. */
export function planVersions(
  { metadata, spec, status }: ModelDeployment,
  observed: Observed,
  now: string,
): VersionStatus[] {
  return spec.versions.map((version) => {
    const unit = observed.units[versionName(metadata.name, version.name)];
    const before = status?.versions.find(({ name }) => name === version.name);
    const resolved = resolve(version, before, unit);
    const failure = failureOf(version, unit, resolved);
    return {
      name: version.name,
      ...(resolved && { resolved }),
      state: unit?.state ?? 'Pending',
      ready: unit?.ready ?? 0,
      ...(failure && { lastFailure: withTime(failure, before, now) }),
    };
  });
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
