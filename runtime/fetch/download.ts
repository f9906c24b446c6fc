import { setTimeout as pause } from 'node:timers/promises';
import { Agent, type Dispatcher, request } from 'undici';
import { maxModelBytes } from '../../api/contract/model-server.ts';
import { type ErrorParams, errorCodeOf, messageOf } from '../../api/errors.ts';
import { connector } from '../net/connections.ts';
import { Resolver } from '../net/lookup.ts';
import { FetchFailure, type Head, readHead, refusal } from './answer.ts';
import { type Access, accessOf, type FetchSecret } from './credentials.ts';
import { Part } from './part.ts';
import { headersOf, redirected, type Target, targetOf } from './request.ts';

export interface FetchLimits {
  readonly connectMs: number;
  /** Between two bytes. */
  readonly idleMs: number;
  /** For all attempts together. */
  readonly totalMs: number;
  /** In a row, without a byte that is of use. */
  readonly attempts: number;
  readonly firstPauseMs: number;
  readonly maxPauseMs: number;
  readonly maxBytes: number;
}

export const usualLimits: FetchLimits = {
  connectMs: 10_000,
  idleMs: 30_000,
  totalMs: 3_600_000,
  attempts: 6,
  firstPauseMs: 500,
  maxPauseMs: 30_000,
  maxBytes: maxModelBytes,
};

export interface FetchOptions {
  readonly uri: string;
  /** The Secret that the version names, whatever of it is there. */
  readonly secret?: FetchSecret | undefined;
  /** Where the file goes. */
  readonly file: string;
  /** Hex digests, as in ModelServerConfig. */
  readonly sha256?: string | undefined;
  readonly resolvedSha256?: string | undefined;
  /** ETag of a file that is here already. */
  readonly unless?: string | undefined;
  readonly limits?: Partial<FetchLimits>;
  readonly signal?: AbortSignal;
  /** 0 to 1. */
  readonly random?: () => number;
  /** An attempt has failed, and another one follows. */
  readonly note: (text: string) => void;
}

/** `sha256` is absent where the file is still the one that is here. */
export interface Fetched {
  readonly sha256?: string;
  readonly bytes: number;
  /** Strong ones only. */
  readonly etag?: string;
}

/**
 * Fetches a file: whole, the right one, or not at all. What was cut off is gone on with, where the server can; an
 * ETag says no more than whether that is so, and what the file is says its digest.
 *
 * @throws LevadaError ArtifactNotFound, ArtifactDenied, ArtifactUnavailable, ArtifactTooLarge, ArtifactChanged,
 *   DigestMismatch, SourceInvalid, SecretInvalid; what `signal` was aborted with
 */
export async function fetchModel(options: FetchOptions): Promise<Fetched> {
  const limits = { ...usualLimits, ...options.limits };
  const access = accessOf(options.uri, options.secret);
  const part = await Part.create(options.uri, options.file);
  const dispatcher = new Agent({
    connect: connector(new Resolver(), 'Allow', limits.connectMs),
    headersTimeout: limits.idleMs,
    bodyTimeout: limits.idleMs,
    pipelining: 0, // a connection an attempt
  });
  try {
    return await new Download(options, limits, access, part, dispatcher).run();
  } finally {
    await part.drop();
    await dispatcher.destroy();
  }
}

class Download {
  readonly #options: FetchOptions;
  readonly #limits: FetchLimits;
  readonly #access: Access;
  readonly #part: Part;
  readonly #dispatcher: Dispatcher;
  readonly #endsAt: number;
  #etag: string | undefined;

  constructor(options: FetchOptions, limits: FetchLimits, access: Access, part: Part, dispatcher: Dispatcher) {
    this.#options = options;
    this.#limits = limits;
    this.#access = access;
    this.#part = part;
    this.#dispatcher = dispatcher;
    this.#endsAt = performance.now() + limits.totalMs;
  }

