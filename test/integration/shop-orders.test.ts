/** Every order of expected/orders.json, posted to the running example: each event that comes of it is the expected one. */
import { afterAll, beforeAll, test } from 'vitest';
import { OutcomeShop } from '../support/outcomes.ts';
import { checkAllOrders, shopTypes } from '../support/shop-all.ts';

let run: OutcomeShop;
beforeAll(async () => {
  run = await OutcomeShop.start(({ steps }) => {
    Object.assign(steps.find(({ name }) => name === 'sink')!, { consumes: shopTypes });
  });
});
afterAll(() => run?.[Symbol.asyncDispose]());

test('replies, shipments, scores, flags and fan-out results are the expected ones', () => checkAllOrders(run));
