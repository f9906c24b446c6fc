/** Signs routing tables. Pods have the public keys only (runtime/inference/forward/tables.ts). */
import { createHash, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { routingTable } from '../api/contract/routing-table.schema.ts';
import { canonicalJson, type RoutingTable, type SignedRoutingTable } from '../api/contract/routing-table.ts';

/** The public half of an Ed25519 key, as a model server's configuration holds it. */
export const publicKeyText = (privateKey: KeyObject): string =>
  createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).toString('base64');

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
