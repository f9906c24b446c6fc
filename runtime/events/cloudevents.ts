/** CloudEvents 1.0 over HTTP (the HTTP protocol binding and the JSON event format, 1.0.2). */
import { LevadaError } from '../../api/errors.ts';
import { show } from '../../api/rules.ts';
import type { Emitted } from '../steps/step.ts';
import { type Attributes, EventProblem, readAttributes } from './attributes.ts';
import { isJsonType, JsonProblem, printable, readJson } from './json.ts';
import type { Message } from './message.ts';

/** Events in one reply. */
export const maxBatch = 1000;

export const eventType = 'application/cloudevents+json';
export const batchType = 'application/cloudevents-batch+json';

/** An HTTP answer with a body that has been read. Names of headers are in lower case; one that came twice is a list. */
export interface Reply {
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: Uint8Array;
}

/** How a reply holds its events. */
export type ReplyMode = 'empty' | 'binary' | 'structured' | 'batch' | 'plain';

/** Headers of a request in binary mode; the data is the body. */
export function toBinaryHeaders(message: Message): Record<string, string> {
  const { id, source, type, subject, time, dataschema, extensions, datacontenttype } = message;
  const attributes = { ...extensions, specversion: '1.0', id, source, type, subject, time, dataschema };
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) headers[`ce-${name}`] = encodeHeader(value);
  }
  headers['content-type'] = datacontenttype ?? 'application/json';
  return headers;
}

/** Space, `"`, `%` and all that is not printable ASCII are percent-encoded, as UTF-8 (HTTP binding, 3.1.3.2). */
export const encodeHeader = (value: string): string =>
  value.toWellFormed().replace(/[^\x21\x23\x24\x26-\x7e]/gu, (character) => encodeURIComponent(character));

/** @throws EventProblem */
function decodeHeader(name: string, value: string | readonly string[]): string {
  if (typeof value !== 'string') throw new EventProblem(`${name} is there ${value.length} times`);
  if (/[^\x20-\x7e\t]/.test(value)) {
    throw new EventProblem(`${name} has other characters than printable ASCII; they are percent-encoded as UTF-8`);
  }
  const quoted = /^"((?:[^"\\]|\\.)*)"$/.exec(value)?.[1];
  const text = quoted === undefined ? value : quoted.replace(/\\(.)/g, '$1');
  try {
    return decodeURIComponent(text);
  } catch {
    throw new EventProblem(`${name} is ${JSON.stringify(text.slice(0, 80))}, which is not percent-encoded UTF-8`);
  }
}

export function replyMode({ headers, body }: Reply): ReplyMode {
  const type = mediaType(headers);
  // Structured mode first: senders of it may copy attributes into headers as well.
  if (body.length > 0 && type === batchType) return 'batch';
  if (body.length > 0 && type.startsWith('application/cloudevents')) return 'structured';
  if (Object.keys(headers).some((name) => name.startsWith('ce-'))) return 'binary';
  return body.length === 0 ? 'empty' : 'plain';
}

/**
 * The events that a reply holds, in their order. An event of a plain JSON reply has no type.
 *
 * @param url whose reply it is, for the message
 * @throws LevadaError ReplyInvalid, whose detail names what is wrong
 */
export function parseReply(reply: Reply, url: string): Emitted[] {
  try {
    return read(reply);
  } catch (error) {
    if (error instanceof EventProblem || error instanceof JsonProblem) {
      throw new LevadaError('ReplyInvalid', { url, detail: error.message }, { cause: error });
    }
    throw error;
  }
}

