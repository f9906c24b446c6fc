import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import { partName } from '../../api/contract/names.ts';
import type { HttpSourceConfig } from '../../api/contract/pipeline.ts';
import { LevadaError, messageOf } from '../../api/errors.ts';
import type { Message } from '../events/message.ts';
import type { RandomBytes } from '../events/trace.ts';
import { errorAnswer, Refusal } from './answer.ts';
import { buildApp, type Handler, type Outcome, type Shared } from './app.ts';
import { ByteBudget } from './body.ts';
import { ParserErrors } from './client-error.ts';
import { defaultKeyLimits, IdempotencyKeys, type KeyLimits } from './idempotency.ts';

export interface HttpSourceLimits {
  /** Milliseconds for all headers, for the whole request, between two requests of one connection, and for a drain. */
  readonly headersMs: number;
  readonly requestMs: number;
  readonly keepAliveMs: number;
  readonly drainMs: number;
  readonly maxBodyBytes: number;
  /** Of all requests that are not answered yet. */
  readonly maxHeldBytes: number;
  readonly keys: KeyLimits;
}

export const defaultSourceLimits: HttpSourceLimits = {
  headersMs: 10_000,
  requestMs: 30_000,
  // More than the 60 s after which the usual proxies let go: who closes first loses no request.
  keepAliveMs: 65_000,
  drainMs: 10_000,
  maxBodyBytes: 2 ** 20,
  maxHeldBytes: 64 * 2 ** 20,
  keys: defaultKeyLimits,
};

export interface HttpSourceOptions {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** `publish` of a Transport. */
  readonly publish: (pipeline: string, messages: readonly Message[]) => Promise<void>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** `randomBytes` of node:crypto. */
  readonly random: RandomBytes;
  readonly log: Pick<Logger, 'error' | 'warn'>;
  /** Called for each answer. */
  readonly observe?: (outcome: Outcome) => void;
  readonly limits?: Partial<HttpSourceLimits>;
}

/** Takes events over HTTP, on one socket, under a configuration that may change while it runs. */
export class HttpSource {
  readonly #server: Server;
  readonly #shared: Shared;
  readonly #options: HttpSourceOptions;
  readonly #limits: HttpSourceLimits;
  readonly #errors: ParserErrors;
  #config: HttpSourceConfig;
  #handler: Handler = () => undefined;
  /** The last of the updates that are under way. */
  #updating: Promise<void> = Promise.resolve();
  /** Messages that are being published. */
  #publishing = 0;
  #published: () => void = () => undefined;
  #retired = false;
  #drained: Promise<void> | undefined;

  /**
   * Resolves when connections are accepted.
   *
   * @throws LevadaError PortBusy, ExpressionInvalid, SchemaInvalid
   */
  static async start(config: HttpSourceConfig, options: HttpSourceOptions): Promise<HttpSource> {
    const source = new HttpSource(config, options);
    source.#handler = await buildApp(config, source.#shared);
    await source.#listen();
    return source;
  }

