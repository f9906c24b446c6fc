import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { kinds } from '../v1alpha1/resource.ts';
import { structuralSchema } from './crd.ts';
import { editorSchemaOf } from './json-schema.ts';
import { referenceOf } from './reference.ts';
import type { Schema } from './schema.ts';

/** What is missing for a schema that CEL's cost estimate and `kubectl explain` can work with, by path. */
function gaps(schema: Schema, path: string): string[] {
  const values = typeof schema.additionalProperties === 'object' ? schema.additionalProperties : undefined;
  return [
    ...(isBounded(schema) ? [] : [`${path}: no bound`]),
    ...Object.entries(schema.properties ?? {}).flatMap(([name, field]) => [
      ...(field.description || path + name === 'metadata' ? [] : [`${path}${name}: no description`]),
      ...gaps(field, `${path}${name}.`),
    ]),
    ...(schema.items ? gaps(schema.items, `${path}[].`) : []),
    ...(values ? gaps(values, `${path}*.`) : []),
  ];
}

function isBounded(schema: Schema): boolean {
  const { type, properties, additionalProperties, minimum, maximum, maxLength, maxItems, maxProperties } = schema;
  if (schema['x-kubernetes-int-or-string']) return maxLength !== undefined && maximum !== undefined;
  if (schema.enum) return true;
  if (type === 'string') return maxLength !== undefined;
  if (type === 'array') return maxItems !== undefined;
  // Generations have no upper bound but the type's.
  if (type === 'integer') return minimum !== undefined && (maximum !== undefined || schema.format === 'int64');
  if (type === 'boolean') return true;
  return properties || !additionalProperties ? true : maxProperties !== undefined;
}

describe('the structural schema', () => {
  test.each(Object.entries(kinds))('of %s bounds every value and describes every field', (_, { schema }) => {
    expect(gaps(structuralSchema(schema), '')).toEqual([]);
  });

  test('the walk finds what is missing', () => {
    const resource = z.strictObject({
      metadata: z.looseObject({}),
      list: z.array(z.string()).describe('A list.'),
      map: z.record(z.string(), z.string().max(3)).optional(),
    });
    expect(gaps(structuralSchema(resource), '')).toEqual([
      'list.: no bound',
      'list.[].: no bound',
      'map: no description',
      'map.: no bound',
    ]);
  });

  const fieldOf = (field: z.ZodType): Schema | undefined =>
    structuralSchema(z.strictObject({ metadata: z.looseObject({}), field })).properties?.field;

  test('a union of integer and text becomes int-or-string', () => {
    expect(fieldOf(z.union([z.int().min(0).max(9), z.string().max(5)]))).toEqual({
      minimum: 0,
      maximum: 9,
      maxLength: 5,
      'x-kubernetes-int-or-string': true,
    });
  });

  test('another union is refused', () => {
    expect(() => fieldOf(z.union([z.string(), z.boolean()]))).toThrow('no union of boolean or string');
  });

  test('a keyword without a meaning here is refused', () => {
    expect(() => fieldOf(z.string().meta({ contentEncoding: 'base64' }))).toThrow('keyword contentEncoding');
  });

  test('where anything goes, nothing speaks of what is inside: a schema would cost nulls', () => {
    const anything = { 'x-kubernetes-preserve-unknown-fields': true };
    expect(fieldOf(z.record(z.string(), z.unknown()).meta(anything))).toEqual({ type: 'object', ...anything });
    const value = { ...anything, nullable: true };
    expect(fieldOf(z.record(z.string(), z.unknown().meta(value)))?.additionalProperties).toEqual(value);
  });

  test('integers have a format and no bounds of JavaScript', () => {
    expect(fieldOf(z.int())).toEqual({ type: 'integer', format: 'int64' });
    expect(fieldOf(z.int().min(0).max(10))).toEqual({ type: 'integer', format: 'int32', minimum: 0, maximum: 10 });
  });

  test('the default of an object holds those of its fields', () => {
    const field = z.strictObject({ a: z.int().default(1), b: z.string().default('x'), c: z.string().optional() });
    expect(fieldOf(field.prefault({}))?.default).toEqual({ a: 1, b: 'x' });
    expect(fieldOf(field.prefault({ a: 2 }))?.default).toEqual({ a: 2, b: 'x' });
  });
});

describe('other forms', () => {
  const field = z
    .unknown()
    .meta({ nullable: true, 'x-kubernetes-preserve-unknown-fields': true })
    .describe('Anything.');
  const list = z.array(z.string()).meta({ 'x-kubernetes-list-type': 'set' }).describe('A list.');
  const kind = {
    schema: z.strictObject({
      spec: z.strictObject({
        map: z.record(z.string().max(9), z.strictObject({ field, list }).describe('An entry.')).describe('A map.'),
      }),
      status: z.strictObject({}),
    }),
    crd: { kind: 'Thing', plural: 'things', singular: 'thing', shortNames: [], categories: [], printerColumns: [] },
  };

  test('editors get no keyword of Kubernetes or OpenAPI', () => {
    expect(JSON.stringify(editorSchemaOf(kind))).not.toMatch(/x-kubernetes|nullable/);
    expect(editorSchemaOf(kind)).toHaveProperty(['properties', 'spec', 'properties', 'map', 'additionalProperties']);
  });

  test('the reference goes into maps, and says what differs', () => {
    const rows = referenceOf(kind).replaceAll(/ +/g, ' ');
    expect(rows).toContain('| `spec.map` | map to maps | **required** | keys: at most 9 characters | A map. |');
    expect(rows).toContain('| `spec.map.*.field` | anything |');
    expect(rows).toContain('| `spec.map.*.list` | list of strings | **required** | entries differ | A list. |');
  });
});
