import { createPrivateKey, type KeyObject } from 'node:crypto';
import { errorCodeOf, LevadaError } from '../api/errors.ts';
import { type LiveSecret, secrets } from './drivers/kubernetes/types.ts';
import { newSigningKey, type Signer, signerOf } from './drivers/routing/signing.ts';
import type { KubeClient } from './engine/client.ts';
import { pathOf } from './engine/objects.ts';

/** Keys of the Secret: the private key as PKCS #8, and public keys of before (a JSON list), which pods still take. */
const keyField = 'key.pem';
const previousField = 'previous.json';

/**
 * The key that signs routing tables: in a Secret beside the operator's Lease, made when it is first needed, so that all who
 * may lead have the same. Asked for once.
 *
 * @returns rejects with LevadaError Cluster…, SecretInvalid; asked again, it is tried again
 */
export function keptSigner(
  client: KubeClient,
  lease: { readonly namespace: string; readonly name: string },
): () => Promise<Signer> {
  const place = { namespace: lease.namespace, name: `${lease.name}-routing-key` };
  let kept: Promise<Signer> | undefined;
  return () => {
    kept ??= load(client, place).catch((error: unknown) => {
      kept = undefined;
      throw error;
    });
    return kept;
  };
}

interface Place {
  readonly namespace: string;
  readonly name: string;
}

async function load(client: KubeClient, place: Place): Promise<Signer> {
  try {
    return read(await client.get<LiveSecret>(secrets, place), place);
  } catch (error) {
    if (errorCodeOf(error) !== 'ClusterNotFound') throw error;
  }
  const key = newSigningKey();
  try {
    await client.call({
      method: 'POST',
      path: pathOf(secrets, { namespace: place.namespace }),
      body: {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { ...place, labels: { 'app.kubernetes.io/part-of': 'levada' } },
        stringData: { [keyField]: key.export({ type: 'pkcs8', format: 'pem' }) },
      },
    });
    return signerOf(key);
  } catch (error) {
    // Somebody else was quicker.
    if (errorCodeOf(error) !== 'ClusterConflict') throw error;
    return read(await client.get<LiveSecret>(secrets, place), place);
  }
}

function read({ data = {} }: LiveSecret, { namespace, name }: Place): Signer {
  const text = (field: string) => Buffer.from(data[field] ?? '', 'base64').toString();
  let key: KeyObject;
  let previous: string[];
  try {
    key = createPrivateKey(text(keyField));
    if (key.asymmetricKeyType !== 'ed25519') throw new Error('not an Ed25519 key');
    previous = data[previousField] === undefined ? [] : (JSON.parse(text(previousField)) as string[]);
  } catch {
    // What is in it is not repeated.
    const detail = `${keyField} is no Ed25519 key in PKCS #8; delete it, and a new one is made`;
    throw new LevadaError('SecretInvalid', { found: `Secret ${namespace}/${name}`, detail });
  }
  return signerOf(key, previous);
}