  private constructor(config: HttpSourceConfig, options: HttpSourceOptions) {
    const limits = { ...defaultSourceLimits, ...options.limits };
    this.#config = config;
    this.#options = options;
    this.#limits = limits;
    this.#shared = this.#makeShared();
    this.#server = createServer({
      headersTimeout: limits.headersMs,
      requestTimeout: limits.requestMs,
      keepAliveTimeout: limits.keepAliveMs,
      // Slow clients are found by a sweep, whose period bounds how late they are found.
      connectionsCheckingInterval: Math.min(1_000, limits.headersMs),
      requireHostHeader: false, // its answer would have no code
    });
    this.#errors = new ParserErrors(this.#server, this.#shared.observe);
    const handle = (req: IncomingMessage, res: ServerResponse) => this.#handler(req, res);
    this.#server.on('request', handle);
    this.#server.on('checkExpectation', (req: IncomingMessage, res: ServerResponse) =>
      this.#refuseExpectation(req, res),
    );
  }

  get port(): number {
    return (this.#server.address() as AddressInfo | null)?.port ?? this.#options.port;
  }

  /**
   * Takes another configuration. Resolves when requests that begin from now on are handled under it; those in flight
   * finish under theirs.
   *
   * @throws LevadaError ExpressionInvalid, SchemaInvalid: nothing has changed
   */
  update(config: HttpSourceConfig): Promise<void> {
    const update = this.#updating.then(async () => {
      this.#handler = await buildApp(config, this.#shared);
      this.#config = config;
    });
    this.#updating = update.catch(() => undefined); // the next one does not depend on it
    return update;
  }

  /**
   * Another process takes its place: events are taken as before, and each connection ends with its next answer, so that
   * clients come to the other one. A {@link drain} that follows refuses none that still comes.
   */
  retire(): void {
    this.#retired = true;
  }

  /**
   * Accepts nothing more, finishes what is in hand, and resolves when all connections have ended; those still there
   * after `timeoutMs` are cut. Idle ones are closed at once.
   */
  drain(timeoutMs = this.#limits.drainMs): Promise<void> {
    this.#drained ??= this.#drain(timeoutMs);
    return this.#drained;
  }

  close(): Promise<void> {
    return this.drain();
  }

  async #drain(timeoutMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#errors.closeSilent();
    // Clients that have gone may have left messages that are still on their way.
    const finished = closed.then(
      () =>
        new Promise<void>((resolve) => {
          this.#published = resolve;
          if (this.#publishing === 0) resolve();
        }),
    );
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, timeoutMs, 'late');
    });
    const end = await Promise.race([finished, late]);
    clearTimeout(timer);
    if (end !== 'late') return;
    const { pipeline, name } = this.#config;
    this.#options.log.warn({ pipeline, source: name, ms: timeoutMs }, 'the time to drain is over');
    this.#server.closeAllConnections();
    await closed;
  }

  #makeShared(): Shared {
    const { now, random, publish, log, observe = () => undefined } = this.#options;
    return {
      now,
      random,
      observe,
      publish: async (pipeline, messages) => {
        this.#publishing++;
        try {
          await publish(pipeline, messages);
        } finally {
          this.#publishing--;
          if (this.#publishing === 0) this.#published();
        }
      },
      fail: (error) => {
        const { pipeline, name } = this.#config;
        log.error({ pipeline, source: name, err: error }, 'a request failed');
      },
      keys: new IdempotencyKeys(this.#limits.keys, now),
      budget: new ByteBudget(this.#limits.maxHeldBytes),
      maxBodyBytes: this.#limits.maxBodyBytes,
      leaving: () => this.#retired || this.#drained !== undefined,
      refusing: () => !this.#retired && this.#drained !== undefined,
    };
  }

  #listen(): Promise<void> {
    const { host, port } = this.#options;
    const { pipeline, name } = this.#config;
    const service = partName(pipeline.slice(pipeline.indexOf('/') + 1), name);
    return new Promise((resolve, reject) => {
      const refused = (error: Error) =>
        reject(new LevadaError('PortBusy', { port, service, detail: messageOf(error) }, { cause: error }));
      this.#server.once('error', refused);
      this.#server.listen(port, host, () => {
        this.#server.off('error', refused);
        this.#server.on('error', (error) => this.#shared.fail(error));
        resolve();
      });
    });
  }

  #refuseExpectation(req: IncomingMessage, res: ServerResponse): void {
    const error = new LevadaError('RequestMalformed', { detail: 'the header expect may only say 100-continue' });
    const { status, body, code = '' } = errorAnswer(new Refusal(error, { status: 417 }));
    const headers = { 'content-type': 'application/json', 'x-levada-error': code, connection: 'close' };
    res.writeHead(status, headers).end(body);
    req.resume();
    this.#shared.observe({ status, code, ms: 0 });
  }
}
