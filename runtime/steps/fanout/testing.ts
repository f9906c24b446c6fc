/** For tests: servers on loopback, and fan-out steps that call them. */
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { afterEach } from 'vitest';
import type { StepAction } from '../../../api/contract/pipeline.ts';
import { Connections } from '../../net/connections.ts';
import type { Resolve } from '../../net/lookup.ts';
import { Resolver } from '../../net/lookup.ts';
import type { Emitted, StepContext, StepEnvironment } from '../step.ts';
import { FanoutShare, makeFanoutStep } from './fanout.ts';
import type { Result } from './result.ts';
import { Schedule } from './schedule.ts';

type FanoutAction = Extract<StepAction, { kind: 'fanout' }>;

export interface TestServer {
  readonly url: string;
  readonly port: number;
  /** Connections that are open. */
  readonly sockets: ReadonlySet<net.Socket>;
  /** Connections that there were in all. */
  connections(): number;
  close(): Promise<void>;
}

/** @param host IP address */
async function listening(server: net.Server, host: string): Promise<TestServer> {
  const sockets = new Set<net.Socket>();
  let count = 0;
  server.on('connection', (socket: net.Socket) => {
    count++;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${net.isIPv6(host) ? `[${host}]` : host}:${port}`,
    port,
    sockets,
    connections: () => count,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export const httpServer = (handle: http.RequestListener, host = '127.0.0.1'): Promise<TestServer> =>
  listening(http.createServer({ keepAliveTimeout: 60_000 }, handle), host);

/** @param talk what is done with each connection */
export const rawServer = (talk: (socket: net.Socket) => void): Promise<TestServer> =>
  listening(net.createServer(talk), '127.0.0.1');

export function json(response: http.ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

export interface TestStep {
  readonly share: FanoutShare;
  get(urls: unknown, context?: Partial<StepContext>): Promise<readonly Result[]>;
  run(data: unknown, context?: Partial<StepContext>): Promise<Emitted[]>;
  close(): Promise<void>;
}

export interface TestStepOptions {
  readonly action?: Partial<FanoutAction>;
  readonly environment?: StepEnvironment;
  readonly share?: FanoutShare;
}

/** Requests in all. */
const inAll = 1000;

export const shareOf = (options: { resolve?: Resolve; idleMs?: number; maxIdle?: number; inAll?: number } = {}) =>
  new FanoutShare({
    connections: new Connections({ ...options, ...(options.resolve && { resolver: new Resolver(options.resolve) }) }),
    schedule: new Schedule(options.inAll ?? inAll),
    random: () => 1,
  });

export function testStep({ action, environment, share = shareOf() }: TestStepOptions = {}): TestStep {
  const step = makeFanoutStep(share)(
    {
      kind: 'fanout',
      urls: '{% urls %}',
      ...{ concurrency: 100, perOrigin: 100, timeoutMs: 20_000, attempts: 1 },
      ...{ maxBytes: 1_048_576, maxRedirects: 10, privateNetworks: 'Allow' },
      ...action,
    },
    environment ?? { resolve: (url) => url },
  );
  const run = (data: unknown, context: Partial<StepContext> = {}) =>
    step.run(
      {
        message: {
          ...{ id: '1', source: '/shop/api', type: 'order.scored', extensions: {} },
          data: Buffer.from(JSON.stringify(data)),
          delivery: { attempt: 1 },
        },
        data,
      },
      {
        ...{ attempt: 1, idempotencyKey: 'enrich:1', emits: ['order.enriched'], scored: () => {} },
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        signal: new AbortController().signal,
        ...context,
      },
    );
  return {
    share,
    run,
    async get(urls, context) {
      const emitted = await run({ urls }, context);
      if (emitted.length !== 1) throw new Error(`${emitted.length} events`);
      return (emitted[0]?.data as { results: Result[] } | undefined)?.results ?? [];
    },
    close: () => step.close(),
  };
}

/** Servers and steps that end with the test that made them. To be called once a file. */
export function testScope() {
  const closing: Array<{ close(): Promise<void> }> = [];
  afterEach(() => Promise.all(closing.splice(0).map((one) => one.close())));
  const kept = <T extends { close(): Promise<void> }>(one: T): T => {
    closing.push(one);
    return one;
  };
  return {
    kept,
    serve: async (...args: Parameters<typeof httpServer>) => kept(await httpServer(...args)),
    talk: async (...args: Parameters<typeof rawServer>) => kept(await rawServer(...args)),
    step: (options?: TestStepOptions) => kept(testStep(options)),
  };
}
