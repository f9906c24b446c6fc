import { isAbsolute, join, posix, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as z from 'zod';
import { LevadaError, type Problem, problem } from '../../api/errors.ts';
import { formatPath } from '../../api/path.ts';
import { show } from '../../api/rules.ts';
import { checkSchema, type SourceOf } from './schema.ts';

/** Name of the file beside resources that says what only a laptop needs. */
export const localFileName = 'levada.local.yaml';

/** What the local files say together. */
export interface LocalSettings {
  /** Absolute path on this machine, by the absolute path inside a pod that it stands for. */
  readonly mounts: Readonly<Record<string, string>>;
}

/** `/`, or names between slashes; no `.` or `..`, and no slash at the end. */
const podPath = /^\/$|^(?:\/(?!\.{1,2}(?:\/|$))[^/]+)+$/;

export const localFile = z
  .strictObject({
    mounts: z
      .record(z.string().regex(podPath), z.string().min(1))
      .default({})
      .describe('Folder or file on this machine, relative to this file, by the path inside the pod.'),
  })
  .describe('What only a laptop needs.');

/** The settings of one local file, with the paths made absolute. */
export function parseLocal(
  value: unknown,
  folder: string,
  sourceOf: SourceOf,
): { local?: LocalSettings; problems: Problem[] } {
  const { data, problems } = checkSchema(localFile, value, sourceOf);
  if (!data) return { problems };
  const mounts = Object.entries(data.mounts).map(([pod, here]) => [pod, resolve(folder, here)] as const);
  return { local: { mounts: Object.fromEntries(mounts) }, problems };
}

/** `settings` and `more` together; a path that they put in two places is a problem of `more`. */
export function mergeLocal(
  settings: LocalSettings,
  more: LocalSettings,
): { local: LocalSettings; problems: Problem[] } {
  const problems = Object.entries(more.mounts).flatMap(([pod, here]) => {
    const other = settings.mounts[pod];
    if (other === undefined || other === here) return [];
    const detail = `${pod} is mounted from ${here} here, and from ${other} by another ${localFileName}`;
    return [problem('LocalFileInvalid', formatPath(['mounts', pod]), { detail })];
  });
  return { local: { mounts: { ...more.mounts, ...settings.mounts } }, problems };
}

/**
 * Where the file of a `file:` URI is on this machine: the mount with the most path segments in common decides. A path
 * that no mount covers is taken as it is.
 */
export function resolveMount(uri: string, local: LocalSettings): string {
  return mountedPath(pathInPod(uri), local);
}

/** As {@link resolveMount}, of a path that is absolute inside the pod. */
export function mountedPath(path: string, local: LocalSettings): string {
  const mount = Object.keys(local.mounts)
    .filter((pod) => pod === '/' || path === pod || path.startsWith(`${pod}/`))
    .reduce((longest, pod) => (pod.length > longest.length ? pod : longest), '');
  const here = local.mounts[mount];
  return here === undefined ? path : join(here, path.slice(mount === '/' ? 0 : mount.length));
}

/** The path of a `file:` URI: decoded, and without `.`, `..` and empty segments. */
function pathInPod(uri: string): string {
  const allowed = 'file:///PATH, with %2F, %00 and incomplete % sequences left out';
  let path: string;
  try {
    path = posix.resolve(fileURLToPath(uri, { windows: false }));
  } catch (cause) {
    throw new LevadaError('InvalidValue', { found: show(uri), allowed }, { cause });
  }
  if (path.includes('\0') || !isAbsolute(path)) throw new LevadaError('InvalidValue', { found: show(uri), allowed });
  return path;
}
