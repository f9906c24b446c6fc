import type * as z from 'zod';
import { dns1035, group, limits } from '../contract/names.ts';
import { mapChildren, ordered, type Schema, schemaOf, type Validation } from './schema.ts';

/** A kind of resource: all that is generated for it comes from this. */
export interface Kind {
  readonly schema: z.ZodType;
  readonly crd: KindNames;
}

interface KindNames {
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly printerColumns: readonly PrinterColumn[];
}

export interface PrinterColumn {
  readonly name: string;
  readonly type: string;
  readonly jsonPath: string;
  readonly description: string;
  /** 1: only with `-o wide`. */
  readonly priority?: number;
}

export const version = 'v1alpha1';

/** The CustomResourceDefinition of a kind. */
export function crdOf({ schema, crd }: Kind): object {
  const { kind, plural, singular, shortNames, categories, printerColumns } = crd;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      names: { kind, listKind: `${kind}List`, plural, singular, shortNames, categories },
      scope: 'Namespaced',
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: printerColumns,
          schema: { openAPIV3Schema: structuralSchema(schema) },
        },
      ],
    },
  };
}

/** The name is the one part of `metadata` that a CRD may judge, and only from the root. */
export const nameRules: readonly Validation[] = [
  {
    rule: `size(self.metadata.name) <= ${limits.resourceName}`,
    message: `metadata.name has at most ${limits.resourceName} characters: Services are named after it`,
  },
  {
    rule: `self.metadata.name.matches('${dns1035.source}')`,
    message: 'metadata.name is a DNS-1035 label: lower-case letters, digits and -, from a letter to a letter or digit',
  },
];

/** What zod means, in the terms that structural schemas allow. */
export function structuralSchema(resource: z.ZodType): Schema {
  const root = structural(schemaOf(resource, 'openapi-3.0'));
  return ordered({
    ...root,
    properties: { ...root.properties, metadata: { type: 'object' } },
    'x-kubernetes-validations': [...nameRules, ...(root['x-kubernetes-validations'] ?? [])],
  });
}

function structural(schema: Schema): Schema {
  const result = mapChildren(schema.anyOf ? intOrString(schema) : schema, structural);
  // Pruning and strict field validation refuse unknown fields; the keyword itself is forbidden beside `properties`.
  if (typeof result.additionalProperties === 'boolean') delete result.additionalProperties;
  // Where anything goes, the API server drops nulls as soon as a schema, even an empty one, speaks of the values.
  if (result['x-kubernetes-preserve-unknown-fields']) delete result.additionalProperties;
  if (result.type === 'integer') result.format = isInt32(result) ? 'int32' : 'int64';
  return ordered(result);
}

const isInt32 = ({ minimum, maximum }: Schema): boolean =>
  minimum !== undefined && minimum >= -(2 ** 31) && maximum !== undefined && maximum < 2 ** 31;

/** The one union that structural schemas know. Bounds move up: each applies to values of its own type only. */
function intOrString({ anyOf = [], ...schema }: Schema): Schema {
  const types = anyOf
    .map(({ type }) => type)
    .sort()
    .join(' or ');
  if (types !== 'integer or string') {
    throw new Error(`a structural schema has no union of ${types}; give the parent one optional member a choice`);
  }
  const bounds = anyOf.map(({ type: _, ...rest }) => rest);
  return Object.assign({}, schema, ...bounds, { 'x-kubernetes-int-or-string': true });
}
