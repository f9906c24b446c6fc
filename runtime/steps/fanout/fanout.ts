import { LevadaError } from '../../../api/errors.ts';
import { compileExpression, type Expression, expectType, type Variables } from '../../../api/language/expression.ts';
import { unwrapExpression } from '../../../api/language/template.ts';
import { show } from '../../../api/rules.ts';
import { attributesOf } from '../../events/message.ts';
import { Connections } from '../../net/connections.ts';
import type { StepContext, StepFactory } from '../step.ts';
import { Call } from './call.ts';
import type { FetchOptions } from './fetch.ts';
import { Gates, Schedule } from './schedule.ts';

/** URLs of one event. */
const maxUrls = 1000;
/** Requests of all fan-out steps of a process that are under way at once. */
const maxRequests = 1000;

/** What all fan-out steps of a process share. */
export class FanoutShare {
  readonly connections: Connections;
  readonly schedule: Schedule;
  readonly random: () => number;
  #steps = 0;

  constructor({ connections = new Connections(), schedule = new Schedule(maxRequests), random = Math.random } = {}) {
    this.connections = connections;
    this.schedule = schedule;
    this.random = random;
  }

  open(): void {
    this.#steps++;
  }

  /** The last one ends the connections that are kept. */
  close(): void {
    if (--this.#steps === 0) this.connections.closeIdle();
  }
}

/**
 * Gets the URLs that an expression gives, all at once within limits, and emits what became of each. docs/guides/fanout.md
 * says what that is.
 *
 * @throws LevadaError ExpressionInvalid. `run`: ExpressionWrongType, where `urls` gives anything but a list of at most
 *   1,000 texts, and as expressions do; the reason of `context.signal`, when that is aborted
 */
export const makeFanoutStep =
  (share: FanoutShare): StepFactory<'fanout'> =>
  (action, environment) => {
    const { concurrency, perOrigin } = action;
    const urls = compile(action.urls);
    const output = action.output === undefined ? undefined : compile(action.output, 'results');
    const gates = new Gates(perOrigin);
    const { connections, schedule, random } = share;
    const options: FetchOptions = { ...action, environment, connections, schedule, random };
    const calls = new Set<Call>();
    let isClosed = false;
    share.open();
    return {
      async run({ message, data }, context) {
        const variables = { event: attributesOf(message) };
        const list = await urlsOf(urls, data, variables);
        context.signal.throwIfAborted();
        if (isClosed) throw closed();
        const call = new Call(list, headersOf(context), concurrency, gates, options);
        calls.add(call);
        const abort = () => call.abort(context.signal.reason);
        context.signal.addEventListener('abort', abort);
        try {
          call.begin();
          const results = await call.done;
          if (!output) return [{ data: { results } }];
          return [{ data: await outputOf(output, data, { ...variables, results }) }];
        } finally {
          context.signal.removeEventListener('abort', abort);
          calls.delete(call);
        }
      },
      async close() {
        if (isClosed) return;
        isClosed = true;
        for (const call of calls) call.abort(closed());
        share.close();
      },
    };
  };

export const fanoutStep: StepFactory<'fanout'> = makeFanoutStep(new FanoutShare());

const closed = () => new LevadaError('InternalError', { detail: 'the step was closed while it worked' });

/** @throws LevadaError ExpressionInvalid */
const compile = (text: string, ...variables: string[]): Expression =>
  compileExpression(unwrapExpression(text) ?? text, { variables: ['event', ...variables] });

async function urlsOf(expression: Expression, data: unknown, variables: Variables): Promise<string[]> {
  const urls = expectType(await expression.evaluate(data, variables), expression, 'strings');
  if (urls.length > maxUrls) throw wrongType(expression, urls, `at most ${maxUrls} URLs`);
  return urls;
}

async function outputOf(expression: Expression, data: unknown, variables: Variables): Promise<unknown> {
  const value = await expression.evaluate(data, variables);
  if (value === undefined) throw wrongType(expression, value, 'JSON');
  return value;
}

const wrongType = ({ text: expression }: Expression, value: unknown, allowed: string) =>
  new LevadaError('ExpressionWrongType', { expression, found: show(value), allowed });

function headersOf({ traceparent, tracestate }: StepContext): string[] {
  const headers = ['accept', 'application/json', 'accept-encoding', 'identity', 'user-agent', 'levada'];
  headers.push('traceparent', traceparent);
  if (tracestate !== undefined) headers.push('tracestate', tracestate);
  return headers;
}
