import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A user of the API server, with a token of its own. */
export interface ClusterUser {
  readonly name: string;
  readonly groups: readonly string[];
  readonly token: string;
}

/** A user with a token that nobody knows. */
export const user = (name: string, groups: readonly string[]): ClusterUser => ({
  name,
  groups,
  token: randomBytes(24).toString('hex'),
});

/** A kubeconfig, as an object: JSON is YAML. @param server where it leads, if not to the API server itself */
export function kubeconfigOf(
  { ca, server }: { readonly ca: string; readonly server: string },
  { name, token }: ClusterUser,
  through: string = server,
): object {
  const data = Buffer.from(ca).toString('base64');
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'levada',
        // The client library takes no other address without TLS.
        cluster: through.startsWith('http:')
          ? { server: through, 'insecure-skip-tls-verify': true }
          : { server: through, 'certificate-authority-data': data },
      },
    ],
    users: [{ name, user: { token } }],
    contexts: [{ name: 'levada', context: { cluster: 'levada', user: name } }],
    'current-context': 'levada',
  };
}

/** Who the API server knows (tokens.csv), and the keys of service accounts (accounts.key, accounts.pub). */
export async function writeCredentials(folder: string, users: readonly ClusterUser[]): Promise<void> {
  const tokens = users.map(
    ({ token, name, groups }) => `${token},${name},${name}${groups.length > 0 ? `,"${groups.join(',')}"` : ''}\n`,
  );
  await writeFile(join(folder, 'tokens.csv'), tokens.join(''), { mode: 0o600 });
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  await writeFile(join(folder, 'accounts.key'), privateKey, { mode: 0o600 });
  await writeFile(join(folder, 'accounts.pub'), publicKey);
}
