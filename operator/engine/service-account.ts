import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent } from 'undici';
import type { Access } from './client.ts';

/** Where a kubelet mounts it. */
const mounted = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * The API server of the cluster that this process is a pod of, by its service account: `token` and `ca.crt` of the folder in
 * `LEVADA_SERVICE_ACCOUNT`, or of the one that a kubelet mounts. The client library does that too, and needs a hundred MiB for it.
 *
 * @returns `undefined`: it is not in a pod
 */
export function serviceAccountAccess(env: NodeJS.ProcessEnv): Access | undefined {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = env;
  const folder = env['LEVADA_SERVICE_ACCOUNT'] ?? mounted;
  let ca: string;
  try {
    ca = readFileSync(join(folder, 'ca.crt'), 'utf8');
  } catch {
    return undefined;
  }
  if (host === undefined || port === undefined) return undefined;
  return {
    server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`,
    async credentials() {
      const token = (await readFile(join(folder, 'token'), 'utf8')).trim();
      // As in kubeconfig.ts: one connection for each request that is under way.
      return {
        headers: { authorization: `Bearer ${token}` },
        dispatcher: new Agent({ allowH2: false, connect: { ca } }),
      };
    },
  };
}
