import { STATUS_CODES } from 'node:http';
import { AddressRefused } from '../../net/address.ts';

/** What became of one URL, which is written as it was given. */
export type Result =
  | { readonly url: string; readonly status: number; readonly data: unknown }
  | { readonly url: string; readonly status: 'error' | 'timeout'; readonly error: string };

/** What became of one request. */
export type Outcome =
  | { readonly kind: 'data'; readonly status: number; readonly data: unknown }
  | { readonly kind: 'redirect'; readonly location: string }
  | Failure;

export interface Failure {
  readonly kind: 'failure';
  readonly error: string;
  /** Whether another attempt may do better. */
  readonly mayPass: boolean;
  /** What the server asked for. */
  readonly retryAfterMs?: number;
  /** The connection had been used before and broke before any answer: the server had closed it already. */
  readonly isStale?: boolean;
}

export const failure = (error: string): Failure => ({ kind: 'failure', error, mayPass: false });

/** Statuses of requests that may succeed later. */
export const mayPass = (status: number): boolean =>
  status === 408 || status === 425 || status === 429 || (status >= 500 && status < 600);

export const statusText = (status: number): string => `HTTP ${status} ${STATUS_CODES[status] ?? ''}`.trimEnd();

const texts: Readonly<Record<string, string>> = {
  ENOTFOUND: 'the host does not resolve',
  EAI_AGAIN: 'the host does not resolve: the name server does not answer',
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'the connection was reset',
  EPIPE: 'the connection was closed',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'the network cannot be reached',
  ETIMEDOUT: 'the connection timed out',
  UND_ERR_SOCKET: 'the connection was closed before the answer was complete',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the connection was closed before the answer was complete',
  UND_ERR_HEADERS_OVERFLOW: 'the headers of the answer are too large',
  UND_ERR_INVALID_ARG: 'the request cannot be made',
};

/** Neither another address nor another moment makes them right. */
const lasting = /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_|ERR_SSL_|UND_ERR_INVALID|UND_ERR_HEADERS)/;

/**
 * What an error of a connection means. The texts are our own: those of sockets hold addresses, which are nobody's
 * business downstream.
 */
export function connectionFailure(error: unknown): Failure {
  if (error instanceof AddressRefused) return failure(error.message);
  // undici gives most of these no code.
  if ((error as Error).name === 'HTTPParserError') {
    return { ...failure('the answer is not HTTP, or is cut off'), mayPass: true };
  }
  const code = codeOf(error);
  const mayPass = !lasting.test(code);
  const text = texts[code] ?? (mayPass ? 'the connection failed' : 'TLS failed');
  return { ...failure(code === '' ? text : `${text} (${code})`), mayPass };
}

/** Of several attempts to connect, the first one's. */
function codeOf(error: unknown): string {
  const { code, errors } = error as { code?: unknown; errors?: unknown };
  if (Array.isArray(errors) && errors.length > 0) return codeOf(errors[0]);
  return typeof code === 'string' ? code : '';
}
