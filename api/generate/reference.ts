import { apiVersion } from '../contract/names.ts';
import { type Kind, nameRules, type PrinterColumn } from './crd.ts';
import { code, generatedNote, page, prose, table } from './markdown.ts';
import { type Schema, schemaOf, type Validation } from './schema.ts';

/** docs/reference/<kind>.md: every field of a kind. */
export function referenceOf({ schema, crd }: Kind): string {
  const root = schemaOf(schema, 'draft-7');
  const { spec = {}, status = {}, ...head } = root.properties ?? {};
  return page(
    generatedNote,
    `# ${crd.kind}`,
    `${prose(root.description ?? '')} \`${apiVersion}\`; \`kubectl get ${crd.plural}\`, for short ${crd.shortNames.map(code).join(', ')}.`,
    'What is not listed here is refused, apart from the rest of the standard `metadata`. A field that is not required may be left out.',
    '## Head',
    fieldTable(Object.entries(head).flatMap(([name, field]) => fieldsOf(name, field, isRequired(root, name)))),
    '## spec',
    prose(spec.description ?? ''),
    fieldTable(fieldsOf('spec', spec, true).slice(1)),
    '### Rules',
    'What spans fields. The API server checks these expressions; without a cluster Levada checks the same.',
    ruleTable([...nameRules.map((rule) => ({ path: '', rule })), ...rulesOf('spec', spec)]),
    '## status',
    prose(status.description ?? ''),
    fieldTable(fieldsOf('status', status, false).slice(1)),
    '## Columns',
    columnTable(crd.printerColumns),
  );
}

interface Field {
  readonly path: string;
  readonly schema: Schema;
  readonly required: boolean;
}

const isRequired = ({ required = [] }: Schema, name: string): boolean => required.includes(name);

/** The field at `path` and all inside it, in the order in which they are declared. */
function fieldsOf(path: string, schema: Schema, required: boolean): Field[] {
  return [{ path, schema, required }, ...nestedFields(path, schema)];
}

function nestedFields(path: string, schema: Schema): Field[] {
  const { properties = {}, items } = schema;
  const own = Object.entries(properties).flatMap(([name, field]) =>
    fieldsOf(`${path}.${name}`, field, isRequired(schema, name)),
  );
  const values = valuesOf(schema);
  return [
    ...own,
    ...(items ? nestedFields(`${path}[]`, items) : []),
    ...(values ? nestedFields(`${path}.*`, values) : []),
  ];
}

/** The schema of a map's values. */
const valuesOf = ({ additionalProperties: values }: Schema): Schema | undefined =>
  typeof values === 'object' ? values : undefined;

function rulesOf(path: string, schema: Schema): Array<{ path: string; rule: Validation }> {
  const { properties = {}, items } = schema;
  return [
    ...(schema['x-kubernetes-validations'] ?? []).map((rule) => ({ path, rule })),
    ...Object.entries(properties).flatMap(([name, field]) => rulesOf(`${path}.${name}`, field)),
    ...(items ? rulesOf(`${path}[]`, items) : []),
  ];
}

function fieldTable(fields: readonly Field[]): string {
  const rows = fields.map(({ path, schema, required }) => [
    code(path),
    typeOf(schema),
    needOf(schema, required),
    boundsOf(schema),
    prose(schema.description ?? ''),
  ]);
  return table(['Field', 'Type', 'Default', 'Bounds', 'Description'], rows);
}

function typeOf({ type, items, additionalProperties, properties, anyOf, enum: values, ...schema }: Schema): string {
  if (values || schema.const !== undefined) return 'one of';
  if (anyOf) return anyOf.map(typeOf).join(' or ');
  if (type === 'array') return `list of ${items?.properties ? 'maps' : plural(typeOf(items ?? {}))}`;
  if (type === 'object' && !properties && typeof additionalProperties === 'object') {
    return `map to ${plural(typeOf(additionalProperties))}`;
  }
  if (type === 'object') return 'map';
  return schema.format === 'date-time' ? 'time' : (type ?? 'anything');
}

const plural = (type: string): string => type.replaceAll(/\b(string|integer|number|boolean|map)\b/g, '$1s');

function needOf({ default: value }: Schema, required: boolean): string {
  if (value !== undefined) return code(JSON.stringify(value));
  return required ? '**required**' : '';
}

/** Bounds of the value, then those of what it holds. */
function boundsOf(schema: Schema): string {
  const { items, propertyNames } = schema;
  const values = valuesOf(schema);
  return [
    ...ownBounds(schema),
    ...prefixed('each: ', items && !items.properties ? [boundsOf(items)] : []),
    ...prefixed('keys: ', propertyNames ? [boundsOf(propertyNames)] : []),
    ...prefixed('values: ', values ? [boundsOf(values)] : []),
  ].join('; ');
}

const prefixed = (prefix: string, texts: readonly string[]): string[] =>
  texts.filter((text) => text !== '').map((text) => `${prefix}${text}`);

function ownBounds(schema: Schema): string[] {
  const { enum: values, anyOf = [], pattern, format } = schema;
  const allowed = values ?? (schema.const === undefined ? [] : [schema.const]);
  const keys = schema['x-kubernetes-list-map-keys'] ?? [];
  return [
    allowed.map((value) => code(String(value))).join(', '),
    range(schema.minimum, schema.maximum, ''),
    range(schema.minLength, schema.maxLength, ' characters'),
    range(schema.minItems, schema.maxItems, ' entries'),
    range(undefined, schema.maxProperties, ' entries'),
    pattern ? code(pattern) : '',
    format === 'date-time' ? 'RFC 3339, in UTC' : '',
    schema['x-kubernetes-list-type'] === 'set' ? 'entries differ' : '',
    keys.length > 0 ? `${keys.map(code).join(', ')} differ` : '',
    anyOf.map(boundsOf).filter(Boolean).join('; '),
  ].filter((text) => text !== '');
}

function range(least: number | undefined, most: number | undefined, unit: string): string {
  if (least === undefined && most === undefined) return '';
  if (least === most) return `${least}${unit}`;
  if (most === undefined) return `at least ${least}${unit}`;
  return least === undefined ? `at most ${most}${unit}` : `${least} to ${most}${unit}`;
}

function ruleTable(rules: ReadonlyArray<{ path: string; rule: Validation }>): string {
  const rows = rules.map(({ path, rule }) => [
    path ? code(path) : 'the resource',
    prose(rule.message),
    code(rule.rule),
  ]);
  return table(['At', 'Rule', 'CEL'], rows);
}

function columnTable(columns: readonly PrinterColumn[]): string {
  const rows = columns.map(({ name, jsonPath, priority, description }) => [
    name.toUpperCase(),
    code(jsonPath),
    `${prose(description)}${priority ? ' With `-o wide`.' : ''}`,
  ]);
  return table(['Column', 'From', 'Description'], rows);
}
