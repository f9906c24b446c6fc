import type { Failure, QueueState } from '../../../api/contract/pipeline.ts';
import { type ErrorCode, errors, type Problem } from '../../../api/errors.ts';
import type { ConditionType } from '../../../api/v1alpha1/common.ts';
import type {
  EventPipeline,
  EventPipelineStatus,
  PipelineSource,
  StepStatus,
} from '../../../api/v1alpha1/event-pipeline.ts';
import { bounded, messageLimit } from '../bounded.ts';
import { conditionsOf, type Said } from '../conditions.ts';
import type { ObservedPipeline } from '../units.ts';
import { brokerFailure, brokerStatus, sayBroker, sayFailure } from './broker-status.ts';
import { fedQueues } from './parts.ts';

/** The status of a pipeline. Ready: every source takes events, and every step handles them. */
export function summarizePipeline(
  resource: EventPipeline,
  observed: ObservedPipeline | undefined,
  problems: readonly Problem[],
  now: string,
): EventPipelineStatus {
  const { metadata, spec } = resource;
  const sources = spec.sources.map((source) => sourceStatus(source, observed));
  const declared = spec.steps.map(({ name }) => stepStatus(name, observed?.queues[name], false));
  const left = leftovers(resource, observed, problems.length === 0);
  const queues = Object.values(observed?.queues ?? {});
  const broker = brokerStatus(observed?.broker);
  const running = declared.filter(({ state }) => state === 'Running').length;
  const said = sayAll(problems, { observed, sources, steps: declared });
  return {
    conditions: conditionsOf(resource, said, now),
    ...(metadata.generation !== undefined && { observedGeneration: metadata.generation }),
    sources,
    steps: [...declared, ...left].slice(0, maxSteps),
    stepsRunning: `${running}/${declared.length}`,
    backlog: queues.reduce((sum, { waiting }) => sum + waiting, 0),
    deadLetters: queues.reduce((sum, { dead }) => sum + dead, 0),
    ...(broker && { broker }),
  };
}

/** Steps that the status takes, those that drain included. */
export const maxSteps = 64;

function sourceStatus({ name, http }: PipelineSource, observed: ObservedPipeline | undefined): SourceStatus {
  const found = observed?.sources[name];
  if (http) return { name, ready: found?.ready === true, ...(found?.url !== undefined && { url: found.url }) };
  const queue = observed?.queues[name];
  const ready = queue?.running === true && queue.breaker === 'Closed';
  return { name, ready, ...said(queue) };
}

/** Queues that the spec does not speak of. Before the spec is accepted, they go on as before. */
function leftovers(
  { spec: { sources, steps } }: EventPipeline,
  observed: ObservedPipeline | undefined,
  accepted: boolean,
): StepStatus[] {
  const { applied, queues = {} } = observed ?? {};
  const names = new Set([...steps, ...sources.filter(({ http }) => !http)].map(({ name }) => name));
  const fed = applied ? fedQueues(applied) : [];
  return Object.entries(queues)
    .filter(([name]) => !names.has(name))
    .map(([name, queue]) => stepStatus(name, queue, accepted || !fed.includes(name)));
}

export function stepStatus(name: string, queue: QueueState | undefined, isLeft: boolean): StepStatus {
  const state = isLeft ? 'Draining' : !queue?.running ? 'Pending' : queue.breaker === 'Closed' ? 'Running' : 'Waiting';
  return {
    name,
    state,
    backlog: queue?.waiting ?? 0,
    deadLetters: queue?.dead ?? 0,
    breaker: queue?.breaker ?? 'Closed',
    ...said(queue),
  };
}

/** Why a queue waits, and since when what it had held is lost. */
function said({ message, lostAt }: Partial<QueueState> = {}): { message?: string; lostAt?: string } {
  const text = message ?? (lostAt !== undefined && `Its queue was gone at ${lostAt}: what it had held is lost.`);
  return { ...(text && { message: bounded(text) }), ...(lostAt !== undefined && { lostAt }) };
}

