import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import type { RoutingReport, RoutingStatus } from '../api/contract/routing-table.ts';
import { errorCodeOf, errors, LevadaError, messageOf } from '../api/errors.ts';

export interface AdminOptions {
  readonly host: string;
  readonly port: number;
  readonly metrics: { readonly registry: Registry };
  /** Asked for each request. What it holds is what /status says. */
  readonly status: () => AdminStatus;
  /** Takes signed routing tables. Absent: there are none here. */
  readonly tables?: { accept(body: string): Promise<RoutingStatus> } | undefined;
  /** What became of the requests that were shared out here. Absent: none are. */
  readonly routing?: (() => RoutingReport) | undefined;
}

export interface AdminStatus {
  readonly state: 'Loading' | 'Loaded' | 'Failed';
  readonly failure?: { readonly code: string; readonly message: string };
  readonly draining: boolean;
  /** Why this process cannot go on, and is to be started anew. Absent: it can. */
  readonly hung?: string;
}

/**
 * The admin port: /metrics for Prometheus, /livez and /readyz for the kubelet, /status, GET and PUT /routing for the operator.
 * Resolves with the port.
 */
export function startAdmin({ host, port, metrics, status, tables, routing }: AdminOptions): Promise<number> {
  const answers: Record<string, () => Promise<[status: number, type: string, body: string]>> = {
    '/metrics': async () => [200, metrics.registry.contentType, await metrics.registry.metrics()],
    '/livez': async () => {
      const { hung } = status();
      return hung === undefined ? [200, 'text/plain', 'ok\n'] : [503, 'text/plain', `${hung}\n`];
    },
    '/readyz': async () => {
      const { state, failure, draining } = status();
      if (state === 'Loaded' && !draining) return [200, 'text/plain', 'ok\n'];
      return [503, 'text/plain', `${draining ? 'draining' : (failure?.message ?? state)}\n`];
    },
    '/status': async () => [200, 'application/json', `${JSON.stringify(status())}\n`],
    ...(routing && { '/routing': async () => [200, 'application/json', `${JSON.stringify(routing())}\n`] }),
  };
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (req, res) => {
    const path = req.url?.split('?', 1)[0] ?? '';
    if (path === '/routing' && req.method === 'PUT') {
      takeTable(req, tables).then(({ code, error, body }) => {
        const headers = { 'content-type': 'application/json', ...(error && { 'x-levada-error': error }) };
        res.writeHead(code, headers).end(`${JSON.stringify(body)}\n`);
      }, ignore);
      return;
    }
    req.resume();
    const answer = Object.hasOwn(answers, path) ? answers[path] : undefined;
    if (!answer || (req.method !== 'GET' && req.method !== 'HEAD')) {
      res.writeHead(answer ? 405 : 404, { 'content-type': 'text/plain' }).end(`${Object.keys(answers).join('\n')}\n`);
      return;
    }
    answer().then(
      ([code, type, body]) => res.writeHead(code, { 'content-type': type }).end(body),
      (error: unknown) => res.writeHead(500, { 'content-type': 'text/plain' }).end(`${messageOf(error)}\n`),
    );
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      server.unref();
      resolve((server.address() as AddressInfo).port);
    });
  });
}

/** The client has gone. */
const ignore = () => {};

/** Bytes of a signed table at most: thousands of rules. */
const maxTableBytes = 2 ** 20;

/** The answer to PUT /routing: the generation that is in force. Rejects when the client has gone. */
async function takeTable(
  req: IncomingMessage,
  tables: AdminOptions['tables'],
): Promise<{ code: number; error?: string; body: object }> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of req as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= maxTableBytes) chunks.push(chunk); // the rest is read, so that the answer is, too
  }
  try {
    if (!tables) throw new LevadaError('RoutingUnsupported');
    if (size > maxTableBytes) throw new LevadaError('BodyTooLarge', { found: size, limit: maxTableBytes });
    return { code: 200, body: await tables.accept(Buffer.concat(chunks).toString('utf8')) };
  } catch (error) {
    const code = errorCodeOf(error) ?? 'InternalError';
    return { code: errors[code].http ?? 500, error: code, body: { error: messageOf(error) } };
  }
}
