import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';

/** A resource as other commands see it, with the addresses that only a local run has. */
export interface LocalResource {
  readonly resource: ModelDeployment;
  readonly services: Readonly<Record<string, string>>;
  /** Admin URLs (metrics, health) by unit. */
  readonly admin: Readonly<Record<string, readonly string[]>>;
}

export interface AdminServer {
  readonly url: string;
  readonly token: string;
  close(): void;
}

/** GET /resources for `levada get` and `levada status`, on a loopback port, for holders of the token. */
export function startAdmin(list: () => LocalResource[]): Promise<AdminServer> {
  const token = randomBytes(24).toString('base64url');
  const expected = Buffer.from(`Bearer ${token}`);
  const server = createServer((req, res) => {
    req.resume();
    const given = Buffer.from(req.headers.authorization ?? '');
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return res.writeHead(401).end();
    if (req.method !== 'GET' || req.url !== '/resources') return res.writeHead(404).end();
    return res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(list()));
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      resolve({ url: `http://127.0.0.1:${port}`, token, close: () => server.close() });
    });
  });
}
