import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { messageOf } from '../api/errors.ts';

export interface AdminOptions {
  readonly host: string;
  readonly port: number;
  readonly metrics: { readonly registry: Registry };
  /** Asked for each request. What it holds is what /status says. */
  readonly status: () => AdminStatus;
}

export interface AdminStatus {
  readonly state: 'Loading' | 'Loaded' | 'Failed';
  readonly failure?: { readonly code: string; readonly message: string };
  readonly draining: boolean;
}

/** The admin port: /metrics for Prometheus, /livez and /readyz for the kubelet, /status for the operator. Resolves with the port. */
export function startAdmin({ host, port, metrics, status }: AdminOptions): Promise<number> {
  const answers: Record<string, () => Promise<[status: number, type: string, body: string]>> = {
    '/metrics': async () => [200, metrics.registry.contentType, await metrics.registry.metrics()],
    '/livez': async () => [200, 'text/plain', 'ok\n'],
    '/readyz': async () => {
      const { state, failure, draining } = status();
      if (state === 'Loaded' && !draining) return [200, 'text/plain', 'ok\n'];
      return [503, 'text/plain', `${draining ? 'draining' : (failure?.message ?? state)}\n`];
    },
    '/status': async () => [200, 'application/json', `${JSON.stringify(status())}\n`],
  };
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (req, res) => {
    req.resume();
    const path = req.url?.split('?', 1)[0] ?? '';
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
