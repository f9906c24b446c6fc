import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  readonly path: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
}

export type Handler = (req: IncomingMessage, res: ServerResponse, count: number) => void;

/** A server of this machine that answers as a test says, and remembers what it was asked. */
export class Origin implements AsyncDisposable {
  readonly asked: Asked[] = [];
  readonly #server: Server;
  #handler: Handler;
  url = '';

  private constructor(handler: Handler) {
    this.#handler = handler;
    this.#server = createServer((req, res) => {
      const headers = Object.fromEntries(Object.entries(req.headers).map(([name, value]) => [name, String(value)]));
      this.asked.push({ path: req.url ?? '', headers });
      res.on('error', () => {});
      this.#handler(req, res, this.asked.length);
    });
  }

  static async start(handler: Handler): Promise<Origin> {
    const origin = new Origin(handler);
    await new Promise<void>((resolve) => origin.#server.listen(0, '127.0.0.1', resolve));
    origin.url = `http://127.0.0.1:${(origin.#server.address() as AddressInfo).port}`;
    return origin;
  }

  /** From now on. */
  answer(handler: Handler): void {
    this.#handler = handler;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Answers with a file as servers of files do: with ranges, for as long as If-Range says that it is the same. */
export function file(
  bytes: Uint8Array,
  etag: string | undefined,
  { cutAfter = Number.POSITIVE_INFINITY } = {},
): Handler {
  return (req, res) => {
    const { range, 'if-range': condition, 'if-none-match': known } = req.headers;
    const common = { ...(etag !== undefined && { etag }), 'accept-ranges': 'bytes' };
    if (known !== undefined && known === etag) {
      res.writeHead(304, common).end();
      return;
    }
    const from = range !== undefined && condition === etag ? Number(/^bytes=(\d+)-$/.exec(range)?.[1]) : 0;
    const rest = bytes.subarray(from);
    res.writeHead(from > 0 ? 206 : 200, {
      ...common,
      'content-length': rest.length,
      ...(from > 0 && { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
    });
    if (rest.length <= cutAfter) res.end(rest);
    else res.write(rest.subarray(0, cutAfter), () => setImmediate(() => res.destroy()));
  };
}
