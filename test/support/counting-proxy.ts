import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { Agent, type Dispatcher, request } from 'undici';

/**
 * In front of an API server, in plain HTTP: counts what is written, but for leases and events, and tells of each write
 * when the API server has it and before who wrote knows.
 */
export class CountingProxy implements AsyncDisposable {
  writes = 0;
  /** `METHOD path` of each write. */
  readonly seen: string[] = [];
  written: (count: number) => void = () => {};
  readonly #upstream: string;
  readonly #agent: Agent;
  readonly #server: Server;

  static async start({ server, ca }: { readonly server: string; readonly ca: string }): Promise<CountingProxy> {
    const proxy = new CountingProxy(server, ca);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  private constructor(upstream: string, ca: string) {
    this.#upstream = upstream;
    this.#agent = new Agent({ connect: { ca }, headersTimeout: 0, bodyTimeout: 0 });
    this.#server = createServer((req, res) => {
      // Whoever asked has gone, or the API server has: both see the end of the connection.
      this.#pass(req, res).catch(() => res.destroy());
    });
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  reset(): void {
    this.writes = 0;
    this.seen.length = 0;
    this.written = () => {};
  }

  async #pass(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/', headers } = req;
    const gone = new AbortController();
    res.on('close', () => gone.abort());
    const answer = await request(this.#upstream + url, {
      method: method as Dispatcher.HttpMethod,
      headers: passed(headers),
      dispatcher: this.#agent,
      signal: gone.signal,
      ...(method !== 'GET' && { body: req }),
    });
    const [path = ''] = url.split('?');
    if (method !== 'GET' && !/\/(leases|events)(\/|$)/.test(path)) {
      this.writes++;
      this.seen.push(`${method} ${path}`);
      this.written(this.writes);
    }
    res.writeHead(answer.statusCode, passed(answer.headers));
    res.flushHeaders();
    await pipeline(answer.body, res);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await this.#agent.destroy();
  }
}

/** Headers of a connection stay on it. */
function passed({ host: _, connection: __, 'transfer-encoding': ___, ...headers }: IncomingHttpHeaders) {
  return headers;
}
