/** Signs routing tables. Pods have the public keys only (runtime/inference/forward/tables.ts). */
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { routingTable } from '../../../api/contract/routing-table.schema.ts';
import { canonicalJson, type RoutingTable, type SignedRoutingTable } from '../../../api/contract/routing-table.ts';

/** Who signs, and whose signatures pods are to take. */
export interface Signer {
  sign(table: RoutingTable): SignedRoutingTable;
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
  publicKeys: [publicKeyText(privateKey), ...previous],
});

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
