import { expect } from 'vitest';
import { expectedOrders, type ShopOrder } from './shop.ts';

/** An event that the sink was sent. */
export interface Sunk {
  readonly type: string;
  readonly id: string;
  readonly data: Record<string, unknown>;
}

/** The shop, with a sink, wherever it runs. */
export interface ShopRun {
  /** Posts an order that is accepted. @returns its order_id */
  order(order: ShopOrder): Promise<string>;
  /** Waits until no message waits or is in hand anywhere. */
  idle(): Promise<unknown>;
  /** The event of that type that came of an order, as soon as it did. */
  emitted(type: string, orderId: string): Promise<Sunk>;
  hasEmitted(type: string, orderId: string): boolean | Promise<boolean>;
  /** Of all steps. */
  deadLetters(): Promise<readonly unknown[]>;
}

/** What the sink is to see of the shop. */
export const shopTypes = ['stock.reserved', 'stock.rejected', 'shipment.booked', 'order.enriched', 'order.flagged'];

/** Lets the sink see all of it, and fifty orders at once wait for a Java that has only just started on a busy machine. */
export function forAllOrders({ steps }: { steps: Array<Record<string, unknown>> }): void {
  const named = (wanted: string) => steps.find(({ name }) => name === wanted)!;
  Object.assign(named('sink'), { consumes: shopTypes });
  Object.assign(named('enrich')['fanout'] as object, { timeout: '60s' });
}

/** Posts every order of expected/orders.json: each event that comes of it is the expected one, whatever carries it. */
export async function checkAllOrders(run: ShopRun): Promise<void> {
  const { orders, tolerance } = await expectedOrders();
  expect(orders.length).toBeGreaterThanOrEqual(50);
  const posted = await Promise.all(orders.map(async (expected) => ({ expected, id: await run.order(expected.order) })));
  await run.idle();
  for (const { expected, id } of posted) {
    const { inventory, reply, shipment, fraud, flagged, results, order } = expected;
    expect((await run.emitted(inventory, id)).data).toMatchObject({ order_id: id, ...reply });
    if (shipment) expect((await run.emitted('shipment.booked', id)).data).toMatchObject({ order_id: id, ...shipment });
    const { data } = await run.emitted('order.enriched', id);
    expect(data).toMatchObject({ ...order, order_id: id, status: 'pending' });
    expect(Math.abs((data['fraud'] as number) - fraud)).toBeLessThanOrEqual(tolerance);
    const found = data['results'] as Array<{ status: unknown; data?: unknown; error?: string }>;
    const told = found.map(({ status, data: got, error = '' }) => {
      if (status === 200) return { status, data: got };
      // A refusal is an error that names the status of its answer; any other error is none that is expected.
      const [, refused] = /^HTTP (\d{3}) /.exec(error) ?? [];
      return refused === undefined ? { status, error } : { status: Number(refused) };
    });
    expect(told).toEqual(results);
    expect(await run.hasEmitted('order.flagged', id)).toBe(flagged);
  }
  expect(await run.deadLetters()).toEqual([]);
}
