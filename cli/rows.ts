import { kinds, type Resource, type ResourceKind } from '../api/v1alpha1/resource.ts';
import { formatAge, formatTable } from './table.ts';

/** One table a kind, as `kubectl get` shows them: the printer columns of the CRD. */
export function formatResources(resources: readonly Resource[], wide: boolean, now: Date): string {
  const present = (Object.keys(kinds) as ResourceKind[]).filter((kind) =>
    resources.some((found) => found.kind === kind),
  );
  const tables = present.map((kind) => {
    const { crd } = kinds[kind];
    const columns = columnsOf(kind, wide);
    const rows = resources
      .filter((resource) => resource.kind === kind)
      .map((resource) => [
        present.length > 1 ? `${crd.singular}/${resource.metadata.name}` : resource.metadata.name,
        ...columns.map(({ jsonPath, type }) => cell(read(resource, jsonPath), type, now)),
      ]);
    return formatTable(['NAME', ...columns.map(({ name }) => name.toUpperCase())], rows);
  });
  return tables.join('\n\n');
}

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
