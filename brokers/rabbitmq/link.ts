import { isIP } from 'node:net';
import { type ChannelModel, type ConfirmChannel, connect } from 'amqplib';
import { LevadaError, messageOf } from '../../api/errors.ts';
import { close } from './close.ts';
import { channelFailure, connectionFailure } from './failure.ts';
import { type RabbitSettings, shownBroker } from './settings.ts';

export interface LinkOptions {
  /** Shown in the broker's list of connections. */
  readonly name: string;
  /** In [0, 1): what delays are spread by. */
  readonly random?: () => number;
  /** Something a person should know. */
  readonly log?: (text: string) => void;
}

export interface LinkListener {
  up?(connection: ChannelModel): void;
  down?(error: LevadaError): void;
  /** The broker takes no messages from this connection: it is short of memory or disk. */
  blocked?(reason: string): void;
  unblocked?(): void;
}

/** Seconds. The broker drops a connection that was silent twice as long: work that blocks the event loop must fit in. */
const heartbeat = 60;
/** Between two questions whether the broker is still there, and how long it may take to answer. */
const pingMs = 5_000;
const pingTimeoutMs = 10_000;
/** A timer that fires so much too late says that this process was busy, and nothing of the broker. */
const busyMs = 500;
const connectTimeoutMs = 10_000;
const firstRetryMs = 100;
const longestRetryMs = 10_000;

/** What is published while the broker is short of memory or disk comes to. @param why its own words */
export const notTaken = (why: string): LevadaError =>
  new LevadaError('BrokerFull', { detail: `it accepts no messages: ${why}` });

/**
 * One AMQP connection that comes back: after every loss it is made again, later and later, at random moments so that
 * not all clients of a broker come at once. A broker that has gone silent is noticed by asking.
 */
export class Link {
  readonly #settings: RabbitSettings;
  readonly #options: Required<LinkOptions>;
  readonly #listeners = new Set<LinkListener>();
  #connection: ChannelModel | undefined;
  #failure: LevadaError | undefined;
  #blocked: string | undefined;
  #closed = false;
  #attempts = 0;
  #timer: NodeJS.Timeout | undefined;
  #ended = Promise.resolve();

  constructor(settings: RabbitSettings, options: LinkOptions) {
    this.#settings = settings;
    this.#options = { random: Math.random, log: () => {}, ...options };
    this.#dial();
  }

  /** Why there is no connection; `undefined`: there is one, or the first attempt is under way. */
  get failure(): LevadaError | undefined {
    return this.#connection ? undefined : this.#failure;
  }

  get blocked(): string | undefined {
    return this.#blocked;
  }

  get connection(): ChannelModel | undefined {
    return this.#connection;
  }

