import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import { isJsonType, JsonProblem, printable, readJson } from '../../events/json.ts';
import type { Connection } from '../../net/connections.ts';
import { retryAfter } from '../http/failure.ts';
import { connectionFailure, type Failure, failure, mayPass, type Outcome, statusText } from './result.ts';

/** Who wants to know how a request ended. */
export interface ExchangeOwner {
  readonly maxBytes: number;
  /** Counts bytes of an answer that are kept (or, negative, no longer). @returns whether there is room for them */
  reserve(bytes: number): boolean;
  /** Called once, when the connection is somebody else's or gone. */
  ended(outcome: Outcome): void;
}

/** A body that nobody reads is let pass, up to here, so that its connection can be kept. */
const maxDropped = 64 * 1024;
const maxDropMs = 100;

/** One GET request and its answer, as undici reports them. */
export class Exchange implements Dispatcher.DispatchHandler {
  readonly #connection: Connection;
  #owner: ExchangeOwner | undefined;
  readonly #maxBytes: number;
  #isOver = false;
  #status = 0;
  #type = '';
  #size = 0;
  #chunks: Buffer[] = [];
  /** May be known before the answer has come to its end. */
  #outcome: Outcome | undefined;
  #dropTimer: NodeJS.Timeout | undefined;

  constructor(owner: ExchangeOwner, connection: Connection) {
    this.#owner = owner;
    this.#maxBytes = owner.maxBytes;
    this.#connection = connection;
  }

  start(path: string, headers: string[]): void {
    this.#connection.get(path, headers, this);
  }

  /** Gives the request up, and its connection. @returns the outcome, where it is known already */
  abandon(): Outcome | undefined {
    const outcome = this.#owner && this.#outcome;
    this.#isOver = true;
    this.#owner = undefined;
    clearTimeout(this.#dropTimer);
    this.#connection.discard();
    return outcome;
  }

  /** undici insists on it; requests are ended through their connection. */
  onRequestStart(): void {}

  onResponseStart(_: unknown, status: number, headers: IncomingHttpHeaders): void {
    // 103 and the like announce another answer.
    if (this.#isOver || status < 200) return;
    this.#status = status;
    this.#type = String(headers['content-type']);
    this.#outcome = headOutcome(status, headers, this.#maxBytes);
    if (!this.#outcome) return;
    if (Number(headers['content-length'] ?? 0) > maxDropped) this.#end(false);
    else this.#dropTimer = setTimeout(() => this.#end(false), maxDropMs);
  }

  onResponseData(_: unknown, chunk: Buffer): void {
    if (this.#isOver || this.#status === 0) return;
    this.#size += chunk.length;
    if (this.#outcome) {
      if (this.#size > maxDropped) this.#end(false);
    } else if (this.#size > this.#maxBytes) this.#giveUp(tooLarge(this.#maxBytes));
    else if (!this.#owner?.reserve(chunk.length))
      this.#giveUp(failure('the answers to this event are too large in all'));
    else this.#chunks.push(chunk);
  }

  onResponseEnd(): void {
    if (this.#isOver) return;
    this.#outcome ??= this.#parse();
    this.#end(true);
  }

  onResponseError(_: unknown, error: unknown): void {
    if (this.#isOver) return;
    if (this.#outcome) {
      this.#end(false);
      return;
    }
    const found = connectionFailure(error);
    const isStale = found.mayPass && this.#status === 0 && this.#connection.isReused;
    this.#giveUp(isStale ? { ...found, isStale } : found);
  }

  #giveUp(outcome: Failure): void {
    this.#outcome = outcome;
    this.#refund();
    this.#end(false);
  }

  #refund(): void {
    for (const { length } of this.#chunks) this.#owner?.reserve(-length);
    this.#chunks = [];
  }

  #parse(): Outcome {
    const [first = empty] = this.#chunks;
    const bytes = this.#chunks.length > 1 ? Buffer.concat(this.#chunks) : first;
    // As the seed's client does: an empty body with the type of JSON is null.
    const data = bytes.length === 0 ? null : parseBody(bytes, this.#type);
    if (!(data instanceof JsonProblem)) return { kind: 'data', status: this.#status, data };
    this.#refund();
    return failure(`the answer cannot be read: ${data.message}`);
  }

  /**
   * Not at once: undici is in the middle of its parser, which stands no other request being started now, and counts a
   * connection as free only when we have returned.
   */
  #end(isComplete: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#dropTimer);
    queueMicrotask(() => {
      const owner = this.#owner;
      if (!owner) return;
      this.#owner = undefined;
      if (isComplete) this.#connection.release();
      else this.#connection.discard();
      owner.ended(this.#outcome as Outcome);
    });
  }
}

const empty = Buffer.alloc(0);
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

const tooLarge = (limit: number): Failure => failure(`the answer is larger than ${limit} bytes`);

/** What the head of an answer decides, whatever its body is; `undefined`: the body is wanted. */
export function headOutcome(status: number, headers: IncomingHttpHeaders, maxBytes: number): Outcome | undefined {
  if (status >= 400) {
    const retryAfterMs = retryAfter(headers['retry-after'], Date.now());
    const found: Failure = { kind: 'failure', error: statusText(status), mayPass: mayPass(status) };
    return retryAfterMs === undefined ? found : { ...found, retryAfterMs };
  }
  const { location } = headers;
  if (redirects.has(status) && typeof location === 'string') return { kind: 'redirect', location };
  const type: unknown = headers['content-type'];
  if (typeof type !== 'string' || !/^application\//i.test(type) || !isJsonType(type)) {
    return failure(`the answer is not JSON but ${type === undefined ? 'of no type' : printable(String(type), 80)}`);
  }
  const encoding: unknown = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') {
    return failure(`the answer is compressed (${printable(String(encoding), 40)}), though identity was asked for`);
  }
  return Number(headers['content-length'] ?? 0) > maxBytes ? tooLarge(maxBytes) : undefined;
}

/** @returns the value, or what is wrong with the bytes */
function parseBody(bytes: Buffer, type: string): unknown {
  try {
    const charset = /;[ \t]*charset="?([^";\s]+)/i.exec(type)?.[1]?.toLowerCase() ?? 'utf-8';
    return readJson(charset === 'utf-8' ? bytes : Buffer.from(decode(bytes, charset)));
  } catch (error) {
    if (error instanceof JsonProblem) return error;
    throw error;
  }
}

/** @throws JsonProblem */
function decode(bytes: Buffer, charset: string): string {
  try {
    return new TextDecoder(charset, { fatal: true }).decode(bytes);
  } catch {
    throw new JsonProblem(`it is not ${printable(charset, 40)}`);
  }
}