  async run(): Promise<Fetched> {
    for (let failures = 0; ; ) {
      const before = this.#part.length;
      try {
        if (!(await this.#attempt())) return { bytes: 0 };
        const { sha256, length } = this.#part;
        this.#check(sha256);
        await this.#part.finish();
        return { sha256, bytes: length, ...(this.#etag !== undefined && { etag: this.#etag }) };
      } catch (error) {
        this.#options.signal?.throwIfAborted();
        const failure = this.#failureOf(error);
        if (!failure.mayPass) throw failure;
        failures = this.#part.length > before ? 1 : failures + 1;
        if (failures >= this.#limits.attempts) throw failure;
        await this.#pause(failure, failures);
      }
    }
  }

  async #pause(failure: FetchFailure, failures: number): Promise<void> {
    const { firstPauseMs, maxPauseMs } = this.#limits;
    const { random = Math.random, signal, note } = this.#options;
    const usual = Math.min(maxPauseMs, firstPauseMs * 2 ** (failures - 1)) * (0.5 + random() / 2);
    const ms = Math.round(Math.max(usual, Math.min(maxPauseMs, failure.retryAfterMs ?? 0)));
    if (performance.now() + ms >= this.#endsAt) throw failure;
    note(`${failure.message}; ${this.#part.length} bytes are there; tried again in ${ms} ms`);
    await pause(ms, undefined, { signal });
  }

  /** @returns whether there is a file now; if not, the one that is here already is still it */
  async #attempt(): Promise<boolean> {
    const { uri, unless } = this.#options;
    const { rest } = this.#part;
    let target: Target = targetOf(uri, this.#access);
    for (let redirects = 0; ; redirects++) {
      const left = this.#endsAt - performance.now();
      const timeout = AbortSignal.timeout(Math.max(1, Math.ceil(left)));
      const signal = AbortSignal.any([timeout, ...(this.#options.signal ? [this.#options.signal] : [])]);
      const wishes = rest ? { rest } : { unless };
      const headers = await headersOf(target, this.#access, wishes, new Date());
      const answer = await request(target.url, { headers, dispatcher: this.#dispatcher, signal });
      const head = readHead(answer.statusCode, answer.headers, rest, Date.now());
      if (head.kind === 'body') {
        const { etag } = answer.headers;
        this.#etag = typeof etag === 'string' && etag.startsWith('"') ? etag : undefined;
        const encoding = answer.headers['content-encoding'];
        if (encoding === undefined || encoding === 'identity') await this.#take(head, answer.body);
        else
          throw await this.#refuse(answer.body, 'SourceInvalid', {
            path: uri,
            detail: `it is compressed, though identity was asked for`,
          });
        return true;
      }
      if (head.kind === 'refused') throw refusal(uri, head, await this.#s3Code(answer.body));
      answer.body.on('error', () => {}).destroy();
      if (head.kind === 'unchanged' && unless !== undefined && !rest) return false;
      if (head.kind === 'redirect' && this.#access.kind !== 's3') {
        target = redirected(target, head.location, redirects, uri);
        continue;
      }
      if (head.kind === 'redirect') throw this.#otherRegion(answer.headers['x-amz-bucket-region']);
      this.#part.reset();
      const detail = head.kind === 'again' ? head.detail : 'the server answers 304 to a request without a condition';
      throw new FetchFailure('ArtifactUnavailable', { path: uri, detail }, true);
    }
  }

  async #take(
    { from, size, validator }: Head & { kind: 'body' },
    body: Dispatcher.ResponseData['body'],
  ): Promise<void> {
    const { uri } = this.#options;
    const { maxBytes } = this.#limits;
    if (size !== undefined && size > maxBytes) throw await this.#tooLarge(body, String(size));
    this.#part.begin(from, validator);
    for await (const chunk of body) {
      if (this.#part.length + (chunk as Buffer).length > maxBytes)
        throw await this.#tooLarge(body, `more than ${maxBytes}`);
      await this.#part.add(chunk as Buffer);
    }
    if (size === undefined || size === this.#part.length) return;
    const detail = `${this.#part.length} of ${size} bytes have come`;
    throw new FetchFailure('ArtifactUnavailable', { path: uri, detail }, true);
  }

  /** @throws FetchFailure ArtifactChanged, DigestMismatch */
  #check(found: string): void {
    const { uri: path, sha256, resolvedSha256: resolved } = this.#options;
    const isWrong = sha256 !== undefined && found !== sha256;
    if (!isWrong && (resolved === undefined || found === resolved)) return;
    // Parts of two files, of a server that took them for one: all of it is asked for once more.
    const mayPass = this.#part.isJoined;
    this.#part.reset();
    if (isWrong) throw new FetchFailure('DigestMismatch', { path, found, allowed: sha256 }, mayPass);
    throw new FetchFailure('ArtifactChanged', { path, found, resolved: resolved ?? '' }, mayPass);
  }

  #failureOf(error: unknown): FetchFailure {
    if (error instanceof FetchFailure) return error;
    const code = errorCodeOf(error);
    if (code !== undefined) return new FetchFailure(code, (error as { params?: ErrorParams }).params ?? {});
    const detail = `${describe(error)}${this.#endsAt <= performance.now() ? `, after ${this.#limits.totalMs} ms in all` : ''}`;
    return new FetchFailure('ArtifactUnavailable', { path: this.#options.uri, detail }, true);
  }

  #tooLarge(body: Dispatcher.ResponseData['body'], size: string): Promise<FetchFailure> {
    return this.#refuse(body, 'ArtifactTooLarge', { path: this.#options.uri, size, limit: this.#limits.maxBytes });
  }

  async #refuse(
    body: Dispatcher.ResponseData['body'],
    code: 'ArtifactTooLarge' | 'SourceInvalid',
    params: ErrorParams,
  ): Promise<FetchFailure> {
    body.on('error', () => {}).destroy();
    return new FetchFailure(code, params);
  }

  #otherRegion(region: unknown): FetchFailure {
    const is = typeof region === 'string' && /^[a-z0-9-]{1,64}$/.test(region) ? `: it is ${region}` : '';
    return new FetchFailure('SourceInvalid', {
      path: this.#options.uri,
      detail: `the bucket is not in this region${is}`,
    });
  }

  /** What S3 says beside the status: a word such as AccessDenied. */
  async #s3Code(body: Dispatcher.ResponseData['body']): Promise<string | undefined> {
    let text = '';
    try {
      for await (const chunk of body) {
        if (this.#access.kind === 's3') text += String(chunk);
        if (text.length > 4096 || this.#access.kind !== 's3') break; // ends the connection as well
      }
    } catch {
      // The status says enough.
    }
    return /<Code>([A-Za-z]{1,64})<\/Code>/.exec(text)?.[1];
  }
}

/** What went wrong with a connection, in words that hold nothing of the request. */
function describe(error: unknown): string {
  const { code, cause, name } = error as { code?: unknown; cause?: unknown; name?: unknown };
  if (name === 'TimeoutError') return 'it takes too long';
  const known =
    typeof code === 'string'
      ? {
          UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
          UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
          UND_ERR_BODY_TIMEOUT: 'no more bytes in time',
          UND_ERR_SOCKET: 'the connection was cut',
          UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the answer was cut off',
        }[code]
      : undefined;
  if (known !== undefined) return known;
  if (cause !== undefined) return describe(cause);
  return messageOf(error).split('\n')[0]?.slice(0, 200) ?? '';
}
