import { apiVersion, group, modelService, resourceKey, versionName } from '../../api/contract/names.ts';
import { type Problem, problem } from '../../api/errors.ts';
import { formatPath, parsePath, valueAt } from '../../api/path.ts';
import { member, show } from '../../api/rules.ts';
import { type ModelDeployment, modelDeployment, modelDeploymentRules } from '../../api/v1alpha1/model-deployment.ts';
import { checkSchema, type SourceOf } from './schema.ts';

const kind = 'ModelDeployment';

/**
 * A resource from anything that JSON can hold: every problem at once, in document order. `resource` is there, with its
 * defaults filled in, only when there is none.
 */
export function parseResource(
  value: unknown,
  sourceOf?: SourceOf,
): { resource?: ModelDeployment; problems: Problem[] } {
  const head = checkHead(value);
  if (head) return { problems: [head] };
  const { data, problems } = checkSchema(modelDeployment, value, sourceOf);
  const paths = new Set(problems.map(({ path }) => path));
  const all = [...problems, ...checkMetadata(value), ...checkRules(value).filter(({ path }) => !paths.has(path))];
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
    ['kind', kind],
  ] as const) {
    const found = valueAt(value, [name]);
    if (typeof found === 'string') continue;
    return problem('NotAResource', name, { detail: `found ${show(found)}; allowed: ${wanted}` });
  }
  if (member(value, 'apiVersion') !== apiVersion) return unknownKind('apiVersion', value);
  return member(value, 'kind') === kind ? undefined : unknownKind('kind', value);
}

const unknownKind = (path: string, value: unknown): Problem =>
  problem('UnknownKind', path, {
    found: show(`${member(value, 'apiVersion')} ${member(value, 'kind')}`),
    allowed: `${apiVersion} ${kind}`,
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

const checkRules = (value: unknown): Problem[] =>
  modelDeploymentRules.flatMap(({ path, rules }) => {
    const at = valueAt(value, path);
    return rules.flatMap((rule) => rule.check(at, formatPath(path)));
  });

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
export function checkSet(
  resources: readonly ModelDeployment[],
): Array<{ resource: ModelDeployment; problem: Problem }> {
  const names = new Set<string>();
  const services = new Map<string, string>();
  const found: Array<{ resource: ModelDeployment; problem: Problem }> = [];
  for (const resource of resources) {
    const key = resourceKey(resource.metadata);
    if (names.has(key)) {
      found.push({ resource, problem: problem('DuplicateName', 'metadata.name', { found: key }) });
      continue;
    }
    names.add(key);
    for (const { service, path } of servicesOf(resource)) {
      const scoped = resourceKey({ ...resource.metadata, name: service });
      const other = services.get(scoped);
      if (other) found.push({ resource, problem: problem('NameConflict', path, { found: key, service, other }) });
      else services.set(scoped, key);
    }
  }
  return found;
}

/** Every Service that the resource may ever make, with the field that gives it its name. */
function servicesOf({ metadata, spec }: ModelDeployment): Array<{ service: string; path: string }> {
  return [
    { service: modelService(metadata.name), path: 'metadata.name' },
    ...spec.versions.map(({ name }, index) => ({
      service: versionName(metadata.name, name),
      path: formatPath(['spec', 'versions', index, 'name']),
    })),
  ];
}
