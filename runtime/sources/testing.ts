/** A source on a loopback port, and what it has published. */
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import type { HttpSourceConfig } from '../../api/contract/pipeline.ts';
import type { Message } from '../events/message.ts';
import type { Outcome } from './app.ts';
import { HttpSource, type HttpSourceOptions } from './http-source.ts';

export function sourceConfig(changes: Partial<HttpSourceConfig> = {}): HttpSourceConfig {
  return {
    kind: 'http-source',
    pipeline: 'default/orders',
    name: 'api',
    emits: { type: 'order.created' },
    method: 'POST',
    path: '/orders/',
    assign: {},
    response: { status: 202 },
    ...changes,
  };
}

export interface Running extends AsyncDisposable {
  readonly source: HttpSource;
  readonly url: string;
  readonly published: Message[];
  readonly outcomes: Outcome[];
  /** What went to the log. */
  readonly logged: unknown[];
}

export async function run(
  config: Partial<HttpSourceConfig> = {},
  options: Partial<HttpSourceOptions> = {},
): Promise<Running> {
  const published: Message[] = [];
  const outcomes: Outcome[] = [];
  const logged: unknown[] = [];
  const source = await HttpSource.start(sourceConfig(config), {
    host: '127.0.0.1',
    port: 0,
    publish: async (_pipeline, messages) => {
      published.push(...messages);
    },
    now: Date.now,
    random: randomBytes,
    log: { error: (entry: unknown) => logged.push(entry), warn: (entry: unknown) => logged.push(entry) },
    observe: (outcome) => outcomes.push(outcome),
    ...options,
  });
  const url = `http://127.0.0.1:${source.port}/orders/`;
  return { source, url, published, outcomes, logged, [Symbol.asyncDispose]: () => source.drain(0) };
}

export interface Got {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look at bodies of any form
  readonly json: any;
}

export interface Sending {
  readonly method?: string;
  /** A list: the header comes that often. */
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly agent?: http.Agent | false;
}

/** Sends a body as JSON, unless `headers` say otherwise. Text and bytes go as they are. */
export function post(url: string, body: unknown, { method = 'POST', headers = {}, agent = false }: Sending = {}) {
  const bytes = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const all = { 'content-type': 'application/json', ...headers };
  return new Promise<Got>((resolve, reject) => {
    const req = http.request(url, { method, agent, headers: all }, (res) => {
      const chunks: Buffer[] = [];
      res.on('data', (chunk: Buffer) => chunks.push(chunk));
      res.on('error', reject);
      res.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const isJson = text !== '' && res.headers['content-type'] === 'application/json';
        resolve({
          status: res.statusCode ?? 0,
          headers: res.headers,
          text,
          json: isJson ? JSON.parse(text) : undefined,
        });
      });
    });
    req.on('error', reject);
    req.end(bytes);
  });
}

/** A gate for `publish`: whoever waits at it goes on when it is opened. */
export function gate(): { readonly waiting: () => number; wait(): Promise<void>; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  let waiting = 0;
  return {
    waiting: () => waiting,
    wait: () => {
      waiting++;
      return promise;
    },
    open: resolve,
  };
}
