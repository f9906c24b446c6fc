import { type ModelDeployment, modelDeploymentCrd } from '../api/v1alpha1/model-deployment.ts';
import { formatAge } from './table.ts';

/** Header and row as `kubectl get modeldeployments` shows them: the printer columns of the CRD. */
export const modelHeader = (wide: boolean): string[] => [
  'NAME',
  ...columns(wide).map(({ name }) => name.toUpperCase()),
];

export function modelRow(resource: ModelDeployment, wide: boolean, now: Date): string[] {
  const cells = columns(wide).map(({ jsonPath, type }) => {
    const value = read(resource, jsonPath);
    return type === 'date' ? formatAge(value, now) : (value ?? '');
  });
  return [resource.metadata.name, ...cells];
}

/** A laptop has no other way to find the port, so the URL is always shown. */
const columns = (wide: boolean) =>
  modelDeploymentCrd.printerColumns.filter((column) => wide || !('priority' in column) || column.name === 'URL');

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
