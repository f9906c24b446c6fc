import { stat } from 'node:fs/promises';
import { artifactPath, readArtifact } from '../../../runtime/inference/artifact.ts';

/** Identifies the content of files without reading them: changes when one is written, replaced or removed. */
export async function signature(paths: readonly string[]): Promise<string> {
  const parts = await Promise.all(
    paths.map(async (path) => {
      try {
        const { mtimeMs, size, ino } = await stat(await artifactPath(path));
        return `${mtimeMs}:${size}:${ino}`;
      } catch {
        return 'none';
      }
    }),
  );
  return parts.join(' ');
}

/** Hex SHA-256 of the model file at `path`; `none` where none can be read. */
export async function digestNow(path: string): Promise<string> {
  try {
    return (await readArtifact(path)).sha256;
  } catch {
    return 'none';
  }
}
