import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { apiVersion } from '../../api/contract/names.ts';
import type { Problem } from '../../api/errors.ts';

/** An entry of cases.yaml, which says what the fields mean. */
export interface Case {
  readonly name: string;
  readonly object: unknown;
  readonly oldObject?: unknown;
  readonly subresource?: 'status';
  readonly valid: boolean;
  readonly error?: string;
  readonly problems?: ReadonlyArray<Pick<Problem, 'code' | 'path'>>;
  readonly defaulted?: unknown;
  readonly differs?: string;
}

/** The cases with their shorthands written out. */
export async function readCases(): Promise<Case[]> {
  const entries: Array<Record<string, unknown>> = parse(
    await readFile(join(import.meta.dirname, 'cases.yaml'), 'utf8'),
  );
  return entries.map(({ spec, oldSpec, status, ...entry }) =>
    expand({
      ...entry,
      ...(spec !== undefined && { object: around(spec) }),
      ...(oldSpec !== undefined && { oldObject: around(oldSpec) }),
      ...(status !== undefined && {
        object: { ...around(served), status },
        oldObject: around(served),
        subresource: 'status',
      }),
    }),
  ) as Case[];
}

const served = { versions: [{ name: 'v1', uri: 'file:///m' }] };
const around = (spec: unknown): object => ({ apiVersion, kind: 'ModelDeployment', metadata: { name: 'iris' }, spec });

/** `value` with each `$repeat` done. */
function expand(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(expand);
  if (typeof value !== 'object' || value === null) return value;
  const { $repeat, $times, $prefix = '', ...fields } = value as Record<string, unknown>;
  if (typeof $repeat === 'string') return `${$prefix}${$repeat.repeat(Number($times))}`;
  if (Array.isArray($repeat)) return Array.from({ length: Number($times) }, (_, i) => numbered($repeat[0], i + 1));
  return Object.fromEntries(Object.entries(fields).map(([key, inner]) => [key, expand(inner)]));
}

const numbered = (value: unknown, number: number): unknown =>
  JSON.parse(JSON.stringify(value).replaceAll('#', String(number)));