  /** As the broker says. */
  get version(): string | undefined {
    const { version } = (this.#connection?.connection.serverProperties ?? {}) as { version?: unknown };
    return typeof version === 'string' ? version : undefined;
  }

  /** @returns a function that ends it. `up` is called at once when there is a connection. */
  listen(listener: LinkListener): () => void {
    this.#listeners.add(listener);
    if (this.#connection) listener.up?.(this.#connection);
    return () => void this.#listeners.delete(listener);
  }

  /** The connection, as soon as there is one. @throws LevadaError BrokerUnavailable, BrokerRefused after `timeoutMs` */
  async ready(timeoutMs: number): Promise<ChannelModel> {
    if (this.#connection) return this.#connection;
    this.#assertOpen();
    const { promise, resolve, reject } = Promise.withResolvers<ChannelModel>();
    const late = () =>
      reject(this.#failure ?? new LevadaError('BrokerUnavailable', { detail: `${this.#shown} does not answer` }));
    const timer = setTimeout(late, timeoutMs);
    const end = this.listen({ up: resolve, down: (error) => this.#closed && reject(error) });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      end();
    }
  }

  /**
   * Runs `work` on a channel of its own: what goes wrong on it touches nobody else.
   *
   * @param what the thing that it is about, for errors
   * @throws LevadaError BrokerUnavailable, BrokerRefused, BrokerForbidden, BrokerFull, QueueNotFound, QueueConflict
   */
  async use<T>(what: string, work: (channel: ConfirmChannel) => Promise<T>, timeoutMs = 5_000): Promise<T> {
    const connection = await this.ready(timeoutMs);
    // From then on the broker reads nothing of it.
    const blocked = Promise.withResolvers<never>();
    const end = this.listen({ blocked: (why) => blocked.reject(notTaken(why)) });
    let channel: ConfirmChannel | undefined;
    let closedBy: unknown;
    try {
      if (this.#blocked !== undefined) throw notTaken(this.#blocked);
      channel = await connection.createConfirmChannel();
      channel.on('error', (error: unknown) => {
        closedBy = error;
      });
      return await Promise.race([work(channel), blocked.promise]);
    } catch (error) {
      throw channelFailure(closedBy ?? error, what);
    } finally {
      end();
      blocked.promise.catch(() => {}); // nobody waits for it any more
      if (channel) await close(channel);
    }
  }

  /** Makes the connection anew: it does not do what it should. */
  reset(why: string): void {
    this.#destroy(new Error(why));
  }

  async close(): Promise<void> {
    if (this.#closed) return await this.#ended;
    this.#closed = true;
    clearTimeout(this.#timer);
    const connection = this.#connection;
    this.#ended = (async () => {
      if (!connection) return this.#tellDown(new LevadaError('BrokerUnavailable', { detail: 'it is closed' }));
      // A broker that is not there any more answers nothing.
      const hung = setTimeout(() => this.#destroy(new Error('it does not answer')), 2_000);
      await close(connection);
      clearTimeout(hung);
    })();
    await this.#ended;
  }

  get #shown(): string {
    return shownBroker(this.#settings);
  }

  #assertOpen(): void {
    if (this.#closed) throw new LevadaError('BrokerUnavailable', { detail: 'it is closed' });
  }

  #dial(): void {
    this.#connect().then(
      (connection) => this.#taken(connection),
      (error: unknown) => this.#failed(connectionFailure(error, this.#shown)),
    );
  }

  #connect(): Promise<ChannelModel> {
    const {
      host: hostname,
      port,
      tls,
      serverName = hostname,
      vhost,
      username,
      password,
      ca,
      cert,
      key,
    } = this.#settings;
    const where = {
      protocol: tls ? 'amqps' : 'amqp',
      hostname,
      port,
      // The client decodes it.
      vhost: encodeURIComponent(vhost),
      username,
      password,
      heartbeat,
    };
    return connect(where, {
      timeout: connectTimeoutMs,
      noDelay: true,
      clientProperties: { connection_name: this.#options.name },
      ...(tls && {
        // Addresses are no names (RFC 6066).
        ...(isIP(serverName) === 0 && { servername: serverName }),
        ca: ca === undefined ? undefined : [ca],
        cert,
        key,
      }),
    });
  }

  #taken(connection: ChannelModel): void {
    if (this.#closed) return void close(connection);
    this.#attempts = 0;
    if (this.#failure) this.#options.log(`connected to ${this.#shown} again`);
    this.#failure = undefined;
    this.#connection = connection;
    let reason: unknown;
    connection.on('error', (error: unknown) => {
      reason = error;
    });
    // What a listener throws would otherwise end the connection.
    connection.on('handler-error', (error: unknown) =>
      this.#options.log(`an error inside Levada: ${messageOf(error)}`),
    );
    connection.on('blocked', (why: string) => {
      this.#blocked = why;
      for (const listener of this.#listeners) listener.blocked?.(why);
    });
    connection.on('unblocked', () => {
      this.#blocked = undefined;
      for (const listener of this.#listeners) listener.unblocked?.();
    });
    connection.on('close', (error: unknown) => {
      const detail = messageOf(reason ?? error ?? 'the connection was closed');
      this.#connection = undefined;
      this.#blocked = undefined;
      this.#failed(new LevadaError('BrokerUnavailable', { detail: `${this.#shown}: ${detail}` }));
    });
    this.#watch(connection).catch(() => {}); // it was lost: said by `close`
    for (const listener of this.#listeners) listener.up?.(connection);
  }

  #failed(error: LevadaError): void {
    const first = this.#failure === undefined;
    this.#failure = error;
    this.#tellDown(error);
    if (this.#closed) return;
    if (first) this.#options.log(error.message);
    const longest = Math.min(longestRetryMs, firstRetryMs * 2 ** this.#attempts++);
    this.#timer = setTimeout(() => this.#dial(), longest * (0.5 + this.#options.random() / 2));
  }

  #tellDown(error: LevadaError): void {
    for (const listener of [...this.#listeners]) listener.down?.(error);
  }

  /** Asks whether the broker is there, until the connection ends. */
  async #watch(connection: ChannelModel): Promise<void> {
    // It may have gone silent before the first answer.
    const channel = await this.#answered(connection.createChannel());
    channel.on('error', () => {});
    while (this.#connection === connection) {
      await new Promise((resolve) => setTimeout(resolve, pingMs).unref());
      // A broker that blocks the connection does not read what is asked.
      if (this.#connection !== connection || this.#blocked !== undefined) continue;
      await this.#answered(channel.prefetch(1));
    }
  }

  /** An answer of the broker; without one the connection ends, and `answer` with it. */
  async #answered<T>(answer: Promise<T>): Promise<T> {
    const cancel = this.#alarm(() => {
      if (this.#blocked === undefined) this.#destroy(new Error(`no answer within ${pingTimeoutMs / 1_000} s`));
    });
    try {
      return await answer;
    } finally {
      cancel();
    }
  }

  /** Calls `run` when the time is over and this process was there to see an answer. */
  #alarm(run: () => void): () => void {
    let timer: NodeJS.Timeout;
    const arm = (ms: number) => {
      const due = performance.now() + ms;
      timer = setTimeout(() => (performance.now() - due > busyMs ? arm(pingTimeoutMs / 5) : run()), ms);
    };
    arm(pingTimeoutMs);
    return () => clearTimeout(timer);
  }

  /** Ends the socket: closing politely would wait for the broker. */
  #destroy(error: Error): void {
    const { stream } = (this.#connection?.connection ?? {}) as unknown as { stream?: { destroy(error: Error): void } };
    stream?.destroy(error);
  }
}

/** One connection asks and makes; another one publishes, which a broker that is short of memory or disk stops. */
export interface Links {
  readonly consuming: Link;
  readonly publishing: Link;
}
