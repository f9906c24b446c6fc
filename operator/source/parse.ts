import type * as z from 'zod';
import {
  apiVersion,
  group,
  modelService,
  namespacedName,
  partName,
  resourceKey,
  versionName,
} from '../../api/contract/names.ts';
import { type Problem, problem } from '../../api/errors.ts';
import { formatPath, type Path, parsePath, valueAt } from '../../api/path.ts';
import { member, members, show } from '../../api/rules.ts';
import { kinds, type Resource, type ResourceKind } from '../../api/v1alpha1/resource.ts';
import { checkSchema, type SourceOf } from './schema.ts';

const kindNames = Object.keys(kinds).join(', ');

/**
 * A resource from anything that JSON can hold: every problem at once, in document order. `resource` is there, with its
 * defaults filled in, only when there is none.
 */
export function parseResource(value: unknown, sourceOf?: SourceOf): { resource?: Resource; problems: Problem[] } {
  const head = checkHead(value);
  if (head) return { problems: [head] };
  const { schema, rules } = kinds[member(value, 'kind') as ResourceKind];
  const { data, problems } = checkSchema<z.ZodType<Resource>>(schema, value, sourceOf);
  const paths = new Set(problems.map(({ path }) => path));
  const all = [
    ...problems,
    ...checkMetadata(value),
    ...checkRules(value, rules).filter(({ path }) => !paths.has(path)),
  ];
  return data && all.length === 0 ? { resource: data, problems: [] } : { problems: inDocumentOrder(value, all) };
}

/** Whether a document belongs to Levada, and not to Kubernetes or another operator. */
export function isForeign(value: unknown): boolean {
  const found = member(value, 'apiVersion');
  return typeof found === 'string' && typeof member(value, 'kind') === 'string' && found.split('/')[0] !== group;
}

/** What is wrong with apiVersion and kind: no schema can be chosen then. */
function checkHead(value: unknown): Problem | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return problem('NotAResource', '', {
      detail: `found ${show(value)}; allowed: a map with apiVersion, kind, metadata and spec`,
    });
  }
  for (const [name, wanted] of [
    ['apiVersion', apiVersion],
    ['kind', kindNames],
  ] as const) {
    const found = valueAt(value, [name]);
    if (typeof found === 'string') continue;
    return problem('NotAResource', name, { detail: `found ${show(found)}; allowed: ${wanted}` });
  }
  if (member(value, 'apiVersion') !== apiVersion) return unknownKind('apiVersion', value);
  return Object.hasOwn(kinds, String(member(value, 'kind'))) ? undefined : unknownKind('kind', value);
}

const unknownKind = (path: string, value: unknown): Problem =>
  problem('UnknownKind', path, {
    found: show(`${member(value, 'apiVersion')} ${member(value, 'kind')}`),
    allowed: `${apiVersion} ${Object.keys(kinds).join(' or ')}`,
  });

/** ObjectMeta of Kubernetes 1.34. The schema lets more through, so that what Kubernetes adds later stops no live object. */
const metadataFields = [
  'name',
  'generateName',
  'namespace',
  'labels',
  'annotations',
  'finalizers',
  'ownerReferences',
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'managedFields',
  'selfLink',
];

function checkMetadata(value: unknown): Problem[] {
  const metadata = member(value, 'metadata');
  if (typeof metadata !== 'object' || metadata === null || Array.isArray(metadata)) return [];
  return Object.keys(metadata)
    .filter((field) => !metadataFields.includes(field))
    .map((field) =>
      problem('UnknownField', formatPath(['metadata', field]), {
        field,
        allowed: metadataFields.slice(0, 5).join(', '),
      }),
    );
}

const checkRules = (value: unknown, all: (typeof kinds)[ResourceKind]['rules']): Problem[] =>
  all.flatMap(({ path, rules }) =>
    expand(value, path).flatMap((at) => rules.flatMap((rule) => rule.check(valueAt(value, at), formatPath(at)))),
  );

/** The paths that `pattern` stands for in `value`, `*` being each entry of a list. Only those that lead somewhere. */
function expand(value: unknown, pattern: readonly string[]): Path[] {
  const paths = pattern.reduce<Path[]>(
    (found, key) =>
      found.flatMap((path) =>
        key === '*' ? members(valueAt(value, path)).map((_, index) => [...path, index]) : [[...path, key]],
      ),
    [[]],
  );
  return paths.filter((path) => path.length === 1 || valueAt(value, path) !== undefined);
}

/** Sorted as the fields stand in the document; a field that is missing comes where its parent begins. */
function inDocumentOrder(value: unknown, problems: Problem[]): Problem[] {
  const ranks = new Map<object, Map<string, number>>();
  const rank = (parent: unknown, key: string): number => {
    if (typeof parent !== 'object' || parent === null) return -1;
    const known = ranks.get(parent) ?? new Map(Object.keys(parent).map((name, index) => [name, index]));
    ranks.set(parent, known);
    return known.get(key) ?? -1;
  };
  const keyed = problems.map((entry) => {
    const path = parsePath(entry.path);
    const key = path.map((part, depth) =>
      typeof part === 'number' ? part : rank(valueAt(value, path.slice(0, depth)), part),
    );
    return { entry, key };
  });
  return keyed.sort((a, b) => compareKeys(a.key, b.key)).map(({ entry }) => entry);
}

function compareKeys(a: readonly number[], b: readonly number[]): number {
  for (const [index, left] of a.entries()) {
    const right = b[index];
    if (right === undefined) return 1;
    if (left !== right) return left - right;
  }
  return a.length - b.length;
}

/** What is wrong with resources that are all right one by one: names that two of them claim. */
export function checkSet(resources: readonly Resource[]): Array<{ resource: Resource; problem: Problem }> {
  const names = new Set<string>();
  const services = new Map<string, string>();
  const found: Array<{ resource: Resource; problem: Problem }> = [];
  for (const resource of resources) {
    const key = resourceKey(resource);
    const name = namespacedName(resource.metadata);
    if (names.has(key)) {
      found.push({ resource, problem: problem('DuplicateName', 'metadata.name', { found: name }) });
      continue;
    }
    names.add(key);
    for (const { service, path } of servicesOf(resource)) {
      const scoped = namespacedName({ ...resource.metadata, name: service });
      const other = services.get(scoped);
      if (other) found.push({ resource, problem: problem('NameConflict', path, { found: name, service, other }) });
      else services.set(scoped, name);
    }
  }
  return found;
}

/** Every Service that the resource may ever make, with the field that gives it its name. */
export function servicesOf(resource: Resource): Array<{ service: string; path: string }> {
  const { name } = resource.metadata;
  if (resource.kind === 'EventPipeline') {
    const { sources, steps } = resource.spec;
    const parts = [
      ...sources.map((source, index) => ({
        part: source.name,
        list: 'sources',
        index,
        has: source.http !== undefined,
      })),
      ...steps.map((step, index) => ({ part: step.name, list: 'steps', index, has: step.container !== undefined })),
    ];
    return parts
      .filter(({ has }) => has)
      .map(({ part, list, index }) => ({
        service: partName(name, part),
        path: formatPath(['spec', list, index, 'name']),
      }));
  }
  return [
    { service: modelService(name), path: 'metadata.name' },
    ...resource.spec.versions.map((version, index) => ({
      service: versionName(name, version.name),
      path: formatPath(['spec', 'versions', index, 'name']),
    })),
  ];
}
