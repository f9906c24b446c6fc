import { isUtf8 } from 'node:buffer';
import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { reasonOf } from './reason.ts';

/** Bytes: a Secret of Kubernetes holds no more. */
const maxBytes = 1024 * 1024;

/**
 * Reads a file that holds one value of a Secret, as it is.
 *
 * @param path relative to `folder`, or absolute
 * @returns the absolute path, and the text or else why there is none
 */
export function readSecretFile(path: string, folder: string): { file: string; text?: string; failure?: string } {
  const file = resolve(folder, path);
  try {
    const stats = statSync(file);
    // A pipe would be waited for.
    if (!stats.isFile()) return { file, failure: 'not a regular file' };
    if (stats.size > maxBytes) return { file, failure: `${stats.size} bytes; at most ${maxBytes} are read` };
    const bytes = readFileSync(file);
    if (!isUtf8(bytes)) return { file, failure: 'not UTF-8' };
    return { file, text: bytes.toString('utf8') };
  } catch (error) {
    return { file, failure: reasonOf(error) };
  }
}
