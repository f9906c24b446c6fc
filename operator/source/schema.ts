import type * as z from 'zod';
import { modelUriPattern, mountedUriPattern } from '../../api/contract/model-uri.ts';
import { dns1035, dnsLabel, dnsSubdomain } from '../../api/contract/names.ts';
import { type ErrorCode, type Problem, problem } from '../../api/errors.ts';
import { formatPath, type Path, valueAt } from '../../api/path.ts';
import { show } from '../../api/rules.ts';
import {
  durationPattern,
  eventTypePattern,
  literalPattern,
  urlPattern,
  wrappedOrLiteralPattern,
  wrappedPattern,
} from '../../api/v1alpha1/event-pipeline-rules.ts';
import { secretKeyPattern, secretNamePattern } from './secrets.ts';

/** The text of the unquoted scalar at a path, where the value comes from a file: `yes` where the value is `true`. */
export type SourceOf = (path: Path) => string | undefined;

type Schema = z.core.$ZodType;
type Issue = z.core.$ZodIssue;

/** `value` by `schema`; every mistake at once, each with a registered code and the path of its field. */
export function checkSchema<S extends Schema>(
  schema: S,
  value: unknown,
  sourceOf: SourceOf = () => undefined,
): { data?: z.output<S>; problems: Problem[] } {
  const parsed = (schema as unknown as z.ZodType<z.output<S>>).safeParse(value);
  if (parsed.success) return { data: parsed.data, problems: [] };
  const byPath = Map.groupBy(parsed.error.issues.flatMap(perField), (issue) => formatPath(issue.path as Path));
  const problems = [...byPath].map(([path, issues]) => fieldProblem(schema, value, path, issues, sourceOf));
  return { problems };
}

/** An issue about several unknown fields of a map becomes one issue a field, at the field's own path. */
function perField(issue: Issue): Issue[] {
  if (issue.code !== 'unrecognized_keys') return [issue];
  return issue.keys.map((key) => ({ ...issue, keys: [key], path: [...issue.path, key] }));
}

function fieldProblem(schema: Schema, root: unknown, at: string, issues: Issue[], sourceOf: SourceOf): Problem {
  const path = (issues[0]?.path ?? []) as Path;
  const value = valueAt(root, path);
  if (issues[0]?.code === 'unrecognized_keys') {
    const field = issues[0].keys[0] ?? '';
    return problem('UnknownField', at, {
      field,
      allowed: allowedFields(fieldsOf(fieldAt(schema, path.slice(0, -1))), field),
    });
  }
  if (value === undefined) return problem('MissingField', at);
  const code: ErrorCode = issues.some(isAboutType) ? 'InvalidType' : 'InvalidValue';
  if (issues[0]?.code === 'invalid_key') {
    return problem(code, at, {
      found: `the key ${show(path.at(-1))}`,
      allowed: issues.map((issue) => allowedBy(issue)).join(', '),
    });
  }
  const isInteger = (fieldAt(schema, path)._zod.def as { format?: string }).format === 'safeint';
  const allowed = [...new Set(withoutSafeRange(issues).map((issue) => allowedBy(issue, isInteger)))].join(', ');
  const wantsText = code === 'InvalidType' && allowed.includes('a string');
  return problem(code, at, { found: foundText(value, sourceOf(path), code, wantsText), allowed });
}

/** The bounds of JavaScript's integers say nothing to a user where the field has bounds of its own. */
function withoutSafeRange(issues: Issue[]): Issue[] {
  const own = issues.filter((issue) => !('note' in issue));
  return own.length > 0 ? own : issues;
}

function isAboutType(issue: Issue): boolean {
  if (issue.code === 'invalid_union') return issue.errors.every((branch) => branch.some(isAboutType));
  return issue.code === 'invalid_type';
}

const typeNames: Record<string, string> = {
  string: 'a string',
  number: 'a number',
  int: 'an integer',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map',
  record: 'a map',
};

/** Patterns that have a name. */
const patternNames: Record<string, string> = {
  [String(dns1035)]: 'lower-case letters, digits and -, from a letter to a letter or digit',
  [String(dnsLabel)]: 'lower-case letters, digits and -, from and to a letter or digit',
  [String(dnsSubdomain)]: 'lower-case letters, digits and -, in words between dots',
  [String(durationPattern)]: 'a duration such as 500ms, 10s or 1h30m (units: ms, s, m, h, d)',
  [String(eventTypePattern)]: 'a type of event: letters, digits, _ and -, in words between dots',
  [String(wrappedPattern)]: 'an expression inside {% … %}',
  [String(literalPattern)]: 'a name without {%: it is no expression',
  [String(wrappedOrLiteralPattern)]: 'an expression inside {% … %} as a whole, or text without {%',
  [String(secretNamePattern)]: 'NAME or NAMESPACE/NAME, of lower-case letters, digits, - and .',
  [String(secretKeyPattern)]: 'letters, digits, -, _ and ., at most 253',
  [String(mountedUriPattern)]: 'file:///PATH, pvc://CLAIM/PATH or configmap://NAME/KEY',
  [String(modelUriPattern)]:
    'file:///PATH, pvc://CLAIM/PATH, configmap://NAME/KEY, or without user, password and query https://HOST/PATH, http://HOST/PATH or s3://BUCKET/KEY',
  [String(urlPattern)]: 'an http or https URL without user, password and fragment, its odd characters escaped',
};

