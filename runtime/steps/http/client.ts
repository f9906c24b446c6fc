import { Agent, type Dispatcher } from 'undici';
import { maxMessageBytes } from '../../../api/contract/pipeline.ts';
import { LevadaError } from '../../../api/errors.ts';
import type { Reply } from '../../events/cloudevents.ts';
import { transportError } from './failure.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  /** Where it goes. */
  readonly url: URL;
  /** What errors call it; see {@link displayUrl}. */
  readonly name: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  readonly deadline: Deadline;
  /** Aborted: the call rejects with its reason. */
  readonly signal: AbortSignal;
}

export interface HttpAnswer extends Reply {
  readonly status: number;
  /** Whether the answer says itself where it ends. If not, one that is cut off looks like one that is whole. */
  readonly framed: boolean;
}

/** For all that one attempt does. */
export interface Deadline {
  readonly timeoutMs: number;
  /** On the clock of performance.now(). */
  readonly at: number;
}

export const deadlineIn = (timeoutMs: number): Deadline => ({ timeoutMs, at: performance.now() + timeoutMs });

/** A URL as errors and logs may show it: a query can hold a key. */
export const displayUrl = (url: URL): string => `${url.origin}${url.pathname}`;

/** Bytes of an error's body that are read: enough for the part that is reported. */
const maxErrorBytes = 16 * 1024;

/** Kept-alive connections of one step, to whatever origins it calls. */
export class HttpClient {
  readonly #agent: Agent;

  /** @param timeoutMs longest deadline of a call: a connection is not waited for any longer */
  constructor(timeoutMs: number) {
    // No time-outs of undici's own, which would each begin anew: a call has one deadline.
    this.#agent = new Agent({ allowH2: false, headersTimeout: 0, bodyTimeout: 0, connect: { timeout: timeoutMs } });
  }

  /**
   * Sends one request, and reads the whole answer, whatever its status. Nothing is sent twice: a connection that turns
   * out to be closed before the request is written to it is replaced; once a byte may have left, the call fails.
   *
   * @throws LevadaError HandlerUnavailable, HostUnknown, HandlerTimeout, HandlerClosed, ReplyTooLarge, ReplyInvalid;
   *   MessageInvalid, where a header cannot be sent
   */
  call(request: HttpRequest): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      const exchange = new Exchange(request, resolve, reject);
      if (!exchange.start()) return;
      const { url, method, headers, body = null } = request;
      try {
        // undici takes a Buffer as it is; an empty view of another buffer would be taken for that whole buffer.
        const bytes = body instanceof Uint8Array ? Buffer.from(body.buffer, body.byteOffset, body.length) : body;
        const path = `${url.pathname}${url.search}`;
        this.#agent.dispatch({ origin: url.origin, path, method, headers, body: bytes }, exchange);
      } catch (error) {
        exchange.onResponseError(undefined, error as Error);
      }
    });
  }

  /** Ends connections; calls that are under way reject. */
  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}

/** One request and its answer, as undici reports them. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #request: HttpRequest;
  readonly #resolve: (answer: HttpAnswer) => void;
  readonly #reject: (error: unknown) => void;
  #timer: NodeJS.Timeout | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #over = false;
  #head: { status: number; headers: Reply['headers'] } | undefined;
  #chunks: Buffer[] = [];
  #size = 0;

  constructor(request: HttpRequest, resolve: (answer: HttpAnswer) => void, reject: (error: unknown) => void) {
    this.#request = request;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** @returns whether there is still anything to do */
  start(): boolean {
    const { signal, deadline } = this.#request;
    if (signal.aborted) {
      this.#fail(signal.reason);
      return false;
    }
    signal.addEventListener('abort', this.#onAbort);
    this.#timer = setTimeout(() => this.#fail(this.#timeout()), Math.max(0, deadline.at - performance.now()));
    return true;
  }

  readonly #onAbort = (): void => this.#fail(this.#request.signal.reason);

  /** The connection is there, and the request is about to be written to it. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#over) controller.abort(new Error('given up'));
    else this.#controller = controller;
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: Reply['headers']): void {
    // Interim answers (103 and the like) announce another one.
    if (this.#over || status < 200) return;
    this.#head = { status, headers };
    // A length that no handler means would pass as a body that is cut off.
    if (isSuccess(status) && Number(headers['content-length'] ?? 0) > maxMessageBytes) this.#fail(this.#tooLarge());
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#over || !this.#head) return;
    this.#size += chunk.length;
    this.#chunks.push(chunk);
    if (isSuccess(this.#head.status)) {
      if (this.#size > maxMessageBytes) this.#fail(this.#tooLarge());
    } else if (this.#size > maxErrorBytes) {
      this.#finish();
      this.#controller?.abort(new Error('enough was read'));
    }
  }

  onResponseEnd(): void {
    this.#finish();
  }

  onResponseError(_: Dispatcher.DispatchController | undefined, error: Error): void {
    const { name, url, deadline } = this.#request;
    const progress = this.#head ? 'answered' : this.#controller ? 'sent' : 'connecting';
    this.#fail(transportError(error, { name, host: url.hostname, timeoutMs: deadline.timeoutMs, progress }));
  }

  #finish(): void {
    if (this.#over || !this.#head) return;
    const { status, headers } = this.#head;
    const framed = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
    const [first] = this.#chunks;
    const body = first && this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks, this.#size);
    this.#end();
    this.#resolve({ status, headers, body, framed });
  }

  /** Whatever comes after this is ignored: the connection is destroyed. */
  #fail(error: unknown): void {
    if (this.#over) return;
    this.#end();
    this.#reject(error);
    this.#controller?.abort(new Error('given up'));
  }

  #end(): void {
    this.#over = true;
    this.#chunks = [];
    clearTimeout(this.#timer);
    this.#request.signal.removeEventListener('abort', this.#onAbort);
  }

  #timeout(): LevadaError {
    return new LevadaError('HandlerTimeout', { url: this.#request.name, found: this.#request.deadline.timeoutMs });
  }

  #tooLarge(): LevadaError {
    return new LevadaError('ReplyTooLarge', { url: this.#request.name, limit: maxMessageBytes });
  }
}

const isSuccess = (status: number): boolean => status >= 200 && status < 300;
