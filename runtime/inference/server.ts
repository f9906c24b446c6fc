import { createServer, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, type ListenOptions, Server as NetServer, type Socket } from 'node:net';
import { requestHandler } from './routes.ts';
import type { ModelService } from './service.ts';

export interface HttpTimeouts {
  /** Milliseconds for all headers, for the whole request, and between two requests of one connection. */
  readonly headersMs: number;
  readonly requestMs: number;
  readonly keepAliveMs: number;
  /** A connection ends with the first answer after about this time: callers come to pods that are new meanwhile. */
  readonly ageMs: number;
}

export const defaultTimeouts: HttpTimeouts = {
  headersMs: 10_000,
  requestMs: 30_000,
  keepAliveMs: 5_000,
  ageMs: 300_000,
};

/** A listening socket that was made elsewhere: `levada up` makes them and hands them over. */
export type SocketHandle = object;

/** The serving port of a process: any number of listening sockets, which come and go while it runs. */
export class ServingPort {
  readonly #service: ModelService;
  readonly #timeouts: HttpTimeouts;
  readonly #servers = new Map<string, Server>();
  /** Servers that accept no more; each connection of theirs ends with its next answer. */
  readonly #closing = new Set<Server>();
  readonly #ends: Promise<void>[] = [];
  #retired = false;

  constructor(service: ModelService, timeouts: HttpTimeouts) {
    this.#service = service;
    this.#timeouts = timeouts;
  }

  /** Resolves with the port, once connections are accepted. @throws the error of `listen` */
  listen(name: string, target: ListenOptions | SocketHandle): Promise<number> {
    const { headersMs, requestMs, keepAliveMs, ageMs } = this.#timeouts;
    // Slow clients are found by a sweep, whose period bounds how late they are found.
    const connectionsCheckingInterval = Math.min(1_000, headersMs);
    const server: Server = createServer({
      headersTimeout: headersMs,
      requestTimeout: requestMs,
      keepAliveTimeout: keepAliveMs,
      connectionsCheckingInterval,
    });
    const endsAt = new WeakMap<Socket, number>();
    // Not all at once: those that come together, after a restart, would leave together.
    server.on('connection', (socket) => endsAt.set(socket, performance.now() + ageMs * (0.9 + 0.2 * Math.random())));
    const isOld = (socket: Socket) => performance.now() > (endsAt.get(socket) ?? 0);
    const closing = ({ socket }: IncomingMessage) => this.#retired || this.#closing.has(server) || isOld(socket);
    server.on('request', requestHandler(this.#service, closing));
    server.on('clientError', answerClientError);
    this.#servers.set(name, server);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(target as ListenOptions, () => {
        server.off('error', reject);
        resolve((server.address() as AddressInfo | null)?.port ?? 0);
      });
    });
  }

  /**
   * Stops accepting on one socket; resolves when its last connection has ended. Idle connections are not cut, because a
   * request may be on its way: they end with their next answer, or when the keep-alive time that clients were told is over.
   */
  async release(name: string): Promise<void> {
    const server = this.#servers.get(name);
    if (!server) return;
    this.#servers.delete(name);
    this.#closing.add(server);
    // Not the HTTP server's own close(), which cuts idle connections.
    const ended = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
    this.#ends.push(ended);
    await ended;
    server.close(); // again, for the timer that looks for slow clients
    this.#closing.delete(server);
  }

  /** Each connection ends with its next answer, so that callers come to another process; new ones are accepted still. */
  retire(): void {
    this.#retired = true;
  }

  /** Connections go on again, after {@link retire}. */
  serve(): void {
    this.#retired = false;
  }

  /** Accepts nothing more, answers what has come, and resolves when all connections are closed. */
  async drain(): Promise<void> {
    this.retire();
    for (const name of [...this.#servers.keys()]) void this.release(name);
    await Promise.all(this.#ends);
  }

  /** Cuts all connections. */
  destroy(): void {
    for (const server of [...this.#servers.values(), ...this.#closing]) server.closeAllConnections();
  }
}

/** Milliseconds that a client has to take what it is told when its connection is ended. */
const lingerMs = 1_000;

/** What Node's parser refuses: answered in the shape that it has before any protocol is known. */
function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const status =
    error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? '408 Request Timeout'
      : error.code === 'HPE_HEADER_OVERFLOW'
        ? '431 Request Header Fields Too Large'
        : '400 Bad Request';
  const body = JSON.stringify({ error: status.slice(4) });
  // A client that neither reads nor closes must not keep the socket.
  const timer = setTimeout(() => socket.destroy(), lingerMs).unref();
  socket.once('close', () => clearTimeout(timer));
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
  );
}
