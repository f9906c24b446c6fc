import type { Path } from '../../api/path.ts';

/** What JSON has between braces. */
export type Fields = Readonly<Record<string, unknown>>;

/**
 * Lists of a pod whose entries are merged, and the fields that tell entries apart: `patchMergeKey` of core/v1. All others are
 * replaced as a whole, `tolerations`, `command`, `args` and `envFrom` among them.
 */
const mergeKeys: Readonly<Record<string, readonly string[]>> = {
  containers: ['name'],
  initContainers: ['name'],
  volumes: ['name'],
  imagePullSecrets: ['name'],
  resourceClaims: ['name'],
  hostAliases: ['ip'],
  topologySpreadConstraints: ['topologyKey'],
  env: ['name'],
  volumeMounts: ['mountPath'],
  volumeDevices: ['devicePath'],
  // A port may be there for TCP and for UDP. kubectl takes these for one.
  ports: ['containerPort', 'protocol'],
};

/** Of the fields by which entries are told apart. */
const defaults: Readonly<Record<string, string>> = { protocol: 'TCP' };

/** The fields by which entries of the list `field` are told apart; `undefined` where the list is replaced. */
export const keysOf = (field: string): readonly string[] | undefined =>
  Object.hasOwn(mergeKeys, field) ? mergeKeys[field] : undefined;

export const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What tells an entry of a list with `keys` from the others. */
export const identityOf = (entry: unknown, keys: readonly string[]): string =>
  JSON.stringify(keys.map((key) => (isFields(entry) ? entry[key] : undefined) ?? defaults[key]));

/**
 * `base` with `overlay` on top, as `kubectl patch` does it (strategic merge): maps are merged, lists with merge keys entry by
 * entry, other values replaced, `null` removes. Neither is changed.
 */
export function overlaid(base: Fields, overlay: Fields): Fields {
  const result = new Map<string, unknown>(Object.entries(base));
  for (const [field, value] of Object.entries(overlay)) {
    if (value === null) result.delete(field);
    else result.set(field, mergedField(field, result.get(field), value));
  }
  return Object.fromEntries(result);
}

function mergedField(field: string, before: unknown, value: unknown): unknown {
  if (isFields(value)) return overlaid(isFields(before) ? before : {}, value);
  if (!Array.isArray(value)) return value;
  const keys = keysOf(field);
  return keys ? mergedList(keys, Array.isArray(before) ? before : [], value) : value;
}

/** Entries of `before` in their order, then those that are new. */
function mergedList(keys: readonly string[], before: readonly unknown[], overlay: readonly unknown[]): unknown[] {
  const result = new Map<string, unknown>(before.map((entry) => [identityOf(entry, keys), entry]));
  for (const entry of overlay) {
    const identity = identityOf(entry, keys);
    const old = result.get(identity);
    result.set(identity, isFields(entry) ? overlaid(isFields(old) ? old : {}, entry) : entry);
  }
  return [...result.values()];
}

/** A place in a pod: fields, and entries of lists by what tells them apart. */
export type Place = ReadonlyArray<string | { readonly identity: string }>;

/** The value at `place`; `undefined` where there is none. */
export function valueIn(value: unknown, place: Place): unknown {
  let found = value;
  let keys: readonly string[] = [];
  for (const step of place) {
    if (typeof step === 'string') {
      found = isFields(found) && Object.hasOwn(found, step) ? found[step] : undefined;
      keys = keysOf(step) ?? [];
    } else {
      found = Array.isArray(found) ? found.find((entry) => identityOf(entry, keys) === step.identity) : undefined;
    }
  }
  return found;
}

/** `place` in an overlay, as deep as that says something: the field that a message names. */
export function pathIn(overlay: unknown, place: Place): Path {
  const path: Array<string | number> = [];
  let found = overlay;
  let keys: readonly string[] = [];
  for (const step of place) {
    if (typeof step === 'string') {
      if (!isFields(found) || !Object.hasOwn(found, step)) break;
      found = found[step];
      keys = keysOf(step) ?? [];
      path.push(step);
    } else {
      const index = Array.isArray(found) ? found.findIndex((entry) => identityOf(entry, keys) === step.identity) : -1;
      if (index < 0) break;
      found = (found as unknown[])[index];
      path.push(index);
    }
  }
  return path;
}
