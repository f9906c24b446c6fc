import { type ModelServerConfig, modelServerConfig } from '../../api/contract/model-server.schema.ts';
import { containerPorts, routingName } from '../../api/contract/names.ts';
import { routingFiles, type SignedRoutingTable } from '../../api/contract/routing-table.ts';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import type { ModelVersionUnit } from '../plan/units.ts';
import { frontLabels, unitLabels } from './labels.ts';
import { type KubernetesObject, metadataOf } from './metadata.ts';

/** Key of the ConfigMap, and name of the file in the container. */
export const configFile = 'unit.json';

/**
 * The configuration of a unit. Its name holds a hash of its content: new content is a new object, so the Deployment that
 * names it rolls, and pods of the old generation keep what they were started with. The digest that a version was
 * resolved to stays out of the hash: it becomes known when the first pods have loaded, and must not restart them.
 */
export function configMapOf(owner: ModelDeployment, unit: ModelVersionUnit): KubernetesObject {
  const content = configText(unit);
  const { resolvedSha256: _, ...hashed } = unit.config;
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: metadataOf(
      owner,
      `${unit.name}-${contentHash(configText({ ...unit, config: hashed }))}`,
      unitLabels(unit),
    ),
    data: { [configFile]: content },
  };
}

/** The routing table of a model and the keys that may sign one: under a fixed name, since pods that run read it again. */
export const routingConfigMapOf = (
  owner: ModelDeployment,
  { signed, keys }: { readonly signed: SignedRoutingTable; readonly keys: readonly string[] },
): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: metadataOf(owner, routingName(owner.metadata.name), frontLabels(owner.metadata.name)),
  data: { [routingFiles.keys]: JSON.stringify(keys), [routingFiles.table]: JSON.stringify(signed) },
});

/** Parsing gives the keys one order, whatever order the plan built them in. */
function configText(unit: ModelVersionUnit): string {
  const listen: ModelServerConfig['listen'] = { host: '0.0.0.0', ...containerPorts };
  return `${JSON.stringify(modelServerConfig.parse({ ...unit.config, listen }), null, 2)}\n`;
}

/**
 * FNV-1a of 64 bits, as 16 hex digits. Kubernetes names ReplicaSets by the same hash of 32 bits. It tells the few
 * configurations of one unit apart; it guards nothing, so it need not withstand an attacker.
 */
export function contentHash(text: string): string {
  // The prime is 2^40 + 435: in halves of 32 bits all products stay below 2^53, and need no BigInt, which is slower by far.
  let [high, low] = [0xcbf29ce4, 0x84222325];
  for (const byte of new TextEncoder().encode(text)) {
    const mixed = (low ^ byte) >>> 0;
    const product = mixed * 435;
    high = (high * 435 + Math.floor(product / 2 ** 32) + ((mixed << 8) >>> 0)) >>> 0;
    low = product >>> 0;
  }
  return [high, low].map((half) => half.toString(16).padStart(8, '0')).join('');
}
