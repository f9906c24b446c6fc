import type { QueueState } from '../../../api/contract/pipeline.ts';
import { type ErrorCode, errors, type Problem } from '../../../api/errors.ts';
import type { ConditionType } from '../../../api/v1alpha1/common.ts';
import type { EventPipeline, EventPipelineStatus, StepStatus } from '../../../api/v1alpha1/event-pipeline.ts';
import { conditionsOf, type Said } from '../conditions.ts';
import type { ObservedPipeline } from '../units.ts';

/** The status of a pipeline. Ready: every source takes events, and every step handles them. */
export function summarizePipeline(
  resource: EventPipeline,
  observed: ObservedPipeline | undefined,
  problems: readonly Problem[],
  now: string,
): EventPipelineStatus {
  const { metadata, spec } = resource;
  const sources = spec.sources.map((source) => {
    const found = source.http ? observed?.sources[source.name] : undefined;
    const ready = source.http ? found?.ready === true : observed?.queues[source.name]?.running === true;
    return { name: source.name, ready, ...(found?.url !== undefined && { url: found.url }) };
  });
  const declared = spec.steps.map(({ name }) => stepStatus(name, observed?.queues[name], false));
  const left = leftovers(resource, observed, problems.length === 0);
  const queues = Object.values(observed?.queues ?? {});
  const running = declared.filter(({ state }) => state === 'Running').length;
  const said = sayAll(problems, { observed, sources, steps: declared });
  return {
    conditions: conditionsOf(resource, said, now),
    ...(metadata.generation !== undefined && { observedGeneration: metadata.generation }),
    sources,
    steps: [...declared, ...left].slice(0, limits.steps),
    stepsRunning: `${running}/${declared.length}`,
    backlog: queues.reduce((sum, { waiting }) => sum + waiting, 0),
    deadLetters: queues.reduce((sum, { dead }) => sum + dead, 0),
  };
}

/** What the status takes of steps, and of one message in characters: the API server refuses all of a status that has more. */
const limits = { steps: 64, message: 4096 } as const;

/** Queues that the spec does not speak of. Before the spec is accepted, they go on as before. */
function leftovers(
  { spec: { sources, steps } }: EventPipeline,
  observed: ObservedPipeline | undefined,
  accepted: boolean,
): StepStatus[] {
  const { applied, queues = {} } = observed ?? {};
  const names = new Set([...steps, ...sources.filter(({ event }) => event)].map(({ name }) => name));
  const bound = applied?.topology.queues.filter(({ bindings }) => bindings.length > 0).map(({ name }) => name) ?? [];
  return Object.entries(queues)
    .filter(([name]) => !names.has(name))
    .map(([name, queue]) => stepStatus(name, queue, accepted || !bound.includes(name)));
}

function stepStatus(name: string, queue: QueueState | undefined, isLeft: boolean): StepStatus {
  const state = isLeft ? 'Draining' : !queue?.running ? 'Pending' : queue.breaker === 'Closed' ? 'Running' : 'Waiting';
  return {
    name,
    state,
    backlog: queue?.waiting ?? 0,
    deadLetters: queue?.dead ?? 0,
    breaker: queue?.breaker ?? 'Closed',
    ...(queue?.message !== undefined && { message: bounded(queue.message) }),
  };
}

const bounded = (text: string, limit: number = limits.message): string =>
  text.length > limit ? `${text.slice(0, limit - 1)}…` : text;

interface Situation {
  readonly observed: ObservedPipeline | undefined;
  readonly sources: EventPipelineStatus['sources'];
  readonly steps: readonly StepStatus[];
}

function sayAll(problems: readonly Problem[], situation: Situation): Partial<Record<ConditionType, Said>> {
  const [first] = problems;
  const settled: Said = { status: 'False', reason: 'Settled', message: 'Nothing is under way.' };
  if (first) {
    const meanwhile = situation.observed ? ' What ran before goes on.' : '';
    const after = `. ${errors[first.code].remedy}${meanwhile}`;
    const message = `${bounded(problems.map(sentence).join('; '), limits.message - after.length)}${after}`;
    const refused: Said = { status: 'False', reason: first.code, message };
    const stalled = problems.some(({ code }) => errors[code].outcome === 'terminal');
    return {
      Accepted: refused,
      Ready: refused,
      Reconciling: stalled ? settled : { ...refused, status: 'True' },
      Stalled: stalled
        ? { ...refused, status: 'True' }
        : { status: 'False', reason: 'NotStalled', message: 'It goes on when what is missing is there.' },
    };
  }
  const ready = sayReady(situation);
  const failure = failureOf(situation);
  return {
    Accepted: { status: 'True', reason: 'Accepted', message: 'The resource is valid.' },
    Ready: ready,
    Reconciling: ready.status === 'True' || failure ? settled : { ...ready, status: 'True' },
    Stalled: failure
      ? { ...ready, status: 'True' }
      : { status: 'False', reason: 'NotStalled', message: 'Nothing is in the way.' },
  };
}

const sentence = ({ path, message }: Problem): string => `${path}: ${message}`;

/** Of the sources that are declared: one that is gone from the spec is about to end. */
const failureOf = ({ observed, sources }: Situation) =>
  sources.map(({ name }) => observed?.sources[name]?.failure).find((failure) => failure !== undefined);

function sayReady(situation: Situation): Said {
  const { sources, steps } = situation;
  const failure = failureOf(situation);
  if (failure) {
    const remedy = errors[failure.code as ErrorCode]?.remedy ?? '';
    return { status: 'False', reason: failure.code, message: bounded(`${failure.message}. ${remedy}`.trim()) };
  }
  const waiting = steps.find(({ state }) => state === 'Waiting');
  if (waiting) {
    const why = waiting.message ?? 'its handler is not there';
    return {
      status: 'False',
      reason: 'StepWaiting',
      message: bounded(`Step ${waiting.name} takes no messages: ${why}`),
    };
  }
  const missing = [
    ...sources.filter(({ ready }) => !ready).map(({ name }) => `source ${name}`),
    ...steps
      .filter(({ state }) => state === 'Pending')
      .map(({ name, message }) => `step ${name}${message ? ` (${message})` : ''}`),
  ];
  if (missing.length > 0) {
    return { status: 'False', reason: 'Progressing', message: bounded(`Being started: ${missing.join(', ')}.`) };
  }
  return { status: 'True', reason: 'Running', message: 'Sources take events, and every step handles them.' };
}
