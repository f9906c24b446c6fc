/** Real servers on loopback ports, and events, for tests of steps. */
import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { LevadaError } from '../../api/errors.ts';
import type { Event, Message } from '../events/message.ts';
import type { StepContext, StepEnvironment } from './step.ts';

export const environment: StepEnvironment = { resolve: (url) => url };

export function messageOf(overrides: Partial<Message> = {}): Message {
  return {
    id: 'e-1',
    source: '/shop/orders/api',
    type: 'order.created',
    time: '2026-11-23T10:00:00Z',
    datacontenttype: 'application/json',
    extensions: {},
    data: new Uint8Array(),
    delivery: { attempt: 1 },
    ...overrides,
  };
}

export const eventOf = (data: unknown, overrides: Partial<Message> = {}): Event => ({
  message: messageOf({ data: Buffer.from(JSON.stringify(data)), ...overrides }),
  data,
});

export function contextOf(overrides: Partial<StepContext> = {}): StepContext {
  return {
    attempt: 1,
    idempotencyKey: 'inventory:/shop/orders/api#e-1',
    scored: () => {},
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    emits: ['stock.reserved'],
    signal: new AbortController().signal,
    ...overrides,
  };
}

/** What a run rejects with: a LevadaError, or else the test fails. */
export async function failureOf(run: Promise<unknown>): Promise<LevadaError> {
  const error = await run.then(
    (value) => new Error(`it resolved with ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  );
  if (error instanceof LevadaError) return error;
  throw error;
}

export interface TestServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Open connections. */
  readonly sockets: ReadonlySet<Socket>;
  /** Connections so far. */
  readonly connections: () => number;
}

export interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

export interface HandlerServer extends TestServer {
  readonly requests: readonly Received[];
}

/** A handler that has read the whole request before it answers. */
export async function handlerServer(answer: (res: ServerResponse, received: Received) => void): Promise<HandlerServer> {
  const requests: Received[] = [];
  const server = createHttpServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('error', () => {}); // the client went away: what it saw is what the test looks at
    req.on('end', () => {
      const { method = '', url = '', headers } = req;
      const received = { method, url, headers, body: Buffer.concat(chunks).toString('utf8') };
      requests.push(received);
      answer(res, received);
    });
  });
  return { ...(await listening(server)), requests };
}

/** A server that may break every rule. `serve` gets each connection. */
export async function rawServer(serve: (socket: Socket, index: number) => void): Promise<TestServer> {
  let index = 0;
  return listening(createServer((socket) => serve(socket, index++)));
}

/** Text that answers each request that `socket` brings, once its body is there: requests of these tests are small. */
export function answerWith(socket: Socket, ...pieces: readonly string[]): void {
  socket.once('data', () => {
    for (const piece of pieces) socket.write(piece, 'latin1');
  });
}

async function listening(server: Server): Promise<TestServer> {
  const sockets = new Set<Socket>();
  let count = 0;
  server.on('connection', (socket: Socket) => {
    count++;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    sockets,
    connections: () => count,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
