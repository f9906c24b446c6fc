import { kinds, type Resource, type ResourceKind } from '../api/v1alpha1/resource.ts';
import { formatAge, formatTable } from './table.ts';

/** One table a kind, as `kubectl get` shows them: the printer columns of the CRD. */
export function formatResources(resources: readonly Resource[], wide: boolean, now: Date): string {
  const present = (Object.keys(kinds) as ResourceKind[]).filter((kind) =>
    resources.some((found) => found.kind === kind),
  );
  const tables = present.map((kind) => {
    const { crd } = kinds[kind];
    const ofKind = resources.filter((resource) => resource.kind === kind);
    const columns = columnsOf(kind, wide).filter(({ jsonPath }) => isUseful(jsonPath, ofKind));
    const rows = ofKind.map((resource) => [
      present.length > 1 ? `${crd.singular}/${resource.metadata.name}` : resource.metadata.name,
      ...columns.map(({ jsonPath, type }) => cell(read(resource, jsonPath), type, now)),
    ]);
    return formatTable(['NAME', ...columns.map(({ name }) => name.toUpperCase())], rows);
  });
  return tables.join('\n\n');
}

/** Columns of rollouts are left out where none of the resources has one: a terminal is narrow. */
const isUseful = (jsonPath: string, resources: readonly Resource[]): boolean =>
  !jsonPath.startsWith('.status.rollout.') || resources.some((resource) => isRolling(resource));

const isRolling = ({ status }: Resource): boolean =>
  status !== undefined && 'rollout' in status && status.rollout?.candidate !== undefined;

const cell = (value: string | undefined, type: string, now: Date): string =>
  type === 'date' ? formatAge(value, now) : (value ?? '');

/** A laptop has no other way to find the port, so the URL is always shown. */
const columnsOf = (kind: ResourceKind, wide: boolean) =>
  kinds[kind].crd.printerColumns.filter((column) => wide || !('priority' in column) || column.name === 'URL');

/** The two forms of JSONPath that printer columns have: `.a.b` and `.a[?(@.type=="X")].b`. */
function read(value: unknown, path: string): string | undefined {
  let current: unknown = value;
  for (const [, name, key, wanted] of path.matchAll(/\.(\w+)(?:\[\?\(@\.(\w+)=="(\w+)"\)\])?/g)) {
    current = (current as Record<string, unknown> | undefined)?.[name ?? ''];
    if (key !== undefined)
      current = (current as Record<string, unknown>[] | undefined)?.find((entry) => entry[key] === wanted);
  }
  return current === undefined ? undefined : String(current);
}
