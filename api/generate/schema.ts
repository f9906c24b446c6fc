import * as z from 'zod';

/** The part of JSON Schema that our zod schemas turn into. */
export interface Schema {
  description?: string;
  type?: string;
  format?: string;
  pattern?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  maxProperties?: number;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: boolean | Schema;
  propertyNames?: Schema;
  anyOf?: Schema[];
  nullable?: boolean;
  'x-kubernetes-int-or-string'?: boolean;
  'x-kubernetes-preserve-unknown-fields'?: boolean;
  'x-kubernetes-list-type'?: string;
  'x-kubernetes-list-map-keys'?: string[];
  'x-kubernetes-validations'?: Validation[];
}

export interface Validation {
  rule: string;
  message: string;
  fieldPath?: string;
}

/** Every keyword that may appear, in the order in which files show them. */
const keywords: ReadonlyArray<keyof Schema> = [
  'description',
  'type',
  'format',
  'pattern',
  'enum',
  'const',
  'nullable',
  'default',
  'minimum',
  'maximum',
  'minLength',
  'maxLength',
  'minItems',
  'maxItems',
  'maxProperties',
  'x-kubernetes-int-or-string',
  'x-kubernetes-preserve-unknown-fields',
  'x-kubernetes-list-type',
  'x-kubernetes-list-map-keys',
  'anyOf',
  'propertyNames',
  'required',
  'properties',
  'items',
  'additionalProperties',
  'x-kubernetes-validations',
];

/** A resource as a user writes it, without what zod adds on its own account. */
export function schemaOf(resource: z.ZodType, target: 'openapi-3.0' | 'draft-7'): Schema {
  const { $schema: _, ...schema } = z.toJSONSchema(resource, { target, io: 'input' });
  return tidy(schema as Schema);
}

/** `schema` with `change` applied to each schema directly inside it. */
export function mapChildren(schema: Schema, change: (child: Schema) => Schema): Schema {
  const { properties, items, additionalProperties, propertyNames, anyOf } = schema;
  return {
    ...schema,
    ...(properties && {
      properties: Object.fromEntries(Object.entries(properties).map(([name, child]) => [name, change(child)])),
    }),
    ...(items && { items: change(items) }),
    ...(typeof additionalProperties === 'object' && { additionalProperties: change(additionalProperties) }),
    ...(propertyNames && { propertyNames: change(propertyNames) }),
    ...(anyOf && { anyOf: anyOf.map(change) }),
  };
}

/** The schema with its keywords in one order; a keyword that nobody has thought about is a mistake in the generator. */
export function ordered(schema: Schema): Schema {
  const unknown = Object.keys(schema).filter((key) => !(keywords as readonly string[]).includes(key));
  if (unknown.length > 0) throw new Error(`the generator does not know the JSON Schema keyword ${unknown.join(', ')}`);
  return Object.fromEntries(keywords.flatMap((key) => (schema[key] === undefined ? [] : [[key, schema[key]]])));
}

function tidy(schema: Schema): Schema {
  const result = mapChildren(schema, tidy);
  // JavaScript's safe integers say nothing about the field.
  if (result.minimum === Number.MIN_SAFE_INTEGER) delete result.minimum;
  if (result.maximum === Number.MAX_SAFE_INTEGER) delete result.maximum;
  // zod spells out the calendar in half a screen of pattern.
  if (result.format === 'date-time') delete result.pattern;
  // RegExp.source escapes slashes, which mean nothing outside a JavaScript literal.
  if (result.pattern) result.pattern = result.pattern.replaceAll('\\/', '/');
  if (result.default !== undefined) result.default = completeDefault(result);
  return ordered(result);
}

/** The default of an object together with those of its fields: `{}` would hide what it stands for. */
function completeDefault({ default: value, properties }: Schema): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const inner = Object.entries(properties ?? {}).flatMap(([name, field]) =>
    field.default === undefined ? [] : [[name, field.default]],
  );
  return { ...Object.fromEntries(inner), ...value };
}
