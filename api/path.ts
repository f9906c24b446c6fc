/** Where a value is inside a document: keys of maps and indexes of lists, from the outside in. */
export type Path = ReadonlyArray<string | number>;

const identifier = /^[A-Za-z_][A-Za-z0-9_-]*$/;
/** What kubectl prints inside brackets as it is. A key of digits is quoted, or it would look like an index. */
const plainKey = /^(?![0-9]+$)[A-Za-z0-9_./-]+$/;

/** The path as kubectl prints it: `spec.versions[0].uri`, `metadata.labels[app.kubernetes.io/name]`. */
export function formatPath(path: Path): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (identifier.test(part)) text += text === '' ? part : `.${part}`;
    else text += `[${plainKey.test(part) ? part : JSON.stringify(part)}]`;
  }
  return text;
}

const part = /([A-Za-z_][A-Za-z0-9_-]*)|\[([0-9]+)\]|\[("(?:[^"\\]|\\.)*")\]|\[([^\]]+)\]|\./gy;

/** The inverse of {@link formatPath}. */
export function parsePath(text: string): Path {
  return [...text.matchAll(part)].flatMap(([, name, index, quoted, plain]) => {
    if (index !== undefined) return Number(index);
    if (quoted !== undefined) return String(JSON.parse(quoted));
    return name ?? plain ?? [];
  });
}

/** The value at `path`; `undefined` where there is none. Looks at own members only. */
export function valueAt(value: unknown, path: Path): unknown {
  let found = value;
  for (const key of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) return undefined;
    found = (found as Record<string | number, unknown>)[key];
  }
  return found;
}