function read(reply: Reply): Emitted[] {
  const { headers, body } = reply;
  switch (replyMode(reply)) {
    case 'empty':
      return [];
    case 'binary':
      return [binaryEvent(headers, body)];
    case 'structured': {
      const type = mediaType(headers);
      if (type !== eventType) throw new EventProblem(`content-type is ${type}; allowed: ${eventType}, ${batchType}`);
      return [structuredEvent(readJson(body), 'the event')];
    }
    case 'batch': {
      const list = readJson(body);
      if (!Array.isArray(list)) throw new EventProblem(`a batch is a list of events; found ${show(list)}`);
      if (list.length > maxBatch) throw new EventProblem(`${list.length} events; at most ${maxBatch} in one reply`);
      return list.map((entry, index) => structuredEvent(entry, `event ${index} of the batch`));
    }
    case 'plain':
      return [{ data: jsonData(headers, body) }];
  }
}

function binaryEvent(headers: Reply['headers'], body: Uint8Array): Emitted {
  const values = new Map<string, string>();
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith('ce-') && value !== undefined) values.set(name.slice(3), decodeHeader(name, value));
  }
  if (values.has('datacontenttype')) throw new EventProblem('ce-datacontenttype: content-type says it');
  const attributes = readAttributes(values, 'ce-');
  return emitted(attributes, body.length === 0 ? null : jsonData(headers, body));
}

/** One event of the JSON format. `where` begins the message of an error. */
function structuredEvent(value: unknown, where: string): Emitted {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new EventProblem(`${where} is ${show(value)}; allowed: a JSON object`);
  }
  try {
    const { data, data_base64: base64, ...rest } = value as Record<string, unknown>;
    const values = new Map<string, string>();
    for (const [name, found] of Object.entries(rest)) {
      if (found !== null) values.set(name, attributeText(name, found));
    }
    const attributes = readAttributes(values, '');
    const { datacontenttype: type } = attributes;
    if (type !== undefined && !isJsonType(type)) {
      throw new EventProblem(`datacontenttype is ${JSON.stringify(type)}; allowed: application/json, …+json`);
    }
    if (base64 === undefined || base64 === null) return emitted(attributes, data ?? null);
    if (data !== undefined) throw new EventProblem('both data and data_base64 are there');
    return emitted(attributes, base64Data(base64));
  } catch (error) {
    if (!(error instanceof EventProblem)) throw error;
    throw new EventProblem(`${where}: ${error.message}`);
  }
}

/** Extensions may be booleans and integers; what the specification defines is text. */
function attributeText(name: string, value: unknown): string {
  if (typeof value === 'string') return value;
  const isExtension = !['specversion', 'id', 'source', 'type', 'subject', 'time'].includes(name);
  if (isExtension && (typeof value === 'boolean' || Number.isSafeInteger(value))) return String(value);
  throw new EventProblem(`${name} is ${show(value)}; allowed: text`);
}

function base64Data(value: unknown): unknown {
  const isBase64 =
    typeof value === 'string' &&
    value.length % 4 === 0 &&
    /^[A-Za-z0-9+/]*={0,2}$/.test(value) &&
    // Bits beyond the last byte are zero.
    Buffer.from(value, 'base64').toString('base64') === value;
  if (!isBase64) throw new EventProblem('data_base64 is not base64');
  try {
    return value === '' ? null : readJson(Buffer.from(value, 'base64'));
  } catch (error) {
    if (error instanceof JsonProblem) throw new EventProblem(`data_base64: ${error.message}`);
    throw error;
  }
}

function jsonData(headers: Reply['headers'], body: Uint8Array): unknown {
  const type = headers['content-type'];
  if (type !== undefined && !(typeof type === 'string' && isJsonType(type))) {
    const found = printable(String(type), 80);
    throw new EventProblem(`content-type is ${found}; allowed: application/json, …+json`);
  }
  return readJson(body);
}

function mediaType(headers: Reply['headers']): string {
  const type = headers['content-type'];
  return typeof type === 'string' ? (type.split(';', 1)[0] ?? '').trim().toLowerCase() : '';
}

/** The content type is left out: an event's data is JSON from here on. */
const emitted = ({ datacontenttype: _, ...attributes }: Attributes, data: unknown): Emitted => ({
  ...attributes,
  data,
});
