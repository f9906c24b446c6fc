import { randomUUID } from 'node:crypto';
import type { ConsumeMessage, GetMessage, MessageProperties, Options } from 'amqplib';
import { errorMessage, errors } from '../../../api/errors.ts';
import { type Attributes, readAttributes } from '../../events/attributes.ts';
import { parseReply } from '../../events/cloudevents.ts';
import type { DeathCertificate, Message } from '../../events/message.ts';

/**
 * CloudEvents in AMQP 0-9-1. The CloudEvents binding is for AMQP 1.0, whose application properties are headers here:
 * `cloudEvents:NAME` for each attribute, the data is the body, `datacontenttype` is the property content-type.
 */
const eventPrefix = 'cloudEvents:';
/** What Azure and others write instead: a colon is no part of a name in JMS. */
const otherPrefix = 'cloudEvents_';
const own = {
  attempt: 'levada-attempt',
  replay: 'levada-replay',
  dead: 'levada-dead',
  delayLeft: 'levada-delay-left',
  unidentified: 'levada-unidentified',
} as const;
const core = ['id', 'source', 'type', 'subject', 'time', 'dataschema'] as const;
/** Bytes of a short string of AMQP. */
const shortText = 255;
/**
 * Bytes of the attributes of an event as headers. The client has a buffer of 64 KiB for all headers of a message, and the
 * broker a frame of 128 KiB: the rest is for a death certificate, and for what the broker adds.
 */
export const maxAttributeBytes = 48 * 1_024;
/** Bytes of a death certificate. */
const maxCertificateBytes = 8 * 1_024;
/** Characters of a `traceparent` or `tracestate`, as W3C has it. */
const longestTrace = 512;

export interface Encoded {
  readonly content: Buffer;
  readonly options: Options.Publish & { headers: Record<string, unknown> };
}

/** A message as Levada's queues hold it. `delayLeftMs`: what is to be waited beyond the longest rung. */
export function encode(message: Message, delayLeftMs = 0): Encoded {
  const { delivery } = message;
  const headers: Record<string, unknown> = eventHeaders(message);
  if (delivery.attempt !== 1) headers[own.attempt] = delivery.attempt;
  if (delivery.replay !== undefined) headers[own.replay] = delivery.replay;
  if (delivery.unidentified) headers[own.unidentified] = true;
  if (delayLeftMs > 0) headers[own.delayLeft] = delayLeftMs;
  if (delivery.dead) headers[own.dead] = certificateOf(delivery.dead);
  return { content: bytesOf(message), options: { ...properties(message), headers } };
}

/** As JSON, with an error that is cut until it fits: escaped, a character takes up to six bytes. */
function certificateOf(dead: DeathCertificate): string {
  const written = (characters: number) => JSON.stringify({ ...dead, error: dead.error.slice(0, characters) });
  for (let characters = maxCertificateBytes; ; characters = Math.floor(characters / 2)) {
    const text = written(characters);
    if (characters === 0 || Buffer.byteLength(text) <= maxCertificateBytes) return text;
  }
}

/** A message as others read it. */
export function encodeForeign(message: Message, format: 'json' | 'cloudevents'): Encoded {
  const headers = format === 'cloudevents' ? eventHeaders(message) : traceHeaders(message);
  return { content: bytesOf(message), options: { ...properties(message), headers } };
}

function eventHeaders({ id, source, type, subject, time, dataschema, extensions }: Message): Record<string, unknown> {
  const headers: Record<string, unknown> = {
    'cloudEvents:specversion': '1.0',
    'cloudEvents:id': id,
    'cloudEvents:source': source,
    'cloudEvents:type': type,
  };
  if (subject !== undefined) headers['cloudEvents:subject'] = subject;
  if (time !== undefined) headers['cloudEvents:time'] = time;
  if (dataschema !== undefined) headers['cloudEvents:dataschema'] = dataschema;
  for (const name in extensions) headers[eventPrefix + name] = extensions[name];
  return headers;
}

/** Where the reader of plain data looks for them: W3C's names. */
function traceHeaders({ extensions: { traceparent, tracestate } }: Message): Record<string, unknown> {
  return { ...(traceparent !== undefined && { traceparent }), ...(tracestate !== undefined && { tracestate }) };
}

function properties({ id, datacontenttype }: Message): Options.Publish {
  return {
    persistent: true,
    ...(Buffer.byteLength(id) <= shortText && { messageId: id }),
    ...(datacontenttype !== undefined &&
      Buffer.byteLength(datacontenttype) <= shortText && { contentType: datacontenttype }),
  };
}

