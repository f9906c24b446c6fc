import { LevadaError } from '../../../api/errors.ts';
import { show } from '../../../api/rules.ts';
import { batchType, eventType, parseReply, replyMode, toBinaryHeaders } from '../../events/cloudevents.ts';
import { JsonProblem, printable } from '../../events/json.ts';
import type { Emitted, StepContext, StepFactory } from '../step.ts';
import { deadlineIn, displayUrl, type HttpAnswer, HttpClient } from './client.ts';
import { statusError } from './failure.ts';

/**
 * Posts each event to a handler, as a CloudEvent in binary mode, and takes what it answers for what the step emits.
 * docs/guides/handlers.md says what a handler gets and what its answers mean.
 *
 * @throws LevadaError InvalidValue, when the URL is none
 */
export const httpStep: StepFactory<'http'> = ({ url: text, timeoutMs }, environment) => {
  const url = parseUrl(text);
  const name = displayUrl(url);
  const client = new HttpClient(timeoutMs);
  return {
    async run({ message }, context) {
      const answer = await client.call({
        method: 'POST',
        url: environment.resolve(url),
        name,
        headers: { ...toBinaryHeaders(message), ...deliveryHeaders(context) },
        body: message.data,
        deadline: deadlineIn(timeoutMs),
        signal: context.signal,
      });
      const failure = statusError(answer, name, Date.now());
      if (failure) throw failure;
      return replyEvents(answer, name, context.emits);
    },
    close: () => client.close(),
  };
};

/** @throws LevadaError InvalidValue */
export function parseUrl(text: string): URL {
  if (URL.canParse(text)) return new URL(text);
  throw new LevadaError('InvalidValue', { found: show(text), allowed: 'a URL' });
}

/** What a handler gets beside the event. */
function deliveryHeaders({ idempotencyKey, attempt, traceparent, tracestate }: StepContext): Record<string, string> {
  return {
    'idempotency-key': headerText(idempotencyKey),
    'x-levada-attempt': String(attempt),
    traceparent,
    ...(tracestate !== undefined && { tracestate }),
    accept: `application/json, ${eventType}, ${batchType}`,
    'accept-encoding': 'identity',
    'user-agent': 'levada',
  };
}

/** A key can be what an expression made of the data, any text: what a header cannot hold is percent-encoded. */
const headerText = (text: string): string =>
  text.toWellFormed().replace(/[^\x21-\x7e]/gu, (character) => encodeURIComponent(character));

function replyEvents(answer: HttpAnswer, url: string, emits: readonly string[]): Emitted[] {
  const { status, headers, body, framed } = answer;
  if (status === 204) return [];
  // `OK`, `{"status": "done"}`, a page: a step that emits nothing has no use for them, whatever they are.
  if (emits.length === 0 && replyMode(answer) === 'plain') return [];
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity' && body.length > 0) {
    const detail = `content-encoding is ${printable(String(encoding), 80)}; allowed: no compression`;
    throw new LevadaError('ReplyInvalid', { url, detail });
  }
  try {
    return parseReply(answer, url);
  } catch (error) {
    // Nothing said where the reply ends: the handler may have died halfway, and gets another attempt.
    const isCutOff = !framed && error instanceof Error && error.cause instanceof JsonProblem && error.cause.unfinished;
    if (!isCutOff) throw error;
    const detail = 'the reply has no Content-Length, and is not whole JSON';
    throw new LevadaError('HandlerClosed', { url, detail }, { cause: error });
  }
}