type SourceStatus = EventPipelineStatus['sources'][number];

const settled: Said = { status: 'False', reason: 'Settled', message: 'Nothing is under way.' };

interface Situation {
  readonly observed: ObservedPipeline | undefined;
  readonly sources: EventPipelineStatus['sources'];
  readonly steps: readonly StepStatus[];
}

function sayAll(problems: readonly Problem[], situation: Situation): Partial<Record<ConditionType, Said>> {
  const [first] = problems;
  const broker = sayBroker(situation.observed?.broker);
  if (first) {
    const meanwhile = situation.observed ? ' What ran before goes on.' : '';
    const after = `. ${errors[first.code].remedy}${meanwhile}`;
    const message = `${bounded(problems.map(sentence).join('; '), messageLimit - after.length)}${after}`;
    const refused: Said = { status: 'False', reason: first.code, message };
    const stalled = problems.some(({ code }) => errors[code].outcome === 'terminal');
    return {
      Accepted: refused,
      Ready: refused,
      ...broker,
      Reconciling: stalled ? settled : { ...refused, status: 'True' },
      Stalled: stalled
        ? { ...refused, status: 'True' }
        : { status: 'False', reason: 'NotStalled', message: 'It goes on when what is missing is there.' },
    };
  }
  const ready = sayReady(situation);
  const stalled = isStalled(situation);
  return {
    Accepted: { status: 'True', reason: 'Accepted', message: 'The resource is valid.' },
    Ready: ready,
    ...broker,
    Reconciling: stalled ? settled : ready.status === 'True' ? sayReplacing(situation) : { ...ready, status: 'True' },
    Stalled: stalled
      ? { ...ready, status: 'True' }
      : { status: 'False', reason: 'NotStalled', message: 'Nothing is in the way.' },
  };
}

const sentence = ({ path, message }: Problem): string => `${path}: ${message}`;

/** Of the sources and steps that are declared: one that is gone from the spec is about to end. */
const failureOf = ({ observed, sources, steps }: Situation): Failure | undefined =>
  [
    ...sources.map(({ name }) => observed?.sources[name]?.failure),
    ...[...sources, ...steps].map(({ name }) => observed?.failures?.[name]),
  ].find((failure) => failure !== undefined);

/** Of a failure of the broker, its outcome says whether it may pass by itself; a source has tried already. */
function isStalled(situation: Situation): boolean {
  const failure = brokerFailure(situation.observed?.broker);
  if (failure) return errors[failure.code as ErrorCode]?.outcome === 'terminal';
  return failureOf(situation) !== undefined;
}

function sayReady(situation: Situation): Said {
  const { observed, sources, steps } = situation;
  const failure = brokerFailure(observed?.broker) ?? failureOf(situation);
  if (failure) return sayFailure(failure);
  const waiting = steps.find(({ state }) => state === 'Waiting');
  if (waiting) {
    const why = observed?.queues[waiting.name]?.message ?? 'its handler is not there';
    return {
      status: 'False',
      reason: 'StepWaiting',
      message: bounded(`Step ${waiting.name} takes no messages: ${why}`),
    };
  }
  const missing = [
    ...sources.filter(({ ready }) => !ready).map((source) => `source ${named(source)}`),
    ...steps.filter(({ state }) => state === 'Pending').map((step) => `step ${named(step)}`),
  ];
  if (missing.length > 0) {
    return { status: 'False', reason: 'Progressing', message: bounded(`Being started: ${missing.join(', ')}.`) };
  }
  return { status: 'True', reason: 'Running', message: 'Sources take events, and every step handles them.' };
}

/** Until then some messages are still handled as before. */
function sayReplacing({ observed }: Situation): Said {
  const { replacing = [] } = observed ?? {};
  if (replacing.length === 0) return settled;
  return { status: 'True', reason: 'Progressing', message: bounded(`Pods of before go: ${replacing.join(', ')}.`) };
}

const named = ({ name, message }: { readonly name: string; readonly message?: string | undefined }): string =>
  message ? `${name} (${message})` : name;
