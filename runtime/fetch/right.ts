import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';

/** Hex digests that a file has to have. */
interface Digests {
  readonly sha256?: string | undefined;
  readonly resolvedSha256?: string | undefined;
}

/** Whether a whole file is at `path` that is allowed there: files come there only as a whole. */
export async function isRight(path: string, { sha256, resolvedSha256 }: Digests): Promise<boolean> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  } catch {
    return false; // it is fetched
  }
  const found = hash.digest('hex');
  return [sha256, resolvedSha256].every((wanted) => wanted === undefined || wanted === found);
}
