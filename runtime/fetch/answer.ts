import type { IncomingHttpHeaders } from 'node:http';
import { type ErrorCode, type ErrorParams, LevadaError } from '../../api/errors.ts';
import { retryAfter } from '../steps/http/failure.ts';
import type { Rest } from './request.ts';

/** An attempt has failed. */
export class FetchFailure extends LevadaError {
  /** Whether another attempt may end otherwise. */
  readonly mayPass: boolean;
  readonly retryAfterMs: number | undefined;
  constructor(code: ErrorCode, params: ErrorParams, mayPass = false, retryAfterMs?: number) {
    super(code, params);
    this.mayPass = mayPass;
    this.retryAfterMs = retryAfterMs;
  }
}

/** What the head of an answer says. */
export type Head =
  /** The file, from `from` on; where the server says so, with its size in all, and how it is to be asked for the rest. */
  | { readonly kind: 'body'; readonly from: number; readonly size?: number; readonly validator?: string }
  | { readonly kind: 'redirect'; readonly location: unknown }
  | { readonly kind: 'unchanged' }
  /** What there was of it is of no use. */
  | { readonly kind: 'again'; readonly detail: string }
  /** `body` may say more. */
  | { readonly kind: 'refused'; readonly status: number; readonly retryAfterMs?: number };

const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** @param asked what the request asked for, if not for all */
export function readHead(status: number, headers: IncomingHttpHeaders, asked: Rest | undefined, now: number): Head {
  if (redirects.has(status)) return { kind: 'redirect', location: headers.location };
  if (status === 304) return { kind: 'unchanged' };
  if (status === 416 && asked) return { kind: 'again', detail: 'the server has no more of it' };
  if (status === 200)
    return { kind: 'body', from: 0, ...sized(numberOf(headers['content-length'])), ...named(headers) };
  if (status === 206 && asked) return readPart(headers, asked);
  const retryAfterMs = retryAfter(headers['retry-after'], now);
  return { kind: 'refused', status, ...(retryAfterMs !== undefined && { retryAfterMs }) };
}

function readPart(headers: IncomingHttpHeaders, { from, validator }: Rest): Head {
  const [, first, size] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(String(headers['content-range'])) ?? [];
  if (Number(first) !== from) return { kind: 'again', detail: 'the server answers with another part of it' };
  const name = named(headers).validator;
  // Only a server that ignores If-Range gets here.
  if (name !== undefined && name !== validator) return { kind: 'again', detail: 'it has changed meanwhile' };
  return { kind: 'body', from, ...sized(numberOf(size)), validator };
}

/** By which a part can be told to be of the same file. A weak ETag cannot: RFC 9110, section 13.1.5. */
function named(headers: IncomingHttpHeaders): { validator?: string } {
  const { etag, 'last-modified': date } = headers;
  const validator = etag !== undefined && /^"[^"\r\n]*"$/.test(etag) ? etag : etag === undefined ? date : undefined;
  return validator === undefined ? {} : { validator };
}

const sized = (size: number | undefined): { size?: number } => (size === undefined ? {} : { size });

const numberOf = (text: string | undefined): number | undefined =>
  text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;

const passing: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);

/** @param s3Code the `Code` in the body of S3's errors */
export function refusal(
  uri: string,
  { status, retryAfterMs }: Head & { kind: 'refused' },
  s3Code?: string,
): FetchFailure {
  const detail = `the server answers ${status}${s3Code === undefined ? '' : ` (${s3Code})`}`;
  const params = { path: uri, detail };
  if (passing.has(status)) return new FetchFailure('ArtifactUnavailable', params, true, retryAfterMs);
  if (status === 401 || status === 403 || status === 407) return new FetchFailure('ArtifactDenied', params);
  if (status === 404 || status === 410) return new FetchFailure('ArtifactNotFound', params);
  return new FetchFailure('SourceInvalid', params);
}
