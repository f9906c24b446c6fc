import { LevadaError } from '../../../api/errors.ts';
import { compileExpression } from '../../../api/language/expression.ts';
import { unwrapExpression } from '../../../api/language/template.ts';
import { attributesOf } from '../../events/message.ts';
import type { StepFactory } from '../step.ts';

/**
 * Makes the data of the event that is emitted by an expression.
 *
 * @throws LevadaError ExpressionInvalid
 */
export const transformStep: StepFactory<'transform'> = ({ value }) => {
  const expression = compileExpression(unwrapExpression(value) ?? value);
  return {
    async run({ message, data }) {
      const result = await expression.evaluate(data, { event: attributesOf(message) });
      if (result !== undefined) return [{ data: result }];
      throw new LevadaError('ExpressionFailed', { expression: expression.text, detail: 'it gave nothing' });
    },
    async close() {},
  };
};
