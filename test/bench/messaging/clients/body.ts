import { randomUUID } from 'node:crypto';

/** Bytes of a message's body. */
export const bodyBytes = 250;

/** An order, as services send them to each other, padded to {@link bodyBytes}. `due`: µs of the monotonic clock. */
export function orderBody(n: number, due = 0): Buffer {
  const order = {
    ...{ n, due, id: randomUUID(), customer: `customer-${n % 1000}`, amount: (n % 10_000) / 100 },
    ...{ currency: 'EUR', items: [{ sku: `sku-${n % 500}`, quantity: 1 + (n % 3) }], note: '' },
  };
  const missing = bodyBytes - Buffer.byteLength(JSON.stringify(order));
  return Buffer.from(JSON.stringify({ ...order, note: 'x'.repeat(Math.max(0, missing)) }));
}

/** Of the machine's monotonic clock: the same for all processes. */
export const nowMicros = (): number => Number(process.hrtime.bigint() / 1000n);
