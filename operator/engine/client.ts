import { setTimeout as pause } from 'node:timers/promises';
import { type Dispatcher, request } from 'undici';
import { errorCodeOf, LevadaError, messageOf } from '../../api/errors.ts';
import { refusal, type Status, silence } from './failure.ts';
import { type Place, pathOf, type ResourceType, type StoredObject } from './objects.ts';

export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With its leading slash, without a query. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly contentType?: string;
  /** Milliseconds until the whole answer must be there. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface ApplyOptions extends Pick<Place, 'subresource'> {
  /** Who owns the fields: one name for each writer. */
  readonly fieldManager: string;
  readonly dryRun?: boolean;
}

/** One line of a watch. */
export type WatchEvent<T extends StoredObject> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  /** Only its resourceVersion counts. */
  | { readonly type: 'BOOKMARK'; readonly object: StoredObject }
  | { readonly type: 'ERROR'; readonly object: Status };

export interface WatchOptions {
  readonly query: Call['query'];
  /** Without a byte for so long, it ends, milliseconds. */
  readonly silenceMs: number;
  readonly signal: AbortSignal;
  /** Told once the API server has taken it, also where nothing changes for long. */
  readonly opened?: () => void;
}

/** Milliseconds after which credentials are asked for anew: a service account's token is renewed on disk. */
const credentialsMs = 60_000;
const defaultTimeoutMs = 30_000;
/** A busy API server is asked so often before the caller hears of it. */
const busyAttempts = 4;
const longestBusyMs = 5_000;

/** How an API server is reached, for a while. */
export interface Credentials {
  readonly headers: Record<string, string>;
  readonly dispatcher: Dispatcher;
}

/** An API server, as a kubeconfig names it (kubeconfig.ts), or the service account of a pod (service-account.ts). */
export interface Access {
  /** URL without a slash at its end. */
  readonly server: string;
  /** What is valid now: a service account's token is renewed on disk, others by programs. */
  credentials(): Promise<Credentials>;
}

interface Known extends Credentials {
  readonly until: number;
}

/** Requests to an API server. Objects go through as they are: typed models of a client library drop fields that they do not know. */
export class KubeClient {
  readonly #access: Access;
  #credentials: Promise<Known> | undefined;
  #current: Dispatcher | undefined;
  /** Of credentials of before, with answers under way. */
  readonly #ending = new Set<Dispatcher>();
  #isClosed = false;

  readonly #requested: (method: string, code: string) => void;

  /** @param requested told of each request and the status code of its answer; `<error>`: there was none */
  constructor(access: Access, requested: (method: string, code: string) => void = () => {}) {
    this.#access = access;
    this.#requested = requested;
  }

