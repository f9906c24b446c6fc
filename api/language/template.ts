import { compileExpression, type Expression, type Variables } from './expression.ts';

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

/** @throws LevadaError ExpressionInvalid */
export function compileTemplate(value: unknown): Template {
  if (typeof value === 'string') return stringTemplate(value);
  if (typeof value !== 'object' || value === null) return { constant: true, render: async () => value };
  const parts = Object.entries(value).map(([key, part]) => [key, compileTemplate(part)] as const);
  if (parts.every(([, part]) => part.constant)) return { constant: true, render: async () => value };
  const isList = Array.isArray(value);
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

function stringTemplate(text: string): Template {
  const inner = unwrapExpression(text);
  if (inner === undefined) return { constant: true, render: async () => text };
  const expression: Expression = compileExpression(inner);
  return { constant: false, render: (data, variables) => expression.evaluate(data, variables) };
}
