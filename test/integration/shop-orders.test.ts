/** Every order of expected/orders.json, posted to the running example: each event that comes of it is the expected one. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OutcomeShop } from '../support/outcomes.ts';
import { expectedOrders } from '../support/shop.ts';

const types = ['stock.reserved', 'stock.rejected', 'shipment.booked', 'order.enriched', 'order.flagged'];

let run: OutcomeShop;
beforeAll(async () => {
  run = await OutcomeShop.start(({ steps }) => {
    Object.assign(steps.find(({ name }) => name === 'sink')!, { consumes: types });
  });
});
afterAll(() => run?.[Symbol.asyncDispose]());

test('replies, shipments, scores, flags and fan-out results are the expected ones', async () => {
  const { orders, tolerance } = await expectedOrders();
  expect(orders.length).toBeGreaterThanOrEqual(50);
  const posted = await Promise.all(orders.map(async (expected) => ({ expected, id: await run.order(expected.order) })));
  await run.shop.idle();
  for (const { expected, id } of posted) {
    const { inventory, reply, shipment, fraud, flagged, results, order } = expected;
    expect((await run.emitted(inventory, id)).data).toMatchObject({ order_id: id, ...reply });
    if (shipment) expect((await run.emitted('shipment.booked', id)).data).toMatchObject({ order_id: id, ...shipment });
    const { data } = await run.emitted('order.enriched', id);
    expect(data).toMatchObject({ ...order, order_id: id, status: 'pending' });
    expect(Math.abs((data['fraud'] as number) - fraud)).toBeLessThanOrEqual(tolerance);
    const found = data['results'] as Array<{ status: unknown; data?: unknown }>;
    expect(found.map(({ status, data: got }) => (status === 200 ? { status, data: got } : { status: 404 }))).toEqual(
      results,
    );
    expect(run.hasEmitted('order.flagged', id)).toBe(flagged);
  }
  expect(await run.shop.deadLetters()).toEqual([]);
});
