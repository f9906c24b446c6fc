/** The shop over RabbitMQ: the same orders, the same results as in memory. */
import { expect, test } from 'vitest';
import { OutcomeShop } from '../support/outcomes.ts';
import { freshVhost, onEachRabbit } from '../support/rabbitmq.ts';
import { checkAllOrders, forAllOrders } from '../support/shop-all.ts';

onEachRabbit((broker) => {
  test('the shop gives the expected results', async () => {
    const uri = await freshVhost(broker);
    await using run = await OutcomeShop.start(forAllOrders, '', { LEVADA_BROKER_URL: uri });
    await checkAllOrders(run);
    const { password } = new URL(uri);
    // Where messages are is said; who may take them is not.
    expect(run.shop.running.output).toContain(
      `Events go through amqp://${broker.settings.host}:${broker.settings.port}/`,
    );
    expect(run.shop.running.output).not.toContain(`:${password}@`);
  });
});
