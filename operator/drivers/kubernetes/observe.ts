import type { ModelServerConfig, ModelServerStatus } from '../../../api/contract/model-server.ts';
import { modelService, routingName, versionName } from '../../../api/contract/names.ts';
import type { Failure } from '../../../api/contract/pipeline.ts';
import { routingFiles, type SignedRoutingTable } from '../../../api/contract/routing-table.ts';
import { errorMessage } from '../../../api/errors.ts';
import { configFile } from '../../objects/configmap.ts';
import { modelLabel, versionLabel } from '../../objects/labels.ts';
import type { Observed, ObservedFront, ObservedUnit, Unit } from '../../plan/units.ts';
import { readTable } from '../routing/table.ts';
import { containerFailure, isGoing, podsRefused, podUnreachable } from './failures.ts';
import {
  type LiveConfigMap,
  type LiveDeployment,
  type LivePod,
  type LiveService,
  templateAnnotation,
  unitAnnotation,
} from './types.ts';

/** What the API server and the pods say of one owner. */
export interface Found {
  readonly namespace: string;
  readonly deployments: Iterable<LiveDeployment>;
  readonly configMaps: readonly LiveConfigMap[];
  readonly services: Iterable<LiveService>;
  readonly pods: readonly LivePod[];
  /** What a pod says of itself, by its uid. */
  readonly statusOf: (uid: string) => ModelServerStatus | undefined;
  /** Of a pod that is ready and does not answer, by its uid: what comes of asking it. */
  readonly silenceOf: (uid: string) => string | undefined;
}

/** Pure. */
export function observedOf(found: Found): Observed {
  const units: Record<string, ObservedUnit> = {};
  for (const deployment of found.deployments) {
    const unit = unitOf(deployment, found.configMaps);
    if (unit && deployment.metadata.deletionTimestamp === undefined) {
      units[unit.name] = observedUnit(unit, deployment, found);
    }
  }
  const fronts: Record<string, ObservedFront> = {};
  for (const { metadata, spec } of found.services) {
    const { [modelLabel]: model = '', [versionLabel]: version } = spec.selector ?? {};
    if (metadata.name !== modelService(model)) continue; // that of one version
    const url = `http://${metadata.name}.${found.namespace}.svc`;
    fronts[metadata.name] = { url, ...(version !== undefined && { target: versionName(model, version) }) };
  }
  return { units, fronts };
}

/** The routing table that was made last. */
export const routingTableOf = (configMaps: readonly LiveConfigMap[], model: string): SignedRoutingTable | undefined =>
  readTable(configMaps.find(({ metadata }) => metadata.name === routingName(model))?.data?.[routingFiles.table]);

/** As it was applied last; `undefined` when somebody has removed the note of it: then it is applied anew. */
function unitOf({ metadata, spec }: LiveDeployment, configMaps: readonly LiveConfigMap[]): Unit | undefined {
  try {
    const unit = JSON.parse(metadata.annotations?.[unitAnnotation] ?? '') as Unit;
    const mounted = spec.template.spec?.volumes?.find(({ configMap }) => configMap)?.configMap?.name;
    const text = configMaps.find((one) => one.metadata.name === mounted)?.data?.[configFile] ?? '{}';
    const { resolvedSha256 } = JSON.parse(text) as Partial<ModelServerConfig>;
    return {
      ...unit,
      resources: unit.resources, // JSON leaves out what is undefined
      config: { ...unit.config, ...(resolvedSha256 !== undefined && { resolvedSha256 }) },
    };
  } catch {
    return undefined;
  }
}

function observedUnit(unit: Unit, deployment: LiveDeployment, { pods, statusOf, silenceOf }: Found): ObservedUnit {
  const { metadata, spec, status = {} } = deployment;
  const template = spec.template.metadata?.annotations?.[templateAnnotation];
  const newest = pods.filter(
    (pod) => pod.metadata.annotations?.[templateAnnotation] === template && isOf(pod, unit) && !isGoing(pod),
  );
  const said = newest.flatMap(({ metadata: { uid = '' } }) => statusOf(uid) ?? []);
  const sha256 = said.find((one) => one.sha256 !== undefined)?.sha256;
  const other = differing(unit, sha256, said);
  // The digest is what a first load is for; later it is known, and pods that do not answer a scrape still serve.
  const isResolved = sha256 !== undefined || unit.config.resolvedSha256 !== undefined;
  const failure =
    said.find((one) => one.failure !== undefined)?.failure ??
    other ??
    newest.map(containerFailure).find((one) => one !== undefined) ??
    podsRefused(deployment) ??
    (isResolved ? undefined : podUnreachable(newest, silenceOf));
  const isSettled =
    (status.observedGeneration ?? 0) >= (metadata.generation ?? 0) &&
    spec.replicas === unit.replicas &&
    [status.replicas, status.updatedReplicas, status.availableReplicas].every((count) => count === unit.replicas);
  const isLoaded = isSettled && !other && isResolved;
  return {
    unit,
    state: failure && !isLoaded ? 'Failed' : isLoaded ? 'Loaded' : 'Loading',
    ready: status.readyReplicas ?? 0,
    ...(sha256 !== undefined && { sha256 }),
    ...(failure && !isLoaded && { failure }),
  };
}

/** Pods of one version that have loaded several models: what its source holds has changed between them. */
function differing(
  { config }: Unit,
  first: string | undefined,
  said: readonly ModelServerStatus[],
): Failure | undefined {
  const resolved = config.resolvedSha256 ?? first ?? '';
  const found = said.find(({ sha256 }) => sha256 !== undefined && sha256 !== resolved)?.sha256;
  if (found === undefined) return undefined;
  const path = config.source?.uri ?? config.path;
  return { code: 'ArtifactChanged', message: errorMessage('ArtifactChanged', { path, found, resolved }) };
}

const isOf = ({ metadata: { labels = {} } }: LivePod, { model, version }: Unit): boolean =>
  labels[modelLabel] === model && labels[versionLabel] === version;
