import { LevadaError } from '../../../api/errors.ts';
import { compileExpression, type Expression } from '../../../api/language/expression.ts';
import { show } from '../../../api/rules.ts';
import { attributesOf, type Event } from '../../events/message.ts';
import type { StepFactory } from '../step.ts';

/** Bytes of an id: it becomes a short string of AMQP. */
const maxIdBytes = 255;

/**
 * Makes an event of the one declared type of a message of somebody else. A message that carries no id gets the one that
 * the expression makes of its data, or keeps the one that was drawn when it was taken.
 */
export const adoptStep: StepFactory<'adopt'> = ({ id }) => {
  const expression = id === undefined ? undefined : compileExpression(id);
  return {
    async run(event) {
      const { id: own, source, subject, time, dataschema, extensions, delivery } = event.message;
      return [
        {
          id: expression && delivery.unidentified ? await idOf(expression, event) : own,
          source,
          ...(subject !== undefined && { subject }),
          ...(time !== undefined && { time }),
          ...(dataschema !== undefined && { dataschema }),
          extensions,
          data: event.data,
        },
      ];
    },
    async close() {},
  };
};

async function idOf(expression: Expression, { message, data }: Event): Promise<string> {
  const found = await expression.evaluate(data, { event: attributesOf(message) });
  const text = typeof found === 'number' ? String(found) : found;
  if (typeof text === 'string' && text !== '' && Buffer.byteLength(text) <= maxIdBytes) return text;
  throw new LevadaError('ExpressionWrongType', {
    expression: expression.text,
    found: found === undefined ? 'nothing' : show(found),
    allowed: `text or a number, at most ${maxIdBytes} bytes, for the id`,
  });
}
