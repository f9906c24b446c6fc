import { expect } from 'vitest';
import type { OutcomeShop } from './outcomes.ts';
import { expectedOrders } from './shop.ts';

/** What the sink is to see of the shop. */
export const shopTypes = ['stock.reserved', 'stock.rejected', 'shipment.booked', 'order.enriched', 'order.flagged'];

/** Posts every order of expected/orders.json: each event that comes of it is the expected one, whatever carries it. */
export async function checkAllOrders(run: OutcomeShop): Promise<void> {
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
}
