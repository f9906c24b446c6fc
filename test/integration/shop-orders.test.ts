/** Every order of expected/orders.json, posted to the running example: each event that comes of it is the expected one. */
import { afterAll, beforeAll, test } from 'vitest';
import { OutcomeShop } from '../support/outcomes.ts';
import { checkAllOrders, forAllOrders } from '../support/shop-all.ts';

let run: OutcomeShop;
beforeAll(async () => {
  run = await OutcomeShop.start(forAllOrders);
});
afterAll(() => run?.[Symbol.asyncDispose]());

test('replies, shipments, scores, flags and fan-out results are the expected ones', () => checkAllOrders(run));
