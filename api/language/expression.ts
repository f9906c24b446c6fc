import { LevadaError, messageOf } from '../errors.ts';
import { show } from '../rules.ts';
import { checkDefaults } from './defaults.ts';
import { Forbidden, limit } from './engine.ts';
import { copyJson, NotJson } from './json.ts';
import { type Parsed, parse } from './jsonata.ts';
import { limits } from './limits.ts';
import { LimitExceeded, Meter } from './meter.ts';
import { BadPicture } from './pictures.ts';
import { NotAllowed, type Scan, scan } from './scan.ts';

/** A compiled JSONata expression. Several evaluations may be under way at once. */
export interface Expression {
  readonly text: string;
  /**
   * @param data what names without `$` refer to: JSON; not changed
   * @param variables by name without `$`
   * @returns JSON that shares nothing with `data`, or `undefined` where the expression gives nothing
   * @throws LevadaError ExpressionFailed, ExpressionLimit, ExpressionWrongType (a function)
   */
  evaluate(data: unknown, variables?: Variables): Promise<unknown>;
}

export type Variables = Readonly<Record<string, unknown>>;

export interface ExpressionOptions {
  /** Names that {@link Expression.evaluate} is given, without `$`. Default: `event`. */
  readonly variables?: readonly string[];
  /** What `$uuid()` gives. */
  readonly uuid?: () => string;
}

/**
 * @param text JSONata; docs/guides/expressions.md says what is different
 * @throws LevadaError ExpressionInvalid, whose `detail` names position and token
 */
export function compileExpression(text: string, options: ExpressionOptions = {}): Expression {
  const { variables: known = ['event'], uuid = () => crypto.randomUUID() } = options;
  let parsed: Parsed;
  let found: Scan;
  try {
    if (text.length > limits.text)
      throw new NotAllowed(`${text.length} characters; at most ${limits.text} are allowed`);
    checkDefaults(text);
    parsed = parse(text, { sequence: limits.items });
    found = scan(parsed.ast(), known);
  } catch (error) {
    throw new LevadaError('ExpressionInvalid', { detail: invalid(error) });
  }
  limit(parsed, found, uuid);
  return {
    text,
    async evaluate(data, variables = {}) {
      try {
        const copy = (value: unknown) => (found.mutates ? copyJson(value, new Meter()) : value);
        const result = await parsed.evaluate(copy(data), copy(variables) as object);
        return copyJson(result, new Meter());
      } catch (error) {
        throw failure(error, text);
      }
    },
  };
}

function invalid(error: unknown): string {
  if (error instanceof NotAllowed) return error.message;
  if (error instanceof RangeError) return 'too many brackets inside each other';
  return described(error);
}

/** What JSONata throws is an object with a message; what its built-ins run into are Errors. */
function failure(error: unknown, text: string): LevadaError {
  const expression = oneLine(text, 120);
  if (error instanceof LimitExceeded) return new LevadaError('ExpressionLimit', { expression, detail: error.message });
  if (error instanceof NotJson) {
    if (error.found.startsWith('a function')) return wrongType(text, error.found, 'JSON');
    return new LevadaError('ExpressionFailed', { expression, detail: `${error.found}, which JSON cannot hold` });
  }
  const { code } = error as { code?: string };
  const native = error instanceof RangeError && /call stack|invalid (string|array) length/i.test(error.message);
  if (native || code === 'D2014' || code === 'D2015') {
    const detail = native ? 'a value is too large or nested too deep' : longListMessage;
    return new LevadaError('ExpressionLimit', { expression, detail });
  }
  return new LevadaError('ExpressionFailed', { expression, detail: described(error) });
}

const longListMessage = `a list has more than ${limits.items.toLocaleString('en-US')} items`;

function described(error: unknown): string {
  const { message, position, token } = error as { message?: unknown; position?: unknown; token?: unknown };
  const detail = oneLine(typeof message === 'string' ? message : messageOf(error), 300);
  // Positions count from 1, behind what they speak of, as JSONata has them.
  const place = typeof position === 'number' ? [`position ${position}`] : [];
  const known = error instanceof Forbidden || error instanceof BadPicture;
  const named =
    typeof token === 'string' && token !== '(end)' && !detail.includes(JSON.stringify(token)) && !known
      ? [`"${token}"`]
      : [];
  const where = [...place, ...named].join(', ');
  return where === '' ? detail : `${detail} (${oneLine(where, 80)})`;
}

const oneLine = (text: string, length: number) => {
  const flat = text.replaceAll(/\s+/g, ' ').trim();
  return flat.length > length ? `${flat.slice(0, length)}…` : flat;
};

interface Kinds {
  boolean: boolean;
  string: string;
  number: number;
  /** Of an idempotency key: text that is not empty, or a number. */
  key: string;
  /** Text only. JSONata makes one text of a list of one, so one text stands for that. */
  strings: string[];
}

const allowed: Readonly<Record<keyof Kinds, string>> = {
  boolean: 'true or false',
  string: 'text',
  number: 'a number',
  key: 'text that is not empty, or a number',
  strings: 'a list of text; in [ … ] none and one are lists, too',
};

/**
 * @param value what the expression has given
 * @throws LevadaError ExpressionWrongType
 */
export function expectType<K extends keyof Kinds>(value: unknown, expression: Expression | string, kind: K): Kinds[K] {
  const typed = convert(value, kind);
  if (typed !== undefined) return typed as Kinds[K];
  const odd = kind === 'strings' && Array.isArray(value) ? value.findIndex((item) => typeof item !== 'string') : -1;
  const found = odd < 0 ? show(value) : `${show((value as unknown[])[odd])} at [${odd}]`;
  throw wrongType(typeof expression === 'string' ? expression : expression.text, found, allowed[kind]);
}

function convert(value: unknown, kind: keyof Kinds): unknown {
  if (kind === 'key')
    return typeof value === 'number' ? String(value) : value === '' ? undefined : convert(value, 'string');
  if (kind !== 'strings') return typeof value === kind ? value : undefined;
  if (typeof value === 'string') return [value];
  return Array.isArray(value) && value.every((item) => typeof item === 'string') ? value : undefined;
}

const wrongType = (text: string, found: string, allowed: string) =>
  new LevadaError('ExpressionWrongType', { expression: oneLine(text, 120), found, allowed });