  /**
   * One request and its answer, parsed. Asked again when the API server is busy, and once with new credentials when it
   * does not take those that there are.
   *
   * @throws LevadaError Cluster…
   */
  async call<T>(call: Call): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#once<T>(call);
      } catch (error) {
        const code = errorCodeOf(error);
        const { retryAfterMs } = error as { retryAfterMs?: number };
        if (code === 'ClusterUnauthorized' && attempt === 1) this.#credentials = undefined;
        else if (code === 'ClusterBusy' && retryAfterMs !== undefined && attempt < busyAttempts) {
          await pause(Math.min(retryAfterMs, longestBusyMs), undefined, { signal: call.signal });
        } else throw error;
      }
    }
  }

  get<T extends StoredObject>(type: ResourceType, place: Place, signal?: AbortSignal): Promise<T> {
    return this.call<T>({ method: 'GET', path: pathOf(type, place), signal });
  }

  /** Server-side apply: the fields in `object` are `fieldManager`'s from now on, those that it leaves out are not. */
  apply<T extends StoredObject>(
    type: ResourceType,
    object: StoredObject,
    { fieldManager, dryRun = false, subresource }: ApplyOptions,
  ): Promise<T> {
    const { namespace, name } = object.metadata;
    return this.call<T>({
      method: 'PATCH',
      path: pathOf(type, {
        name,
        ...(namespace !== undefined && { namespace }),
        ...(subresource !== undefined && { subresource }),
      }),
      query: { fieldManager, force: true, fieldValidation: 'Strict', dryRun: dryRun ? 'All' : undefined },
      body: { ...object, apiVersion: type.apiVersion, kind: type.kind },
      contentType: 'application/apply-patch+yaml', // JSON is YAML
    });
  }

  /**
   * What changes, line by line, until the API server ends it, or nothing was heard for too long: of a kind that has had no change since
   * the API server began, there are no bookmarks either, and only asking anew tells whether somebody is there.
   *
   * @throws LevadaError Cluster…
   */
  async *watch<T extends StoredObject>(
    type: ResourceType,
    place: Place,
    { query, silenceMs, signal, opened }: WatchOptions,
  ): AsyncGenerator<WatchEvent<T>> {
    const quiet = new AbortController();
    const openMs = Math.min(silenceMs, defaultTimeoutMs);
    let isOpen = false;
    let timer = setTimeout(() => quiet.abort(), openMs);
    const either = AbortSignal.any([signal, quiet.signal]);
    const call: Call = { method: 'GET', path: pathOf(type, place), query: { ...query, watch: true }, signal: either };
    try {
      const { body } = await this.#send(call);
      isOpen = true;
      opened?.();
      clearTimeout(timer);
      timer = setTimeout(() => quiet.abort(), silenceMs);
      body.on('error', () => {}); // comes from the loop, or nobody waits for it any more
      let rest = '';
      for await (const chunk of body.setEncoding('utf8') as AsyncIterable<string>) {
        timer.refresh();
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) if (line !== '') yield JSON.parse(line) as WatchEvent<T>;
      }
    } catch (error) {
      if (signal.aborted || (quiet.signal.aborted && isOpen)) return;
      if (quiet.signal.aborted) throw silence(new Error(`no answer within ${openMs} ms`));
      throw errorCodeOf(error) === undefined ? silence(error) : error;
    } finally {
      clearTimeout(timer);
      quiet.abort();
    }
  }

  /** Ends every connection. Whatever is asked for from now on is refused: who has lost the Lease writes no more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#credentials = undefined;
    await Promise.all([...this.#ending, this.#current].map((one) => one?.destroy()));
  }

  async #once<T>(call: Call): Promise<T> {
    const late = AbortSignal.timeout(call.timeoutMs ?? defaultTimeoutMs);
    const signal = call.signal ? AbortSignal.any([call.signal, late]) : late;
    const { body } = await this.#send({ ...call, signal });
    try {
      return (await body.json()) as T;
    } catch (error) {
      call.signal?.throwIfAborted();
      throw silence(error);
    }
  }

  async #send(call: Call): Promise<Dispatcher.ResponseData> {
    const { method, path, query = {}, body, contentType = 'application/json', signal } = call;
    const url = new URL(this.#access.server + path);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const { headers, dispatcher } = await this.#authorized();
    let response: Dispatcher.ResponseData;
    try {
      response = await givenUpWith(
        signal,
        request(url, {
          method,
          dispatcher,
          headers: {
            accept: 'application/json',
            ...headers,
            ...(body !== undefined && { 'content-type': contentType }),
          },
          headersTimeout: 0, // the signal says how long
          bodyTimeout: 0,
          ...(body !== undefined && { body: jsonAsYaml(body) }),
          ...(signal && { signal }),
        }),
      );
    } catch (error) {
      this.#requested(method, '<error>');
      throw silence(error);
    }
    this.#requested(method, String(response.statusCode));
    if (response.statusCode < 300) return response;
    const status = statusOf(await response.body.text().catch(() => ''));
    const retryAfter = Number(response.headers['retry-after']);
    const what = `${method.toLowerCase()} ${path}`;
    throw refusal(what, response.statusCode, status, Number.isFinite(retryAfter) ? retryAfter * 1000 : undefined);
  }

  /** @throws LevadaError ClusterUnavailable: this client is closed; ClusterUnauthorized */
  async #authorized(): Promise<Known> {
    if (this.#isClosed) throw closed();
    const before = this.#credentials;
    const credentials = before && (await before.catch(() => undefined));
    if (credentials && credentials.until > performance.now()) return credentials;
    // Whoever asks at the same time gets the same ones: new ones end the connections of those before.
    if (this.#credentials === before) this.#credentials = this.#find();
    return await (this.#credentials ?? this.#find());
  }

  async #find(): Promise<Known> {
    let found: Credentials;
    try {
      found = await this.#access.credentials();
    } catch (error) {
      throw new LevadaError('ClusterUnauthorized', { detail: messageOf(error) }, { cause: error });
    }
    if (this.#isClosed) {
      await found.dispatcher.destroy();
      throw closed();
    }
    const before = this.#current;
    this.#current = found.dispatcher;
    // Ends when the answers that are under way are there; a watch is one of these.
    if (before) {
      this.#ending.add(before);
      const hasEnded = () => this.#ending.delete(before);
      before.close().then(hasEnded, hasEnded);
    }
    return { ...found, until: performance.now() + credentialsMs };
  }
}

const closed = (): LevadaError => silence(new Error('this client is closed'));

/** undici hears of an abort only when it is connected, which a silent network keeps it from for ten seconds. */
async function givenUpWith<T extends Dispatcher.ResponseData>(
  signal: AbortSignal | undefined,
  asked: Promise<T>,
): Promise<T> {
  if (!signal) return asked;
  const { promise, reject } = Promise.withResolvers<never>();
  const giveUp = () => {
    reject(signal.reason);
    asked.then(
      ({ body }) => body.on('error', () => {}).destroy(),
      () => {},
    );
  };
  if (signal.aborted) giveUp();
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    return await Promise.race([asked, promise]);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}

/** JSON is YAML but for these, which YAML 1.1 folds into a space, as ends of lines. */
const jsonAsYaml = (body: unknown): string =>
  JSON.stringify(body).replace(
    /[\u0085\u2028\u2029]/g,
    (end) => `\\u${end.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

/** A path that nobody serves is answered with plain text. */
function statusOf(text: string): Status {
  try {
    return JSON.parse(text) as Status;
  } catch {
    return { message: text.trim() };
  }
}