/** What a header takes beside its name and its text: two lengths and a type. */
const headerBytes = 6;
/** Those that {@link encode} writes of its own, without a certificate. */
const ownHeaderBytes = 256;

/** What the attributes of an event take in headers and properties, at most. */
export function attributeBytes(event: Omit<Attributes, 'time'>): number {
  const { id, source, type, subject = '', dataschema = '', datacontenttype = '', extensions } = event;
  // The id is also the message's.
  let bytes = ownHeaderBytes + atMostBytes(id) * 2 + atMostBytes(source) + atMostBytes(type);
  bytes += atMostBytes(subject) + atMostBytes(dataschema) + atMostBytes(datacontenttype);
  for (const name in extensions) {
    bytes += headerBytes + eventPrefix.length + atMostBytes(name) + atMostBytes(extensions[name] ?? '');
  }
  return bytes;
}

/** Bytes are counted only where they matter: this runs for each message. */
const atMostBytes = (text: string): number => (text.length <= shortText ? text.length * 3 : Buffer.byteLength(text));

const bytesOf = ({ data }: Message): Buffer => Buffer.from(data.buffer, data.byteOffset, data.byteLength);

type Received = Pick<ConsumeMessage | GetMessage, 'content' | 'properties' | 'fields'>;

/** What a queue of Levada's holds. Never throws: what somebody else has put there is taken as {@link decodeForeign} does. */
export function decode(received: Received, queue: string): { message: Message; delayLeftMs: number } {
  const headers = headersOf(received.properties);
  const attributes = ownAttributes(headers);
  if (!attributes) return { message: decodeForeign(received, queue), delayLeftMs: 0 };
  const { contentType } = received.properties as { contentType?: unknown };
  const attempt = headers[own.attempt];
  const replay = headers[own.replay];
  const delayLeft = headers[own.delayLeft];
  const dead = certificate(headers[own.dead]);
  return {
    message: {
      ...attributes,
      ...(typeof contentType === 'string' && { datacontenttype: contentType }),
      data: received.content,
      delivery: {
        attempt: typeof attempt === 'number' && attempt >= 1 ? Math.floor(attempt) : 1,
        ...(typeof replay === 'string' && { replay }),
        ...(headers[own.unidentified] === true && { unidentified: true as const }),
        ...(dead && { dead }),
      },
    },
    delayLeftMs: typeof delayLeft === 'number' && delayLeft > 0 ? delayLeft : 0,
  };
}

const extensionName = /^[a-z0-9]+$/;

/** The attributes that {@link encode} has written; `undefined`: it was somebody else. */
function ownAttributes(headers: Record<string, unknown>): Attributes | undefined {
  if (headers['cloudEvents:specversion'] !== '1.0') return undefined;
  const found: Partial<Record<(typeof core)[number], string>> = {};
  const extensions: Record<string, string> = {};
  let room = maxAttributeBytes;
  for (const name in headers) {
    if (!name.startsWith(eventPrefix) || name === 'cloudEvents:specversion') continue;
    const value = headers[name];
    if (typeof value !== 'string') return undefined;
    const attribute = name.slice(eventPrefix.length);
    // With more of them it could not even become a dead letter: it is data.
    room -= headerBytes + name.length + atMostBytes(value);
    if (room < 0) return undefined;
    if ((core as readonly string[]).includes(attribute)) found[attribute as (typeof core)[number]] = value;
    else if (extensionName.test(attribute)) extensions[attribute] = value;
    else return undefined;
  }
  const { id, source, type, ...rest } = found;
  if (!id || !source || !type) return undefined;
  return { id, source, type, ...rest, extensions };
}

/**
 * A message of somebody else: a CloudEvent in binary or structured mode, or plain data. Nothing that it says of attempts
 * is believed. What is neither keeps its bytes, and is found invalid where its data is read.
 */
export function decodeForeign(received: Received, queue: string): Message {
  const event = binaryEvent(received) ?? structuredEvent(received);
  // With longer attributes it could not even become a dead letter: it is data.
  if (event && attributeBytes(event) <= maxAttributeBytes) return event;
  const { messageId, timestamp, type } = received.properties as MessageProperties & { messageId?: unknown };
  const headers = headersOf(received.properties);
  const hasId = typeof messageId === 'string' && messageId !== '';
  const extensions: Record<string, string> = {};
  for (const name of ['traceparent', 'tracestate'] as const) {
    const value = headers[name];
    if (typeof value === 'string' && value.length <= longestTrace) extensions[name] = value;
  }
  return {
    id: hasId ? messageId : randomUUID(),
    source: `/amqp/${encodeURIComponent(queue)}`,
    type: typeof type === 'string' && type !== '' ? type : queue,
    ...(typeof timestamp === 'number' && isDate(timestamp) && { time: new Date(timestamp * 1_000).toISOString() }),
    extensions,
    data: received.content,
    delivery: hasId ? { attempt: 1 } : { attempt: 1, unidentified: true },
  };
}

