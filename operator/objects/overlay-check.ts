import { group } from '../../api/contract/names.ts';
import { type Problem, problem } from '../../api/errors.ts';
import { formatPath, type Path } from '../../api/path.ts';
import { member, members, show } from '../../api/rules.ts';
import { type Fields, identityOf, isFields, keysOf, overlaid, type Place, pathIn, valueIn } from './overlay.ts';

/** Volumes that Levada makes and does not care about: a place to write to. */
const freeVolumes: readonly string[] = ['tmp'];

/**
 * What is wrong with an overlay, as far as that can be said without an API server: entries that cannot be told apart, and what
 * Levada's own pod needs to be as it is.
 *
 * @param root where the overlay is in its resource
 */
export function overlayProblems(template: Fields, overlay: Fields, root: Path): Problem[] {
  const malformed = listProblems(overlay, root);
  if (malformed.length > 0) return malformed;
  const laid = { template, merged: overlaid(template, overlay), overlay, root };
  return [
    ...needs(template).flatMap((place) => changed(place, laid)),
    ...reserved(laid),
    ...hidden(laid),
    ...shortened(laid),
  ];
}

/** Lists that are merged need entries that can be told apart. */
function listProblems(value: unknown, path: Path): Problem[] {
  if (Array.isArray(value)) return value.flatMap((entry, index) => listProblems(entry, [...path, index]));
  if (!isFields(value)) return [];
  return Object.entries(value).flatMap(([field, inner]) => {
    const at = [...path, field];
    const keys = keysOf(field);
    if (!keys || inner === null) return listProblems(inner, at);
    if (Array.isArray(inner)) return [...entryProblems(inner, keys, at), ...listProblems(inner, at)];
    return [problem('InvalidType', formatPath(at), { found: show(inner), allowed: 'a list' })];
  });
}

function entryProblems(entries: readonly unknown[], keys: readonly string[], path: Path): Problem[] {
  const [key = ''] = keys;
  const seen = new Set<string>();
  return entries.flatMap((entry, index) => {
    const at = [...path, index];
    if (!isFields(entry)) return [problem('InvalidType', formatPath(at), { found: show(entry), allowed: 'a map' })];
    const value = entry[key];
    if (value === undefined || value === null) return [problem('MissingField', formatPath([...at, key]))];
    const identity = identityOf(entry, keys);
    if (seen.has(identity)) return [problem('DuplicateName', formatPath([...at, key]), { found: show(value) })];
    seen.add(identity);
    return [];
  });
}

/** Places whose value is Levada's own. */
function needs(template: Fields): Place[] {
  const spec = member(template, 'spec');
  const labels = Object.keys((valueIn(template, ['metadata', 'labels']) ?? {}) as Fields);
  const volumes = members(member(spec, 'volumes')).filter((volume) => !isFree(volume));
  return [
    ...labels.map((label) => ['metadata', 'labels', label]),
    ...volumes.map((volume) => ['spec', 'volumes', entryOf(volume, 'volumes')]),
    ...(['containers', 'initContainers'] as const).flatMap((list) =>
      members(member(spec, list)).flatMap((container) =>
        containerNeeds(container as Fields).map((place) => ['spec', list, entryOf(container, list), ...place]),
      ),
    ),
  ];
}

const probes = ['startupProbe', 'readinessProbe', 'livenessProbe'];

function containerNeeds(container: Fields): Place[] {
  const mounts = members(container['volumeMounts']).filter((mount) => !isFree({ name: member(mount, 'name') }));
  return [
    // Arguments would be added to the command.
    ...(container['command'] === undefined ? [] : [['command'], ['args']]),
    ...probes.filter((name) => container[name] !== undefined).map((name) => [name]),
    ...members(container['ports']).map((port) => ['ports', entryOf(port, 'ports')]),
    ...members(container['env']).map((variable) => ['env', entryOf(variable, 'env')]),
    ...mounts.map((mount) => ['volumeMounts', entryOf(mount, 'volumeMounts')]),
  ];
}

