import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { apiVersion } from '../../api/contract/names.ts';
import type { Problem } from '../../api/errors.ts';
import type { ResourceKind } from '../../api/v1alpha1/resource.ts';

/**
 * An entry of cases/: what the API server and Levada's own validation make of the same object; crd.test.ts asks both.
 *
 * Shorthands in the files: `spec`, `oldSpec` and `status` are those of an object that is otherwise right; `source` and
 * `step` are the one source and the one step of a pipeline, beside their names and the type that joins them.
 * `{ $repeat: a, $times: 3, $prefix: b }` is baaa; `{ $repeat: [v#], $times: 3 }` is [v1, v2, v3].
 */
export interface Case {
  readonly name: string;
  /** What is applied. */
  readonly object: unknown;
  /** What is there before; absent: `object` is created. */
  readonly oldObject?: unknown;
  /** What is applied is the subresource. */
  readonly subresource?: 'status';
  /** Whether it is taken. */
  readonly valid: boolean;
  /** A part of what the API server says. */
  readonly error?: string;
  /** All that parseResource, and changedVersions for a model, say. */
  readonly problems?: ReadonlyArray<Pick<Problem, 'code' | 'path'>>;
  /** The spec with its defaults. */
  readonly defaulted?: unknown;
  /** Why Levada answers otherwise than the API server, where that is so: `problems` then decides. */
  readonly differs?: string;
}

type Entry = Record<string, unknown>;

const kinds: Record<ResourceKind, { name: string; file: string; least: object; specOf?: (entry: Entry) => unknown }> = {
  ModelDeployment: {
    name: 'iris',
    file: 'modeldeployment.yaml',
    least: { versions: [{ name: 'v1', uri: 'file:///m' }] },
  },
  EventPipeline: {
    name: 'orders',
    file: 'eventpipeline.yaml',
    least: pipelineSpec({}),
    specOf: (entry) => ('source' in entry || 'step' in entry ? pipelineSpec(entry) : undefined),
  },
};

function pipelineSpec({ source, step }: Entry): object {
  const type = 'order.created';
  return {
    sources: [{ name: 'api', emits: type, ...((source as object) ?? { http: { path: '/orders/' } }) }],
    steps: [{ name: 'check', consumes: [type], ...((step as object) ?? { http: { url: 'http://checks/' } }) }],
  };
}

/** The cases of a kind with their shorthands written out. */
export async function readCases(kind: ResourceKind): Promise<Case[]> {
  const { name, file, least, specOf } = kinds[kind];
  const around = (spec: unknown): object => ({ apiVersion, kind, metadata: { name }, spec });
  const entries: Entry[] = parse(await readFile(join(import.meta.dirname, 'cases', file), 'utf8'));
  return entries.map(({ spec, oldSpec, status, source, step, ...entry }) => {
    const ownSpec = spec ?? specOf?.({ ...(source !== undefined && { source }), ...(step !== undefined && { step }) });
    return expand({
      ...entry,
      ...(ownSpec !== undefined && { object: around(ownSpec) }),
      ...(oldSpec !== undefined && { oldObject: around(oldSpec) }),
      ...(status !== undefined && {
        object: { ...around(least), status },
        oldObject: around(least),
        subresource: 'status',
      }),
    }) as Case;
  });
}

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
