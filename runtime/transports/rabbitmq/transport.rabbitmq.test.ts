import { onEachRabbit } from '../../../test/support/rabbitmq.ts';
import { transportConformance } from '../conformance.ts';
import { RabbitTransport } from './transport.ts';

onEachRabbit(({ settings }) => {
  const open = () => new RabbitTransport(settings);
  transportConformance(
    'RabbitMQ',
    async () => {
      const transport = open();
      return { transport, again: async () => open(), close: () => transport.close() };
    },
    { budget: 'what a broker takes is its own: alarms and lengths of queues have tests of their own' },
  );
});
