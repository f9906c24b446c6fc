import { readdir, stat } from 'node:fs/promises';

/**
 * Calls `changed` when one of `files` (or the list of a folder among them) has become another. Looks instead of being
 * told: editors replace files, and some file systems tell nobody.
 *
 * @param changed must not reject
 * @returns stops watching
 */
export function watchFiles(files: () => readonly string[], everyMs: number, changed: () => Promise<void>): () => void {
  let acted: string | undefined;
  let seen: string | undefined;
  let stopped = false;
  let timer: NodeJS.Timeout;
  const look = async () => {
    const now = await signature(files());
    acted ??= now;
    // Twice the same: a file that is being written is not read half.
    if (now !== acted && now === seen && !stopped) {
      acted = now;
      await changed();
    }
    seen = now;
    if (!stopped) timer = setTimeout(() => void look(), everyMs);
  };
  void look();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

async function signature(files: readonly string[]): Promise<string> {
  const parts = files.map(async (file) => {
    try {
      const { mtimeMs, size, ino } = await stat(file);
      const names = (await readdir(file).catch(() => [])).filter((name) => /\.(ya?ml|json)$/.test(name));
      // A folder's own times change with every file in it, also with those that do not matter.
      return names.length > 0 ? `${file}:${names.join()}` : `${file}:${mtimeMs}:${size}:${ino}`;
    } catch {
      return `${file}:none`;
    }
  });
  return (await Promise.all(parts)).join('\n');
}
