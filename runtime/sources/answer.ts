import type { IncomingMessage } from 'node:http';
import type { FastifyReply } from 'fastify';
import { type ErrorCode, errorCodeOf, errors, LevadaError } from '../../api/errors.ts';

export interface Answer {
  readonly status: number;
  /** JSON; empty: none. */
  readonly body: string;
  /** Beside those that every answer has. */
  readonly headers: Readonly<Record<string, string>>;
  readonly code?: ErrorCode;
}

/** An error whose answer has more than its code says: another status, or headers. */
export class Refusal extends Error {
  readonly error: LevadaError;
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, string>>;
  constructor(error: LevadaError, { status, headers = {} }: Partial<Pick<Answer, 'status' | 'headers'>>) {
    super(error.message);
    this.error = error;
    this.status = status;
    this.headers = headers;
  }
}

/** Statuses that say when to come again. */
const passing: ReadonlySet<number> = new Set([409, 429, 503]);
const retryAfterMs = 1_000;

/** Whether the error is Levada's to explain, and not the client's or the broker's. */
export function isUnexpected(thrown: unknown): boolean {
  if (thrown instanceof Refusal) return false;
  const code = errorCodeOf(thrown);
  return code === undefined || code === 'InternalError' || errors[code].http === undefined;
}

/** The answer to a request that was not taken. What is unexpected is told in the log only. */
export function errorAnswer(thrown: unknown): Answer {
  if (isUnexpected(thrown)) {
    return errorAnswer(new Refusal(new LevadaError('InternalError', { detail: 'the log has more' }), {}));
  }
  const { error, status, headers } =
    thrown instanceof Refusal ? thrown : { error: thrown as LevadaError, status: undefined, headers: {} };
  const { code, message, params } = error;
  const { field, retryAfterMs: asked } = params;
  const found = status ?? errors[code].http ?? 500;
  const wait = typeof asked === 'number' ? asked : retryAfterMs;
  return {
    status: found,
    body: JSON.stringify({ error: { code, message, ...(field !== undefined && { field }) } }),
    headers: { ...headers, ...(passing.has(found) && { 'retry-after': String(Math.ceil(wait / 1_000)) }) },
    code,
  };
}

/** @param close whether the connection ends with this answer */
export function send(reply: FastifyReply, answer: Answer, close: boolean): void {
  if (reply.sent) return;
  if (reply.raw.destroyed) {
    reply.hijack(); // nobody is there any more
    return;
  }
  if (bodyIsUnread(reply.request.raw)) {
    sendEarly(reply, answer);
    return;
  }
  void reply.code(answer.status).headers(headersOf(answer, close));
  // Bytes, because Fastify gives text a charset, which JSON does not have.
  void reply.send(answer.body === '' ? undefined : Buffer.from(answer.body));
}

function headersOf(answer: Answer, close: boolean): Record<string, string> {
  const headers: Record<string, string> = { ...answer.headers };
  if (answer.body !== '') headers['content-type'] = 'application/json';
  if (answer.code) headers['x-levada-error'] = answer.code;
  if (close) headers['connection'] = 'close';
  return headers;
}

const bodyIsUnread = ({ complete, headers }: IncomingMessage): boolean =>
  !complete && (headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0');

/** Milliseconds for the rest of a body whose answer is there already. */
const lingerMs = 2_000;

/**
 * Answers before the body has come to its end; the connection ends with it. The rest is read and thrown away for a
 * while, because closing a socket that holds unread bytes resets it, and the client would never see the answer.
 */
function sendEarly(reply: FastifyReply, answer: Answer): void {
  const { raw: res, request } = reply;
  reply.hijack();
  res.writeHead(answer.status, {
    ...headersOf(answer, true),
    'content-length': Buffer.byteLength(answer.body),
  });
  res.write(answer.body);
  const end = () => {
    clearTimeout(timer);
    res.end();
  };
  const timer = setTimeout(end, lingerMs);
  request.raw.once('end', end).once('close', end).resume();
}
