import { mkdir, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

export interface Making {
  /** What is made, as a path: a lock of its name stands beside it. */
  readonly path: string;
  readonly isThere: () => boolean;
  readonly make: () => Promise<void>;
  /** Milliseconds after which whoever is making it has died. */
  readonly longestMs: number;
}

/** Makes what is missing, once, whichever processes ask at the same time. @throws what `make` does */
export async function once({ path, isThere, make, longestMs }: Making): Promise<void> {
  const lock = `${path}.lock`;
  await mkdir(dirname(path), { recursive: true });
  while (!isThere()) {
    try {
      await mkdir(lock);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const { mtimeMs } = await stat(lock).catch(() => ({ mtimeMs: Date.now() }));
      if (Date.now() - mtimeMs > longestMs) await rm(lock, { recursive: true, force: true });
      await pause(500);
      continue;
    }
    try {
      if (!isThere()) await make();
    } finally {
      await rm(lock, { recursive: true, force: true });
    }
  }
}
