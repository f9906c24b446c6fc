import { LimitExceeded } from './meter.ts';
import { compileTemplate } from './template.ts';
import { type Schema, Validator } from './validator.ts';
import { violationOf } from './violation.ts';

/** What no event could meet, because of a field that is assigned. */
export interface AssignViolation {
  readonly field: string;
  readonly detail: string;
}

/** A schema that holds for the whole value, and where it is inside the document. */
interface Layer {
  readonly schema: Schema;
  readonly pointer: string;
}

/**
 * What `assign` makes impossible, whatever else is in the body: a field that the schema forbids, or a literal that it
 * forbids there. Only what must hold always is looked at: the schema itself, its `allOf`, and what they refer to.
 *
 * @param schema one that compiles
 * @param assign templates by field
 */
export function assignViolations(schema: Schema, assign: Readonly<Record<string, unknown>>): AssignViolation[] {
  const base = typeof schema.$id === 'string' ? schema.$id : 'levada:schema';
  const validator = new Validator();
  validator.add({ ...schema, $id: base }, base);
  const layers = layersOf(schema);
  return Object.entries(assign).flatMap(([field, template]) => {
    const detail = fieldProblem(field, template, layers, base, validator);
    return detail === undefined ? [] : [{ field, detail }];
  });
}

function fieldProblem(
  field: string,
  template: unknown,
  layers: readonly Layer[],
  base: string,
  validator: Validator,
): string | undefined {
  for (const layer of layers) {
    const subschemas = subschemasFor(field, layer, validator);
    if (subschemas.length === 0 && isClosed(layer, layers)) return `${field}: there is no such field in the schema`;
    if (!compileTemplate(template).constant) continue;
    for (const pointer of subschemas) {
      const validate = validator.compile({ $ref: `${base.replace(/#$/, '')}#${pointer}` });
      try {
        const errors = validator.check(validate, template);
        if (errors.length === 0) continue;
        const { field: inner, found, allowed } = violationOf(errors, template);
        const place = inner === '' ? field : inner.startsWith('[') ? field + inner : `${field}.${inner}`;
        return `${place}: found ${found}; allowed: ${allowed}`;
      } catch (error) {
        if (!(error instanceof LimitExceeded)) throw error;
        return `${field}: ${error.message}`;
      }
    }
  }
  return undefined;
}

const isMap = (value: unknown): value is Schema => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The schema, what it refers to, and its `allOf`, all the way down. */
function layersOf(root: Schema): Layer[] {
  const layers: Layer[] = [];
  const seen = new Set<unknown>();
  const add = (schema: unknown, pointer: string) => {
    if (!isMap(schema) || seen.has(schema)) return;
    seen.add(schema);
    layers.push({ schema, pointer });
    const target = typeof schema.$ref === 'string' ? /^#(\/.*)?$/.exec(schema.$ref) : null;
    if (target) add(...resolve(root, target[1] ?? ''));
    if (Array.isArray(schema.allOf)) {
      for (const [index, part] of schema.allOf.entries()) add(part, `${pointer}/allOf/${index}`);
    }
  };
  add(root, '');
  return layers;
}

function resolve(root: Schema, pointer: string): [schema: unknown, pointer: string] {
  let schema: unknown = root;
  for (const part of pointer.split('/').slice(1)) {
    const key = decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
    schema = typeof schema === 'object' && schema !== null && Object.hasOwn(schema, key) ? (schema as Schema)[key] : {};
  }
  return [schema, pointer];
}

const escapePointer = (key: string) => encodeURIComponent(key.replaceAll('~', '~0').replaceAll('/', '~1'));

/** Pointers to what `layer` says of `field`. */
function subschemasFor(field: string, { schema, pointer }: Layer, validator: Validator): string[] {
  const found: string[] = [];
  if (isMap(schema.properties) && Object.hasOwn(schema.properties, field)) {
    found.push(`${pointer}/properties/${escapePointer(field)}`);
  }
  const patterns = isMap(schema.patternProperties) ? Object.keys(schema.patternProperties) : [];
  for (const pattern of patterns) {
    if (validator.matches(pattern, field)) found.push(`${pointer}/patternProperties/${escapePointer(pattern)}`);
  }
  const others = schema.additionalProperties;
  if (found.length === 0 && isMap(others)) found.push(`${pointer}/additionalProperties`);
  return found;
}

/** Whether `layer` forbids what it does not name. `unevaluatedProperties` looks into other parts, which may name it. */
function isClosed({ schema }: Layer, layers: readonly Layer[]): boolean {
  if (schema.additionalProperties === false) return true;
  const open = ['anyOf', 'oneOf', 'if', 'dependentSchemas', '$dynamicRef'];
  return schema.unevaluatedProperties === false && layers.length === 1 && !open.some((keyword) => keyword in schema);
}
