import { brokerFinalizer } from '../../../api/contract/names.ts';
import { errorCodeOf } from '../../../api/errors.ts';
import type { KubeClient } from '../../engine/client.ts';
import { pathOf, type StoredObject } from '../../engine/objects.ts';
import type { Copy } from './copies.ts';

/**
 * Puts the finalizer on an object, or takes it off.
 *
 * @returns whether it was another way before
 * @throws LevadaError ClusterConflict: somebody else has changed the object meanwhile; Cluster…
 */
export async function setFinalizer<T extends StoredObject>(
  client: KubeClient,
  copy: Copy<T>,
  { metadata }: T,
  isOn: boolean,
): Promise<boolean> {
  const { namespace = '', name, resourceVersion, finalizers = [] } = metadata;
  if (finalizers.includes(brokerFinalizer) === isOn) return false;
  const others = finalizers.filter((one) => one !== brokerFinalizer);
  // Whole, by the version that was read: with a server-side apply somebody else could own it as well, and keep it.
  const body = { metadata: { resourceVersion, finalizers: isOn ? [...others, brokerFinalizer] : others } };
  try {
    const written = await client.call<T>({
      method: 'PATCH',
      path: pathOf(copy.type, { namespace, name }),
      query: { fieldManager: 'levada' },
      contentType: 'application/merge-patch+json',
      body,
    });
    if (isOn) await copy.landed(written);
  } catch (error) {
    if (isOn || errorCodeOf(error) !== 'ClusterNotFound') throw error;
  }
  return true;
}
