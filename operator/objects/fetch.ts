import { maxModelBytes } from '../../api/contract/model-server.ts';
import { fetchedFolder } from '../../api/contract/model-uri.ts';
import type { ModelVersionUnit } from '../plan/units.ts';
import { confined, runtimeMounts, unitFile, type Volume } from './workload.ts';

/** Name of the container that fetches a model before its server starts. */
export const fetchContainer = 'fetch';

const volume = 'fetched';
const secretVolume = 'source';
const secretFolder = '/etc/levada-source';

/**
 * What a pod needs to fetch its model. The Secret is mounted into the container that fetches, and into no other; that it
 * may be missing is said by that container, as a pod that waits for its volumes says nothing.
 */
export function fetchingOf(
  { config: { source }, resources }: ModelVersionUnit,
  image: string,
): { readonly containers: readonly object[]; readonly volumes: readonly Volume[] } {
  if (!source) return { containers: [], volumes: [] };
  const { secret } = source;
  const flags = [
    '--config',
    unitFile,
    ...(secret ? ['--secret', secretFolder] : []),
    '--report',
    '/dev/termination-log',
  ];
  const container = {
    name: fetchContainer,
    image,
    command: ['node', 'runtime/fetch/main.ts', ...flags],
    ...(resources && { resources }),
    securityContext: { ...confined, readOnlyRootFilesystem: true },
    volumeMounts: [
      ...runtimeMounts,
      { name: volume, mountPath: fetchedFolder },
      ...(secret ? [{ name: secretVolume, mountPath: secretFolder, readOnly: true }] : []),
    ],
  };
  // Room for the largest model, and a little.
  const emptyDir = { sizeLimit: `${Math.ceil(maxModelBytes / 2 ** 20) + 64}Mi` };
  return {
    containers: [container],
    volumes: [
      { name: volume, mountPath: fetchedFolder, source: { emptyDir } },
      ...(secret ? [{ name: secretVolume, source: { secret: { secretName: secret, optional: true } } }] : []),
    ],
  };
}