function allowedBy(issue: Issue, isInteger = false): string {
  switch (issue.code) {
    case 'invalid_type':
      return typeNames[isInteger ? 'int' : issue.expected] ?? issue.expected;
    case 'invalid_union':
      return issue.errors.map((branch) => branch.map((inner) => allowedBy(inner)).join(', ')).join(' or ');
    case 'invalid_value':
      return issue.values.map((value) => show(value)).join(', ');
    case 'too_small':
      return bound(issue.exact ? 'exactly' : 'at least', issue.minimum, issue.origin);
    case 'too_big':
      return bound(issue.exact ? 'exactly' : 'at most', issue.maximum, issue.origin);
    case 'invalid_format':
      return patternNames[issue.pattern ?? ''] ?? formatName(issue.format, issue.pattern);
    case 'invalid_key':
      return issue.issues.map((inner) => allowedBy(inner)).join(', ');
    default:
      return issue.message;
  }
}

const formatName = (format: string, pattern: string | undefined): string =>
  format === 'regex' && pattern ? `text that matches ${pattern.slice(1, -1).replaceAll('\\/', '/')}` : `a ${format}`;

function bound(how: string, limit: number | bigint, origin: string): string {
  const noun = { string: 'character', array: 'entry', object: 'field', record: 'field' }[origin];
  if (!noun) return `${how} ${limit}`;
  if (Number(limit) === 1) return `${how} 1 ${noun}`;
  return `${how} ${limit} ${noun === 'entry' ? 'entries' : `${noun}s`}`;
}

/** What was found, as the user wrote it, and as what kubectl takes it where that is a surprise. */
function foundText(value: unknown, source: string | undefined, code: ErrorCode, wantsText: boolean): string {
  if (typeof value === 'string') return code === 'InvalidType' ? `${show(value)} (a string)` : show(value);
  if (typeof value === 'object' && value !== null) return show(value);
  return scalarText(value, source, wantsText);
}

/** A value that an unquoted scalar, `source`, stands for without being its text: null, a boolean or a number. */
export function scalarText(value: unknown, source: string | undefined, wantsText: boolean): string {
  if (value === null && !source) return 'nothing (null)';
  const kind = value === null ? 'null' : typeof value === 'boolean' ? 'a boolean' : 'a number';
  if (wantsText && source) return `${source} (${kind} for kubectl: quote it)`;
  return source && source !== String(value) ? `${source} (${String(value)} for kubectl)` : String(value);
}

/** The schema of the value at `path`, without optional() and the like. */
const fieldAt = (schema: Schema, path: Path): Schema =>
  path.reduce((here: Schema, key) => unwrap(childOf(here, key)), unwrap(schema));

const fieldsOf = (schema: Schema): string[] => Object.keys((schema._zod.def as { shape?: object }).shape ?? {});

function childOf(schema: Schema, key: string | number): Schema {
  const child = findChild(schema, key);
  if (!child) throw new TypeError(`a schema of type ${schema._zod.def.type} has no field ${key}`);
  return child;
}

function findChild(schema: Schema, key: string | number): Schema | undefined {
  const { shape, element, valueType, options } = schema._zod.def as {
    shape?: Record<string | number, Schema>;
    element?: Schema;
    valueType?: Schema;
    options?: readonly Schema[];
  };
  const ofOption = () => options?.map((option) => findChild(unwrap(option), key)).find((child) => child !== undefined);
  return shape?.[key] ?? element ?? valueType ?? ofOption();
}

/** The schema inside optional(), default() and prefault(). */
function unwrap(schema: Schema): Schema {
  const { innerType } = schema._zod.def as { innerType?: Schema };
  return innerType ? unwrap(innerType) : schema;
}

function allowedFields(allowed: readonly string[], found: string): string {
  const meant = closest(found, allowed);
  return `${allowed.join(', ') || 'none'}${meant ? ` (did you mean ${meant}?)` : ''}`;
}

/** The option that `word` is most likely a slip of. */
function closest(word: string, options: readonly string[]): string | undefined {
  if (word.length > 64) return undefined;
  const limit = Math.max(1, Math.floor(word.length / 3));
  const near = options
    .map((option) => ({ option, distance: editDistance(word.toLowerCase(), option.toLowerCase()) }))
    .filter(({ distance }) => distance <= limit)
    .sort((a, b) => a.distance - b.distance);
  return near[0]?.option;
}

/** Levenshtein distance: single-character edits from `a` to `b`. */
function editDistance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (const [row, letter] of [...a].entries()) {
    const line = [row + 1];
    for (const [column, other] of [...b].entries()) {
      const replaced = (above[column] ?? 0) + (letter === other ? 0 : 1);
      line.push(Math.min(replaced, (above[column + 1] ?? 0) + 1, (line[column] ?? 0) + 1));
    }
    above = line;
  }
  return above[b.length] ?? 0;
}
