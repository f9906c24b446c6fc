import { LevadaError } from '../errors.ts';
import { formatPath } from '../path.ts';
import { compileExpression, type ExpressionOptions, type Variables } from './expression.ts';
import { limits } from './limits.ts';

/** JSON in which strings of the form `{% expression %}` stand for what the expression gives. */
export interface Template {
  /** Whether no expression is in it. */
  readonly constant: boolean;
  /** A member whose expression gives nothing is left out. @throws LevadaError as an {@link Expression} does */
  render(data: unknown, variables?: Variables): Promise<unknown>;
}

const wrapped = /^\{%([\s\S]*)%\}$/;

/** The expression inside `{% … %}`; `undefined` of a literal. */
export const unwrapExpression = (text: string): string | undefined => wrapped.exec(text)?.[1]?.trim();

/**
 * Keys are literals: only values can be expressions.
 *
 * @throws LevadaError ExpressionInvalid, whose `detail` begins with the place inside `value`
 */
export function compileTemplate(value: unknown, options: ExpressionOptions = {}): Template {
  return compile(value, options, []);
}

function compile(value: unknown, options: ExpressionOptions, path: ReadonlyArray<string | number>): Template {
  if (typeof value === 'string') return stringTemplate(value, options, path);
  if (typeof value !== 'object' || value === null) return { constant: true, render: async () => value };
  if (path.length >= limits.depth) throw invalid(path.slice(0, 3), `nested deeper than ${limits.depth}`);
  const isList = Array.isArray(value);
  const parts = Object.entries(value).map(
    ([key, part]) => [key, compile(part, options, [...path, isList ? Number(key) : key])] as const,
  );
  if (parts.every(([, part]) => part.constant)) return { constant: true, render: async () => value };
  return {
    constant: false,
    async render(data, variables) {
      const rendered: Array<[string, unknown]> = [];
      for (const [key, part] of parts) rendered.push([key, await part.render(data, variables)]);
      if (isList) return rendered.map(([, part]) => part).filter((part) => part !== undefined);
      return Object.fromEntries(rendered.filter(([, part]) => part !== undefined));
    },
  };
}

function stringTemplate(text: string, options: ExpressionOptions, path: ReadonlyArray<string | number>): Template {
  const inner = unwrapExpression(text);
  if (inner === undefined) return { constant: true, render: async () => text };
  try {
    const expression = compileExpression(inner, options);
    return { constant: false, render: (data, variables) => expression.evaluate(data, variables) };
  } catch (error) {
    if (!(error instanceof LevadaError) || error.code !== 'ExpressionInvalid') throw error;
    throw invalid(path, String(error.params.detail));
  }
}

const invalid = (path: ReadonlyArray<string | number>, detail: string) =>
  new LevadaError('ExpressionInvalid', { detail: path.length === 0 ? detail : `${formatPath(path)}: ${detail}` });
