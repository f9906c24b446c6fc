import { partName } from '../../../api/contract/names.ts';
import type { BrokerState, Failure, QueueState, SourceState } from '../../../api/contract/pipeline.ts';
import { partLabel } from '../../objects/labels.ts';
import { nameOf, partOf } from '../../objects/pipeline/units.ts';
import type { ObservedPipeline, PipelinePlan } from '../../plan/units.ts';
import { containerFailure, isGoing, isPodReady, isRolling, podsRefused, podUnreachable } from './failures.ts';
import { type LiveDeployment, type LivePod, templateAnnotation } from './types.ts';
import type { UnitStatus } from './unit-status.ts';

/** What a queue holds. */
export type Figures = Pick<QueueState, 'waiting' | 'inFlight' | 'dead'>;

/** What API server, pods and broker say of one pipeline. */
export interface FoundPipeline {
  readonly applied: PipelinePlan;
  readonly deployments: readonly LiveDeployment[];
  readonly pods: readonly LivePod[];
  /** What a pod says of itself, by its uid. */
  readonly statusOf: (uid: string) => UnitStatus | undefined;
  /** Of a pod that is ready and does not answer, by its uid: what comes of asking it. */
  readonly silenceOf: (uid: string) => string | undefined;
  /** By name of the queue. */
  readonly figures: Readonly<Record<string, Figures>>;
  /** By name of the queue: when it was found missing. */
  readonly lostAt: Readonly<Record<string, string>>;
  readonly broker: BrokerState;
  readonly namespaceEnds: boolean;
}

/** Of one unit: what its newest pods say. */
interface Unit {
  readonly said: readonly UnitStatus[];
  readonly failure?: Failure;
  /** Whether a Service leads to one of the newest: the kubelet has seen that it is ready. */
  readonly isServed?: boolean;
  /** Besides the newest. */
  readonly hasOlderPods?: boolean;
}

/** Pure. */
export function observedPipeline(found: FoundPipeline): ObservedPipeline {
  const { applied, figures, lostAt, broker, namespaceEnds } = found;
  const pipeline = nameOf(applied.topology.pipeline);
  const [namespace] = applied.topology.pipeline.split('/');
  const units = new Map<string, Unit>();
  const unitOf = (part: string): Unit => {
    const unit = units.get(part) ?? lookAt(partName(pipeline, part), part, found);
    units.set(part, unit);
    return unit;
  };
  const parts = new Map(applied.consumers.map((consumer) => [consumer.name, partOf(consumer)]));
  const sources = applied.sources.map(({ name, path }): [string, SourceState] => {
    const url = `http://${partName(pipeline, name)}.${namespace}.svc${path}`;
    const states = unitOf(name).said.flatMap(({ sources }) => sources[name] ?? []);
    const failure = states.find((state) => state.failure !== undefined)?.failure;
    const ready = unitOf(name).isServed === true && states.some((state) => state.ready);
    return [name, { ready, url, ...(failure && { failure }) }];
  });
  const names = new Set([...Object.keys(figures), ...parts.keys()]);
  const queues = [...names].map((name): [string, QueueState] => {
    const part = parts.get(name);
    const at = lostAt[name];
    return [
      name,
      {
        ...(figures[name] ?? { waiting: 0, inFlight: 0, dead: 0 }),
        ...(part === undefined ? idle : consumerOf(unitOf(part), name)),
        ...(at !== undefined && { lostAt: at }),
      },
    ];
  });
  const all = [...applied.sources.map(({ name }) => [name, name] as const), ...parts];
  const failures = all.flatMap(([name, part]) => {
    const { failure } = unitOf(part);
    return failure ? [[name, failure] as const] : [];
  });
  const replacing = all.flatMap(([name, part]) => (unitOf(part).hasOlderPods ? [name] : []));
  return {
    applied,
    sources: Object.fromEntries(sources),
    queues: Object.fromEntries(queues),
    broker,
    ...(failures.length > 0 && { failures: Object.fromEntries(failures) }),
    ...(replacing.length > 0 && { replacing }),
    ...(namespaceEnds && { namespaceEnds }),
  };
}

const idle = { running: false, breaker: 'Closed' } as const;

/** It runs where one of its pods says so. */
function consumerOf({ said }: Unit, name: string): Pick<QueueState, 'running' | 'breaker' | 'message'> {
  const states = said.flatMap(({ consumers, failure }) => {
    const state = consumers[name];
    return state ? [{ ...state, message: state.message ?? (state.running ? undefined : failure?.message) }] : [];
  });
  const state = states.find(({ running }) => running) ?? states[0];
  if (!state) return idle;
  const { running, breaker, message } = state;
  return { running, breaker, ...(message !== undefined && { message }) };
}

function lookAt(name: string, part: string, { deployments, pods, statusOf, silenceOf }: FoundPipeline): Unit {
  const deployment = deployments.find(({ metadata }) => metadata.name === name);
  if (!deployment || deployment.metadata.deletionTimestamp !== undefined) return { said: [] };
  const template = deployment.spec.template.metadata?.annotations?.[templateAnnotation];
  const newest = pods.filter(
    (pod) =>
      pod.metadata.labels?.[partLabel] === part &&
      pod.metadata.annotations?.[templateAnnotation] === template &&
      !isGoing(pod),
  );
  const said = newest.flatMap(({ metadata: { uid = '' } }) => statusOf(uid) ?? []);
  const isLoaded = said.some(({ state }) => state === 'Loaded');
  const failure =
    newest.map(containerFailure).find((one) => one !== undefined) ??
    said.find(({ state }) => state === 'Failed')?.failure ??
    podsRefused(deployment) ??
    podUnreachable(newest, silenceOf);
  const isServed = newest.some(isPodReady);
  const hasOlderPods = isRolling(deployment) && (deployment.status?.replicas ?? 0) > 0;
  return { said, isServed, hasOlderPods, ...(failure && !isLoaded && { failure }) };
}
