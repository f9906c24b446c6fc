/** Signs routing tables. Pods have the public keys only (runtime/inference/forward/tables.ts). */
import {
  createHash,
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  sign,
} from 'node:crypto';
import { routingTable } from '../../../api/contract/routing-table.schema.ts';
import { canonicalJson, type RoutingTable, type SignedRoutingTable } from '../../../api/contract/routing-table.ts';

/** Who signs, and whose signatures pods are to take. */
export interface Signer {
  sign(table: RoutingTable): SignedRoutingTable;
  /** By which it is known whether a secret is the same; nobody who lacks the key can try what it may be. 32 hex digits. */
  mac(secret: string): string;
  /** SPKI form, base64; the current one first. */
  readonly publicKeys: readonly string[];
}

/** The public half of an Ed25519 key, as pods read it. */
export const publicKeyText = (privateKey: KeyObject): string =>
  createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).toString('base64');

/** A key of its own, for a run that ends with its pods. */
export const newSigningKey = (): KeyObject => generateKeyPairSync('ed25519').privateKey;

/** @param previous public keys of before: what they have signed is still taken */
export const signerOf = (privateKey: KeyObject, previous: readonly string[] = []): Signer => ({
  sign: (table) => signRoutingTable(table, privateKey),
  mac: (secret) => createHmac('sha256', macKeyOf(privateKey)).update(secret).digest('hex').slice(0, 32),
  publicKeys: [publicKeyText(privateKey), ...previous],
});

/** What signs does nothing else. */
const macKeyOf = (privateKey: KeyObject): Uint8Array =>
  new Uint8Array(hkdfSync('sha256', privateKey.export({ type: 'pkcs8', format: 'der' }), '', 'levada.dev/mac', 32));

/**
 * @param privateKey Ed25519
 * @throws ZodError: the table is none that a pod could obey, which is a bug of who has made it
 */
export function signRoutingTable(table: RoutingTable, privateKey: KeyObject): SignedRoutingTable {
  routingTable.parse(table);
  const publicKey = Buffer.from(publicKeyText(privateKey), 'base64');
  return {
    table,
    signature: sign(null, Buffer.from(canonicalJson(table)), privateKey).toString('base64'),
    keyId: createHash('sha256').update(publicKey).digest('hex').slice(0, 16),
  };
}
