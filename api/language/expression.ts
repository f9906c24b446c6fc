import jsonata from 'jsonata';
import { LevadaError, messageOf } from '../errors.ts';

/** A compiled JSONata expression. */
export interface Expression {
  readonly text: string;
  /**
   * @param data what names without `$` refer to
   * @param variables by name without `$`
   * @returns JSON, or `undefined` where the expression gives nothing
   * @throws LevadaError ExpressionFailed, ExpressionLimit
   */
  evaluate(data: unknown, variables?: Variables): Promise<unknown>;
}

export type Variables = Readonly<Record<string, unknown>>;

/** @throws LevadaError ExpressionInvalid */
export function compileExpression(text: string): Expression {
  let compiled: ReturnType<typeof jsonata>;
  try {
    compiled = jsonata(text);
  } catch (error) {
    throw new LevadaError('ExpressionInvalid', { detail: messageOf(error) });
  }
  return {
    text,
    async evaluate(data, variables = {}) {
      try {
        return await compiled.evaluate(data, variables);
      } catch (error) {
        throw new LevadaError('ExpressionFailed', { expression: text, detail: messageOf(error) });
      }
    },
  };
}