/** Seconds of a year that ISO 8601 writes with four digits. */
const isDate = (seconds: number): boolean => seconds > 0 && seconds < 253_402_300_800;

function binaryEvent({ content, properties: found }: Received): Message | undefined {
  const headers = headersOf(found);
  // Most messages of others carry no header at all.
  if (Object.keys(headers).length === 0) return undefined;
  const values = new Map<string, string>();
  for (const [name, value] of Object.entries(headers)) {
    const prefix = [eventPrefix, otherPrefix].find((one) => name.startsWith(one));
    if (prefix === undefined || value === null) continue;
    const text = textOf(value);
    // A table or an array is no attribute: the message is data.
    if (text === undefined) return undefined;
    values.set(name.slice(prefix.length).toLowerCase(), text);
  }
  if (!values.has('specversion')) return undefined;
  try {
    const { datacontenttype, ...attributes } = readAttributes(values, eventPrefix);
    const { contentType } = found as { contentType?: unknown };
    const type = typeof contentType === 'string' ? contentType : datacontenttype;
    return {
      ...attributes,
      ...(type !== undefined && { datacontenttype: type }),
      data: content,
      delivery: { attempt: 1 },
    };
  } catch {
    return undefined; // an event that breaks the rules is data
  }
}

/** What an attribute of CloudEvents can be. */
function textOf(value: unknown): string | undefined {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return String(value);
  // As the client reads AMQP's own type: seconds since 1970.
  const { '!': type, value: seconds } = (value ?? {}) as Record<string, unknown>;
  const isTime = type === 'timestamp' && typeof seconds === 'number' && isDate(seconds);
  return isTime ? new Date(seconds * 1_000).toISOString() : undefined;
}

function structuredEvent({ content, properties: { contentType } }: Received): Message | undefined {
  if (typeof contentType !== 'string' || !contentType.startsWith('application/cloudevents+json')) return undefined;
  try {
    const [event] = parseReply({ headers: { 'content-type': contentType }, body: content }, 'amqp');
    if (!event?.id || !event.source || !event.type) return undefined;
    const { data, extensions = {}, id, source, type, ...attributes } = event;
    return {
      ...attributes,
      id,
      source,
      type,
      extensions,
      datacontenttype: 'application/json',
      data: Buffer.from(JSON.stringify(data ?? null)),
      delivery: { attempt: 1 },
    };
  } catch {
    // The content type stays, so that who reads the data sees why it is none.
    return undefined;
  }
}

const headersOf = ({ headers }: { headers?: unknown }): Record<string, unknown> =>
  typeof headers === 'object' && headers !== null ? (headers as Record<string, unknown>) : {};

function certificate(value: unknown): DeathCertificate | undefined {
  if (typeof value !== 'string') return undefined;
  try {
    const found = JSON.parse(value) as DeathCertificate;
    const { reason, step, attempt, error, time } = found;
    const isWhole = [reason, step, error, time].every((part) => typeof part === 'string') && Number.isInteger(attempt);
    return isWhole && Object.hasOwn(errors, reason) ? found : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A dead letter. One without a certificate was given up by the broker: it had been delivered as often as the queue allows.
 *
 * @param step whose it is
 */
export function decodeDead(received: Received, step: string): Message {
  const { message } = decode(received, step);
  if (message.delivery.dead) return message;
  const headers = headersOf(received.properties);
  const [death] = Array.isArray(headers['x-death']) ? (headers['x-death'] as Array<Record<string, unknown>>) : [];
  const at = (death?.['time'] as { value?: unknown } | undefined)?.value;
  const found = headers['x-delivery-count'];
  const count = typeof found === 'number' ? `${found} times` : 'as often as its queue allows';
  const dead: DeathCertificate = {
    reason: 'DeliveryLimitReached',
    step,
    attempt: message.delivery.attempt,
    error: errorMessage('DeliveryLimitReached', { found: count }),
    time: typeof at === 'number' && isDate(at) ? new Date(at * 1_000).toISOString() : '',
  };
  return { ...message, delivery: { ...message.delivery, dead } };
}
