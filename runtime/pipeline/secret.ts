import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LevadaError, messageOf } from '../../api/errors.ts';

/**
 * A Secret as the kubelet mounts it: a file for each key. It is read once: when it changes, the operator makes new pods.
 *
 * @param name `namespace/name`, for errors
 * @throws LevadaError SecretNotFound, SecretInvalid
 */
export async function readSecret(folder: string, name: string): Promise<Record<string, string>> {
  try {
    // Names with two dots are the kubelet's own: it changes all files at once, by one link.
    const keys = (await readdir(folder)).filter((key) => !key.startsWith('..'));
    return Object.fromEntries(
      await Promise.all(keys.map(async (key) => [key, await readFile(join(folder, key), 'utf8')] as const)),
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new LevadaError('SecretNotFound', { found: name, allowed: `one that is mounted at ${folder}` });
    }
    throw new LevadaError('SecretInvalid', {
      found: `Secret ${name}`,
      detail: `it cannot be read: ${messageOf(error)}`,
    });
  }
}
