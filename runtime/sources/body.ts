import type { IncomingMessage } from 'node:http';
import { LevadaError } from '../../api/errors.ts';
import { batchType, eventType } from '../events/cloudevents.ts';
import { isJsonType, printable } from '../events/json.ts';

/** Counts what requests hold in memory, from their first byte until they are answered. */
export class ByteBudget {
  readonly limit: number;
  #used = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  /** @throws LevadaError MemoryBudget: nothing is taken */
  take(bytes: number): void {
    if (this.#used + bytes > this.limit) {
      throw new LevadaError('MemoryBudget', { found: this.#used + bytes, limit: this.limit });
    }
    this.#used += bytes;
  }

  give(bytes: number): void {
    this.#used -= bytes;
  }
}

/** What a request takes beside its body, about. */
const requestBytes = 4_096;

/** A body in memory; whoever is done with it gives `held` back to the budget. */
export interface Body {
  readonly bytes: Buffer;
  readonly held: number;
}

/** The client has gone before its body was complete: there is nobody to answer. */
export class ClientGone extends Error {}

/**
 * Reads the body of a request, `limit` bytes at most. `done` is called once.
 *
 * @param done with LevadaError BodyTooLarge, MemoryBudget; or ClientGone; or the body
 */
export function readBody(
  req: IncomingMessage,
  limit: number,
  budget: ByteBudget,
  done: (error: Error | null, body?: Body) => void,
): void {
  const chunks: Buffer[] = [];
  let size = 0;
  let held = 0;
  let ended = false;
  const finish = (error: Error | null) => {
    if (ended) return;
    ended = true;
    if (error === null) return done(null, { bytes: Buffer.concat(chunks, size), held });
    budget.give(held);
    chunks.length = 0; // the listener stays, and with it whatever it refers to
    done(error);
  };
  const hold = (bytes: number) => {
    budget.take(bytes);
    held += bytes;
  };
  const attempt = (work: () => void) => {
    try {
      work();
    } catch (error) {
      finish(error as Error);
    }
  };
  attempt(() => hold(requestBytes));
  req.on('data', (chunk: Buffer) => {
    if (ended) return;
    size += chunk.length;
    if (size > limit) return finish(new LevadaError('BodyTooLarge', { found: `more than ${limit}`, limit }));
    attempt(() => {
      hold(chunk.length);
      chunks.push(chunk);
    });
  });
  req.on('end', () => finish(null));
  req.on('error', () => finish(new ClientGone()));
  req.on('close', () => finish(new ClientGone()));
}

/**
 * What the headers alone tell.
 *
 * @throws LevadaError UnsupportedMediaType, BodyTooLarge
 */
export function checkBodyHeaders({ headers }: IncomingMessage, limit: number): void {
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    throw new LevadaError('UnsupportedMediaType', {
      found: `content-encoding ${printable(encoding, 80)}`,
      allowed: 'no compression',
    });
  }
  const type = headers['content-type'];
  if (type !== undefined && !isOneJson(type)) {
    throw new LevadaError('UnsupportedMediaType', {
      found: `content-type ${printable(type, 80)}`,
      allowed: `application/json, …+json, ${eventType}, in UTF-8`,
    });
  }
  const length = Number(headers['content-length'] ?? 0);
  if (length > limit) throw new LevadaError('BodyTooLarge', { found: length, limit });
}

/** One event is one answer, so that there are no batches here. */
function isOneJson(type: string): boolean {
  if (type === 'application/json') return true;
  if (!isJsonType(type)) return false;
  const charset = /;\s*charset\s*=\s*"?([^\s;"]*)/i.exec(type)?.[1]?.toLowerCase();
  return (charset === undefined || charset === 'utf-8' || charset === 'utf8') && !isMediaType(type, batchType);
}

/** @param expected in lower case */
export const isMediaType = (header: string | undefined, expected: string): boolean =>
  header?.split(';', 1)[0]?.trim().toLowerCase() === expected;
