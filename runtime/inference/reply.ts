import type { IncomingMessage, ServerResponse } from 'node:http';
import { trialHeader } from '../../api/contract/routing-table.ts';
import { type ErrorCode, errorCodeOf, errors, LevadaError, messageOf } from '../../api/errors.ts';
import type { Protocol } from './metrics.ts';
import { PredictInvalid } from './protocol/simple.ts';

/** Seconds after which a refused caller may try again: a queue is empty again well within one. */
const retryAfterSeconds = 1;

export interface Reply {
  readonly status: number;
  readonly body: string;
  readonly code?: ErrorCode;
  /** The rollout that this answer is a trial of. */
  readonly trial?: string;
}

/** Turns whatever was thrown into an answer in the protocol's own form. */
export function errorReply(protocol: Protocol, thrown: unknown): Reply {
  if (thrown instanceof PredictInvalid) {
    return { status: 422, body: JSON.stringify({ detail: thrown.detail }), code: 'InvalidInput' };
  }
  const code = errorCodeOf(thrown) ?? 'InternalError';
  const definition = errors[code];
  const message =
    code === 'InternalError' ? new LevadaError(code, { detail: messageOf(thrown) }).message : messageOf(thrown);
  if (protocol === 'oip') return { status: definition.http ?? 500, body: JSON.stringify({ error: message }), code };
  if (code === 'InvalidJson') {
    const detail = [
      { type: 'json_invalid', loc: ['body', 0], msg: 'JSON decode error', input: {}, ctx: { error: message } },
    ];
    return { status: 422, body: JSON.stringify({ detail }), code };
  }
  return { status: definition.http ?? 500, body: JSON.stringify({ detail: message }), code };
}

/** @param close whether the connection ends with this answer */
export function send(res: ServerResponse, reply: Reply, version: string, close: boolean): void {
  if (res.headersSent || res.destroyed) return;
  writeHead(res, reply, version, close);
  res.end(reply.body);
}

/** Milliseconds for the rest of a body whose answer is there already. */
const lingerMs = 2_000;

/**
 * Answers before the body has come to its end; the connection ends with it. The rest is read and thrown away for a
 * while, because closing a socket that holds unread bytes resets it, and the client would never see the answer.
 */
export function sendEarly(req: IncomingMessage, res: ServerResponse, reply: Reply, version: string): void {
  if (res.headersSent || res.destroyed) return;
  writeHead(res, reply, version, true);
  res.write(reply.body);
  const end = () => {
    clearTimeout(timer);
    res.end();
  };
  const timer = setTimeout(end, lingerMs);
  req.once('end', end);
  req.once('close', end);
  req.resume();
}

function writeHead(res: ServerResponse, { status, body, code, trial }: Reply, version: string, close: boolean): void {
  const headers = [
    'content-type',
    'application/json',
    'content-length',
    String(Buffer.byteLength(body)),
    'x-levada-version',
    version,
  ];
  if (trial !== undefined) headers.push(trialHeader, trial);
  if (code) {
    headers.push('x-levada-error', code);
    if (errors[code].outcome === 'retry' && status !== 504) headers.push('retry-after', String(retryAfterSeconds));
  }
  if (close) headers.push('connection', 'close');
  res.writeHead(status, headers);
}
