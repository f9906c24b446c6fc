import { hash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { eventSource, type HttpSourceConfig } from '../../api/contract/pipeline.ts';
import { errorCodeOf, LevadaError } from '../../api/errors.ts';
import { compileSchema } from '../../api/language/event-schema.ts';
import { compileTemplate } from '../../api/language/template.ts';
import { show } from '../../api/rules.ts';
import { EventProblem } from '../events/attributes.ts';
import { encodeHeader, eventType, parseReply, replyMode } from '../events/cloudevents.ts';
import { JsonProblem, readJson } from '../events/json.ts';
import { attributesOf, type Message } from '../events/message.ts';
import { childSpan, parseTraceparent, type RandomBytes, type Trace } from '../events/trace.ts';
import type { Emitted } from '../steps/step.ts';
import { type Answer, Refusal } from './answer.ts';
import { isMediaType } from './body.ts';
import { jsonMistake } from './json-place.ts';

/** A request as far as an event is made of it. */
export interface IntakeRequest {
  readonly headers: IncomingHttpHeaders;
  /** Of the same request: each time that a header came. */
  readonly headersDistinct: NodeJS.Dict<string[]>;
  readonly body: Buffer;
}

/** An event that is ready to be published, and what the client is told once it has been. */
export interface Taken {
  readonly message: Message;
  readonly answer: Answer;
}

/** What a request says before expressions and schema come into play. */
export interface Draft {
  readonly data: unknown;
  readonly message: Message;
  /** Stands for all that makes two requests with one Idempotency-Key the same. */
  fingerprint(): string;
}

/** Makes events of requests, for one configuration. */
export interface Intake {
  /** @throws LevadaError InvalidJson, InvalidInput; Refusal */
  read(request: IntakeRequest): Draft;
  /** @throws LevadaError InvalidInput, EventBreaksSchema, ExpressionFailed, ExpressionLimit, ExpressionWrongType */
  take(draft: Draft): Promise<Taken>;
}

export interface IntakeOptions {
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly random: RandomBytes;
}

/** @throws LevadaError ExpressionInvalid, SchemaInvalid */
export function compileIntake(config: HttpSourceConfig, options: IntakeOptions): Intake {
  const apply = compileAssign(config.assign);
  const schema = config.emits.schema && compileSchema(config.emits.schema);
  const answer = compileAnswer(config.response);
  return {
    read: (request) => readDraft(request, config, options),
    async take(draft) {
      const event = attributesOf(draft.message);
      let { data, message } = draft;
      if (apply) {
        data = await apply(data, event);
        message = { ...message, data: Buffer.from(JSON.stringify(data)) };
      }
      const violation = schema?.check(data);
      if (violation) throw new LevadaError('EventBreaksSchema', { ...violation, field: violation.field || 'body' });
      // Before the event is published: an error that came after it would make the client send the event again.
      return { message, answer: await answer(message, data, event) };
    },
  };
}

type Assign = (data: unknown, event: Record<string, unknown>) => Promise<unknown>;

/** `undefined`: there is nothing to assign. */
function compileAssign(fields: HttpSourceConfig['assign']): Assign | undefined {
  const names = Object.keys(fields);
  if (names.length === 0) return undefined;
  const template = compileTemplate(fields);
  return async (data, event) => {
    if (typeof data !== 'object' || data === null || Array.isArray(data)) {
      throw new LevadaError('InvalidInput', { field: 'body', found: show(data), allowed: 'a JSON object' });
    }
    const values = (await template.render(data, { event })) as Record<string, unknown>;
    const assigned = new Map(Object.entries(data));
    for (const name of names) {
      // What gives nothing is removed: a client must not be able to fill in a field that is assigned.
      if (Object.hasOwn(values, name)) assigned.set(name, values[name]);
      else assigned.delete(name);
    }
    return Object.fromEntries(assigned);
  };
}

function compileAnswer({ status, body }: HttpSourceConfig['response']) {
  const template = body === undefined ? undefined : compileTemplate(body);
  const isEmpty = status === 204 || status === 205; // HTTP allows these no body
  return async (message: Message, data: unknown, event: Record<string, unknown>): Promise<Answer> => {
    const value = template && !isEmpty ? ((await template.render(data, { event })) ?? null) : { id: message.id };
    return {
      status,
      body: isEmpty ? '' : JSON.stringify(value),
      headers: { 'x-levada-event-id': encodeHeader(message.id) },
    };
  };
}

function readDraft(request: IntakeRequest, config: HttpSourceConfig, { now, random }: IntakeOptions): Draft {
  const { headers, body } = request;
  const sent = readCloudEvent(request);
  if (sent && sent.type !== config.emits.type) {
    const found = show(sent.type);
    const error = new LevadaError('InvalidInput', { field: 'type', found, allowed: config.emits.type });
    throw new Refusal(error, { status: 422 });
  }
  const { data, bytes } = sent ? dataOf(sent, request) : { data: readPlain(body), bytes: withoutMark(body) };
  const { type: _, data: __, ...own }: Partial<Emitted> = sent ?? {};
  const { id = uuid(random), source = eventSource(config.pipeline, config.name), extensions = {} } = own;
  const message: Message = {
    time: new Date(now()).toISOString(),
    ...own,
    id,
    source,
    type: config.emits.type,
    datacontenttype: 'application/json',
    extensions: { ...extensions, ...traceOf(extensions, headers, random) },
    data: bytes,
    delivery: { attempt: 1 },
  };
  const identity = sent ? JSON.stringify([source, id]) : '';
  return {
    data,
    message,
    fingerprint: () => `${hash('sha256', body, 'base64')} ${identity && hash('sha256', identity)}`,
  };
}

/** Bytes of the attributes at most: brokers bound what is not data, and answers carry the id in a header. */
const maxAttributes = 16_384;

/** The event that the request is; `undefined`: it is none, but data. */
function readCloudEvent({ headers, headersDistinct, body }: IntakeRequest): Emitted | undefined {
  const isStructured = isMediaType(headers['content-type'], eventType);
  if (!isStructured && replyMode({ headers, body }) !== 'binary') return undefined;
  const distinct = Object.entries(headersDistinct).map(([name, values]) => [
    name,
    values?.length === 1 ? values[0] : values,
  ]);
  try {
    const [event] =
      body.length === 0 && isStructured ? [] : parseReply({ headers: Object.fromEntries(distinct), body }, '');
    if (event?.type === undefined) throw new EventProblem('the body is empty');
    const { data: _, ...attributes } = event;
    const size = Buffer.byteLength(JSON.stringify(attributes));
    if (size > maxAttributes) throw new EventProblem(`its attributes have ${size} bytes; at most ${maxAttributes}`);
    return event;
  } catch (error) {
    const cause = errorCodeOf(error) === 'ReplyInvalid' ? (error as LevadaError).cause : error;
    if (cause instanceof JsonProblem) throw invalidJson(cause, body);
    if (!(cause instanceof EventProblem)) throw error;
    throw new LevadaError('InvalidInput', { field: 'event', found: cause.message, allowed: 'a CloudEvent 1.0' });
  }
}

/** Where the event stands in the headers, the body is its data as it is; numbers keep all their digits. */
function dataOf({ data }: Emitted, { headers, body }: IntakeRequest): { data: unknown; bytes: Buffer } {
  if (!isMediaType(headers['content-type'], eventType)) return { data, bytes: withoutMark(body) };
  return { data, bytes: Buffer.from(JSON.stringify(data)) };
}

function readPlain(body: Buffer): unknown {
  try {
    return readJson(body);
  } catch (error) {
    if (error instanceof JsonProblem) throw invalidJson(error, body);
    throw error;
  }
}

/** JSON has no byte order mark; those that come are skipped, here once and for all. */
const withoutMark = (body: Buffer): Buffer =>
  body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf ? body.subarray(3) : body;

function invalidJson({ message }: JsonProblem, body: Buffer): LevadaError {
  if (body.length === 0) return new LevadaError('InvalidJson', { detail: 'it is empty' });
  // Only syntax has a place; the rest says what it is.
  const isSyntax = message.startsWith('it is not JSON');
  return new LevadaError('InvalidJson', { detail: isSyntax ? jsonMistake(withoutMark(body).toString()) : message });
}

/** The event's own trace where it is one already, else the request's, else a new one. */
function traceOf(
  own: Readonly<Record<string, string>>,
  headers: IncomingHttpHeaders,
  random: RandomBytes,
): Partial<Trace> {
  if (parseTraceparent(own['traceparent'])) return {};
  const { traceparent, tracestate } = headers;
  const sent = { traceparent: single(traceparent), tracestate: single(tracestate) };
  const parent = parseTraceparent(sent.traceparent);
  const span = childSpan(sent, random);
  if (!parent) return span;
  // The client's span is the event's parent: nothing here reports a span of its own.
  return { ...span, traceparent: `00-${parent.traceId}-${parent.parentId}-${parent.sampled ? '01' : '00'}` };
}

const single = (header: string | string[] | undefined): string | undefined =>
  Array.isArray(header) ? header.join(',') : header;

/** Version 4. */
function uuid(random: RandomBytes): string {
  const bytes = Buffer.from(random(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
