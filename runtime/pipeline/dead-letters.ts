import { randomUUID } from 'node:crypto';
import { errorCodeOf } from '../../api/errors.ts';
import { compileExpression, type Expression } from '../../api/language/expression.ts';
import { attributesOf, type Message } from '../events/message.ts';
import { readEvent } from '../events/parse.ts';
import { parseTraceparent } from '../events/trace.ts';
import type { DeadLetterFate, Transport } from '../transports/transport.ts';

/** A dead letter as people and programs read it. */
export interface DeadLetter {
  readonly step: string;
  readonly id: string;
  readonly source: string;
  readonly type: string;
  /** Code of docs/reference/errors.md. */
  readonly reason: string;
  /** Of the attempt that was the last. */
  readonly attempt: number;
  readonly error: string;
  /** When the step gave up, RFC 3339. */
  readonly time: string;
  readonly traceId?: string;
  /** JSON; absent where the data is none. */
  readonly data?: unknown;
  /** Where the data is not JSON. */
  readonly dataBase64?: string;
}

/** Which dead letters are meant: all that are absent match. */
export interface DeadLetterFilter {
  readonly step?: string;
  /** Ids of events. */
  readonly ids?: readonly string[];
  readonly reason?: string;
  /** Of the event. */
  readonly type?: string;
  /** Expression on the data, with `$event`; what it fails for does not match. */
  readonly where?: string;
}

export interface ReplayOptions {
  /** At most so many, the oldest first within each step. */
  readonly most?: number;
  /** Step that gets them, instead of the one that gave them up. */
  readonly to?: string;
}

/** Where dead letters are. */
export type DeadLetterPlace = Pick<Transport, 'depths' | 'visitDead'>;

/** Lists at most `limit`, oldest first within each step. @throws LevadaError BrokerUnavailable */
export async function listDeadLetters(
  transport: DeadLetterPlace,
  pipeline: string,
  filter: DeadLetterFilter,
  limit: number,
  signal?: AbortSignal,
): Promise<DeadLetter[]> {
  const found: DeadLetter[] = [];
  const list: Act = (message, step) => {
    if (found.length >= limit) return 'stop';
    found.push(describe(message, step));
    return 'keep';
  };
  await visit(transport, pipeline, filter, list, signal);
  return found;
}

/** @returns how many match @throws LevadaError BrokerUnavailable, ExpressionInvalid */
export async function countDeadLetters(
  transport: DeadLetterPlace,
  pipeline: string,
  filter: DeadLetterFilter,
  signal?: AbortSignal,
): Promise<number> {
  let count = 0;
  const see: Act = () => {
    count++;
    return 'keep';
  };
  await visit(transport, pipeline, filter, see, signal);
  return count;
}

/**
 * Puts dead letters back into the queues of their steps, for a first attempt, with a fresh replay id: what has been done
 * with them before is no reason to skip them.
 *
 * @returns how many
 * @throws LevadaError BrokerUnavailable: those before it are replayed, the rest are where they were
 */
export async function replayDeadLetters(
  transport: DeadLetterPlace,
  pipeline: string,
  filter: DeadLetterFilter,
  { most = Number.POSITIVE_INFINITY, to }: ReplayOptions = {},
  signal?: AbortSignal,
): Promise<number> {
  let count = 0;
  const replay: Act = (message) => {
    if (count >= most) return 'stop';
    count++;
    const { unidentified } = message.delivery;
    // What it is for good: without it the source would keep the id that was drawn, and not the one of its data.
    const delivery = { attempt: 1, replay: randomUUID(), ...(unidentified && { unidentified }) };
    const again = { ...message, delivery };
    return { replay: again, ...(to !== undefined && { to }) };
  };
  await visit(transport, pipeline, filter, replay, signal);
  return count;
}

/** @returns how many are gone @throws LevadaError BrokerUnavailable */
export async function dropDeadLetters(
  transport: DeadLetterPlace,
  pipeline: string,
  filter: DeadLetterFilter,
  signal?: AbortSignal,
): Promise<number> {
  let count = 0;
  const drop: Act = () => {
    count++;
    return 'drop';
  };
  await visit(transport, pipeline, filter, drop, signal);
  return count;
}

type Act = (message: Message, step: string) => DeadLetterFate;

/** Ends early when nobody waits for it any more: the rest stays where it is. */
async function visit(
  transport: DeadLetterPlace,
  pipeline: string,
  filter: DeadLetterFilter,
  act: Act,
  signal: AbortSignal | undefined,
): Promise<void> {
  const ids = filter.ids && new Set(filter.ids);
  const where = filter.where === undefined ? undefined : compileExpression(filter.where);
  const steps = Object.entries(await transport.depths(pipeline)).filter(
    ([step, { dead }]) => dead > 0 && (filter.step === undefined || filter.step === step),
  );
  for (const [step] of steps) {
    await transport.visitDead({ pipeline, queue: step }, async (message) => {
      if (signal?.aborted) return 'stop';
      const matches =
        (!ids || ids.has(message.id)) &&
        (filter.type === undefined || filter.type === message.type) &&
        (filter.reason === undefined || filter.reason === message.delivery.dead?.reason) &&
        (!where || (await holds(where, message)));
      return matches ? act(message, step) : 'keep';
    });
  }
}

/** Data that is no JSON, or another than the expression expects, is no match. */
async function holds(where: Expression, message: Message): Promise<boolean> {
  try {
    const { data } = readEvent(message);
    return (await where.evaluate(data, { event: attributesOf(message) })) === true;
  } catch (error) {
    if (!errorCodeOf(error)) throw error;
    return false;
  }
}

function describe({ id, source, type, extensions, data, delivery }: Message, step: string): DeadLetter {
  const { reason = 'InternalError', attempt = 0, error = '', time = '' } = delivery.dead ?? {};
  const traceId = parseTraceparent(extensions['traceparent'])?.traceId;
  return { step, id, source, type, reason, attempt, error, time, ...(traceId && { traceId }), ...dataOf(data) };
}

function dataOf(bytes: Uint8Array): Pick<DeadLetter, 'data' | 'dataBase64'> {
  if (bytes.length === 0) return {};
  try {
    return { data: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown };
  } catch {
    return { dataBase64: Buffer.from(bytes).toString('base64') };
  }
}