const isFree = (volume: unknown): boolean => freeVolumes.includes(String(member(volume, 'name')));
const entryOf = (entry: unknown, list: string) => ({ identity: identityOf(entry, keysOf(list) ?? []) });

interface Laid {
  readonly template: Fields;
  readonly merged: Fields;
  readonly overlay: Fields;
  readonly root: Path;
}

function changed(place: Place, { template, merged, overlay, root }: Laid): Problem[] {
  const own = valueIn(template, place);
  if (isSame(own, valueIn(merged, place))) return [];
  const path = pathIn(overlay, place);
  const found = show(valueIn(overlay, place) ?? 'null');
  const allowed = own === undefined ? 'nothing' : `what Levada sets, ${JSON.stringify(own).slice(0, 120)}`;
  return [problem('PodTemplateProtected', formatPath([...root, ...path]), { found, allowed })];
}

/** The order of keys means nothing. */
function isSame(a: unknown, b: unknown): boolean {
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((entry, index) => isSame(entry, b[index]));
  }
  if (!isFields(a) || !isFields(b)) return a === b;
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].every((name) => isSame(a[name], b[name]));
}

/** Labels and annotations by which Levada knows its pods. */
function reserved({ template, overlay, root }: Laid): Problem[] {
  return ['labels', 'annotations'].flatMap((field) => {
    const own = (valueIn(template, ['metadata', field]) ?? {}) as Fields;
    const laid = (valueIn(overlay, ['metadata', field]) ?? {}) as Fields;
    return Object.keys(laid)
      .filter((key) => key.startsWith(`${group}/`) && !Object.hasOwn(own, key))
      .map((key) => {
        const path = formatPath([...root, 'metadata', field, key]);
        return problem('PodTemplateProtected', path, { found: show(laid[key]), allowed: `no key of ${group}` });
      });
  });
}

/** Mounts inside of what Levada mounts would hide what it reads there. */
function hidden({ template, overlay, root }: Laid): Problem[] {
  return ['containers', 'initContainers'].flatMap((list) =>
    members(valueIn(template, ['spec', list])).flatMap((container) => {
      const own = members(member(container, 'volumeMounts'))
        .filter((mount) => !isFree({ name: member(mount, 'name') }))
        .map((mount) => String(member(mount, 'mountPath')));
      const place: Place = ['spec', list, entryOf(container, list), 'volumeMounts'];
      return members(valueIn(overlay, place)).flatMap((mount, index) => {
        const path = String(member(mount, 'mountPath'));
        if (own.includes(path) || !own.some((folder) => isInside(folder, path))) return [];
        const at = [...root, ...pathIn(overlay, place), index, 'mountPath'];
        const allowed = `no path in ${own.join(', ')}`;
        return [problem('PodTemplateProtected', formatPath(at), { found: show(path), allowed })];
      });
    }),
  );
}

function isInside(folder: string, path: string): boolean {
  const parts = (text: string): string[] => {
    const found: string[] = [];
    for (const part of text.split('/')) {
      if (part === '..') found.pop();
      else if (part !== '' && part !== '.') found.push(part);
    }
    return found;
  };
  const inner = parts(path);
  return parts(folder).every((part, index) => inner[index] === part);
}

/** Draining takes its time: less of it would end requests and deliveries that are under way. */
function shortened({ template, overlay, root }: Laid): Problem[] {
  const place = ['spec', 'terminationGracePeriodSeconds'];
  const own = valueIn(template, place);
  const laid = valueIn(overlay, place);
  if (laid === undefined || typeof own !== 'number' || (typeof laid === 'number' && laid >= own)) return [];
  const allowed = `at least ${own}`;
  return [problem('PodTemplateProtected', formatPath([...root, ...place]), { found: show(laid), allowed })];
}
