/** What a call that went wrong, or an answer that is not 2xx, means for the message. */
import { LevadaError, messageOf } from '../../../api/errors.ts';
import { longestDelayMs } from '../../delivery/outcome.ts';
import { isJsonType, printable } from '../../events/json.ts';
import type { HttpAnswer } from './client.ts';

export interface CallState {
  /** What errors call it. */
  readonly name: string;
  readonly host: string;
  readonly timeoutMs: number;
  /** `connecting`: nothing was sent. `sent`: something may have been. `answered`: the head of the answer is there. */
  readonly progress: 'connecting' | 'sent' | 'answered';
}

/** What an error of undici or of Node's sockets means. */
export function transportError(error: unknown, { name: url, host, timeoutMs, progress }: CallState): LevadaError {
  const code = String((error as { code?: unknown } | null)?.code ?? '');
  const detail = causeOf(error);
  const make = (kind: ConstructorParameters<typeof LevadaError>[0], params = {}) =>
    new LevadaError(kind, { url, detail, ...params }, { cause: error });
  if (code === 'ENOTFOUND') return make('HostUnknown', { found: host });
  if (code === 'UND_ERR_CONNECT_TIMEOUT') return make('HandlerTimeout', { found: timeoutMs });
  if (code === 'UND_ERR_INVALID_ARG') return make('MessageInvalid', { detail: `it cannot be sent: ${detail}` });
  if (progress === 'connecting') return make('HandlerUnavailable');
  // undici's parser gives no codes, but the reason. It also says "mismatch" of a head that it cannot read.
  const isParser = error instanceof Error && error.name === 'HTTPParserError';
  const isMismatch = code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH';
  const isCutOff = isParser ? detail.includes('Invalid EOF state') : isMismatch && progress === 'answered';
  if (isCutOff) return make('HandlerClosed');
  if (isParser || isMismatch || code === 'UND_ERR_HEADERS_OVERFLOW') return make('ReplyInvalid');
  if (code === 'UND_ERR_SOCKET' && /^bad (response|upgrade)$/.test(messageOf(error))) {
    return make('ReplyInvalid', { detail: 'an answer 100 or 101 that nobody asked for' });
  }
  return make('HandlerClosed');
}

/** Where several addresses were tried, what each of them said. */
function causeOf(error: unknown): string {
  const text =
    error instanceof AggregateError && error.message === ''
      ? error.errors.map((each) => messageOf(each)).join(', ')
      : messageOf(error);
  return printable(text, 200);
}

/**
 * The error that an answer stands for; `undefined`: it is a 2xx.
 *
 * @param now milliseconds since 1970, for a Retry-After that is a date
 */
export function statusError(
  answer: HttpAnswer,
  url: string,
  now: number,
  reason = errorDetail(answer),
): LevadaError | undefined {
  const { status } = answer;
  if (status >= 200 && status < 300) return undefined;
  const detail = status < 400 ? 'redirects are not followed' : reason;
  const retryAfterMs = retryAfter(answer.headers['retry-after'], now);
  const params = { status, detail, ...(retryAfterMs !== undefined && { retryAfterMs }) };
  if (status === 408 || status === 425 || status === 429) return new LevadaError('HandlerBusy', params);
  if (status >= 502 && status <= 504) {
    return new LevadaError('HandlerUnavailable', { ...params, url, detail: `it answered ${status}: ${detail}` });
  }
  return new LevadaError(status >= 500 ? 'HandlerFailed' : 'HandlerRejected', params);
}

/** The beginning of an error's body, on one line. */
export function errorDetail({ headers, body }: Pick<HttpAnswer, 'headers' | 'body'>): string {
  const type = headers['content-type'] ?? 'text/plain';
  if (body.length === 0) return 'no body';
  if (headers['content-encoding'] !== undefined || typeof type !== 'string' || !isText(type)) {
    return `a body that is not text (${printable(String(type), 80)})`;
  }
  return printable(Buffer.from(body).toString('utf8', 0, 2048), 200) || 'a blank body';
}

const isText = (type: string): boolean => isJsonType(type) || /^(text\/|application\/xml\b)/i.test(type);

/** Milliseconds that a Retry-After asks for, in seconds or as a date, a day at most; `undefined`: it is not there, or neither. */
export function retryAfter(value: string | readonly string[] | undefined, now: number): number | undefined {
  if (typeof value !== 'string') return undefined;
  const text = value.trim();
  let ms = Number.NaN;
  if (/^\d+$/.test(text)) ms = Number(text) * 1000;
  // The three forms of HTTP dates begin with a day of the week; all are GMT, though one does not say so.
  else if (/^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(text)) ms = Date.parse(/GMT$/.test(text) ? text : `${text} GMT`) - now;
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), longestDelayMs);
}
