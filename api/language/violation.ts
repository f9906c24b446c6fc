import type { ErrorObject } from 'ajv/dist/2020.js';
import { formatPath, type Path, valueAt } from '../path.ts';
import { show } from '../rules.ts';

/** The first place where a value breaks a schema. */
export interface Violation {
  /** `items[0].sku`; empty: the value itself. */
  readonly field: string;
  readonly found: string;
  readonly allowed: string;
}

/** The one of `errors` that helps most. `root` is the value that was checked. */
export function violationOf(errors: readonly ErrorObject[], root: unknown): Violation {
  const error = mostTelling(errors);
  if (error === undefined) return { field: '', found: show(root), allowed: 'what the schema says' };
  const alternatives = error.keyword === 'anyOf' || error.keyword === 'oneOf' ? branches(error, errors) : [];
  const path = [...pathOf(error.instancePath, root), ...extraStep(error)];
  return { field: formatPath(path), found: foundBy(error), allowed: allowedBy(error, alternatives) };
}

/**
 * Errors of branches come before the error of what has the branches. A branch that went wrong deep inside was meant;
 * where all are wrong at the same place, none was.
 */
function mostTelling(errors: readonly ErrorObject[]): ErrorObject | undefined {
  const last = errors.at(-1);
  if (last === undefined) return undefined;
  if (last.keyword === 'if') return mostTelling(errors.slice(0, -1)) ?? last;
  if (last.keyword !== 'anyOf' && last.keyword !== 'oneOf') return last;
  const inner = branches(last, errors);
  const depth = (error: ErrorObject) => error.instancePath.split('/').length + extraStep(error).length;
  const own = last.instancePath.split('/').length;
  // A wrong value of what tells branches apart (`kind: const`) says that another branch was meant.
  const meant = inner.filter((error) => depth(error) > own && error.keyword !== 'const' && error.keyword !== 'enum');
  const deepest = meant.reduce<ErrorObject | undefined>((a, b) => (a && depth(a) >= depth(b) ? a : b), undefined);
  return deepest ?? last;
}

/** Errors at or inside the value that `error` speaks of, other than itself and what only contains others. */
function branches(error: ErrorObject, errors: readonly ErrorObject[]): ErrorObject[] {
  return errors.filter(
    (other) =>
      other !== error &&
      (other.instancePath === error.instancePath || other.instancePath.startsWith(`${error.instancePath}/`)) &&
      !['anyOf', 'oneOf', 'if', 'not'].includes(other.keyword),
  );
}

/** A JSON pointer as a path. Only the value tells a list's index from a map's key of digits. */
function pathOf(pointer: string, root: unknown): Path {
  let value: unknown = root;
  return pointer
    .split('/')
    .slice(1)
    .map((part) => {
      const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
      const step = Array.isArray(value) ? Number(key) : key;
      value = (value as Record<string | number, unknown> | null | undefined)?.[step];
      return step;
    });
}

/** The member that an error of its map is about. */
function extraStep({ keyword, params }: ErrorObject): string[] {
  const name =
    keyword === 'required' || keyword === 'dependentRequired'
      ? params.missingProperty
      : (params.additionalProperty ?? params.unevaluatedProperty ?? params.propertyName);
  return typeof name === 'string' ? [name] : [];
}

function foundBy(error: ErrorObject): string {
  const [member] = extraStep(error);
  if (error.keyword === 'propertyNames') return `the name ${show(member)}`;
  if (member !== undefined) return show(valueAt(error.data, [member]));
  if (error.keyword === 'uniqueItems') return 'items that are the same';
  if (error.keyword === 'minProperties' || error.keyword === 'maxProperties') {
    return `a map of ${Object.keys(error.data as object).length}`;
  }
  return show(error.data);
}

const typeNames: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map',
  null: 'null',
};

const some = (count: unknown, one: string) => `${count} ${one}${count === 1 ? '' : 's'}`;
const anyOf = (texts: readonly string[]) => [...new Set(texts)].join(' or ');

/** What is allowed, by keyword: in words, as the sentence "found …; allowed: …" goes on. */
const words: Readonly<Record<string, (error: ErrorObject) => string>> = {
  type: ({ params }) => anyOf([params.type].flat().map((type) => typeNames[type] ?? String(type))),
  required: () => 'required',
  dependentRequired: ({ params }) => `required beside ${params.property}`,
  additionalProperties: ({ parentSchema }) => noOther(parentSchema),
  unevaluatedProperties: ({ parentSchema }) => noOther(parentSchema),
  propertyNames: () => 'another name for the field',
  enum: ({ params }) => `one of ${listed(params.allowedValues)}`,
  const: ({ params }) => plain(params.allowedValue),
  minimum: ({ params }) => `at least ${params.limit}`,
  maximum: ({ params }) => `at most ${params.limit}`,
  exclusiveMinimum: ({ params }) => `more than ${params.limit}`,
  exclusiveMaximum: ({ params }) => `less than ${params.limit}`,
  multipleOf: ({ params }) => `a multiple of ${params.multipleOf}`,
  minLength: ({ params }) => `at least ${some(params.limit, 'character')}`,
  maxLength: ({ params }) => `at most ${some(params.limit, 'character')}`,
  pattern: ({ params }) => `text that matches ${params.pattern}`,
  format: ({ params }) => `the format ${params.format}`,
  minItems: ({ params }) => `at least ${some(params.limit, 'item')}`,
  maxItems: ({ params }) => `at most ${some(params.limit, 'item')}`,
  uniqueItems: () => 'items that differ',
  items: ({ params }) => `at most ${some(params.limit, 'item')}`,
  unevaluatedItems: ({ params }) => `at most ${some(params.len, 'item')}`,
  contains: ({ params }) =>
    params.maxContains === undefined
      ? `at least ${some(params.minContains, 'item')} of the kind that the schema wants`
      : `${params.minContains} to ${params.maxContains} items of the kind that the schema wants`,
  minProperties: ({ params }) => `at least ${some(params.limit, 'field')}`,
  maxProperties: ({ params }) => `at most ${some(params.limit, 'field')}`,
  not: () => 'anything but what the schema rules out',
  'false schema': () => 'nothing',
};

function allowedBy(error: ErrorObject, alternatives: readonly ErrorObject[]): string {
  if (error.keyword === 'oneOf' && Array.isArray(error.params.passingSchemas)) {
    const [one, other] = error.params.passingSchemas;
    return `exactly one of the forms of oneOf; it has forms ${Number(one) + 1} and ${Number(other) + 1}`;
  }
  if (alternatives.length > 0) {
    return anyOf(alternatives.map((each) => [...extraStep(each), allowedBy(each, [])].join(' ')));
  }
  return words[error.keyword]?.(error) ?? error.message ?? `what ${error.keyword} allows`;
}

function noOther(parentSchema: unknown): string {
  const known = Object.keys((parentSchema as { properties?: object } | undefined)?.properties ?? {});
  return known.length === 0 ? 'no such field' : `no such field; there are ${listed(known)}`;
}

const plain = (value: unknown) => (typeof value === 'string' ? value : show(value));

function listed(values: readonly unknown[]): string {
  const shown = values.slice(0, 20).map(plain).join(', ');
  return values.length > 20 ? `${shown} … (${values.length} in all)` : shown;
}
