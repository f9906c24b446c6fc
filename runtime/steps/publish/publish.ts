import { LevadaError } from '../../../api/errors.ts';
import { compileTemplate } from '../../../api/language/template.ts';
import { show } from '../../../api/rules.ts';
import { attributesOf } from '../../events/message.ts';
import type { StepFactory } from '../step.ts';

/** Bytes of a routing key: a short string of AMQP. */
const maxKeyBytes = 255;

/** Puts the event where somebody else reads. It emits nothing. */
export const publishStep: StepFactory<'publish'> = ({ exchange, routingKey, format }, environment) => {
  const template = compileTemplate(routingKey);
  return {
    async run({ message, data }) {
      const { publish } = environment;
      if (!publish) throw new LevadaError('BrokerRequired', { found: 'a publish step' });
      const key = await template.render(data, { event: attributesOf(message) });
      if (typeof key !== 'string' || Buffer.byteLength(key) > maxKeyBytes) {
        throw new LevadaError('ExpressionWrongType', {
          expression: routingKey,
          found: key === undefined ? 'nothing' : show(key),
          allowed: `text of at most ${maxKeyBytes} bytes, for the routing key`,
        });
      }
      await publish({ exchange, routingKey: key }, { message, format });
      return [];
    },
    async close() {},
  };
};
