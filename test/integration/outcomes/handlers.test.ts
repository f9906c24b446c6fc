/** Rows of docs/guides/outcomes.md: what a handler's answer means. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OutcomeShop, rowsOf, shares } from '../../support/outcomes.ts';
import { until } from '../../support/wait.ts';

let run: OutcomeShop;
beforeAll(async () => {
  run = await OutcomeShop.start(({ steps }) => {
    const extra = (name: string, url: string, user: number) =>
      steps.push({
        name,
        consumes: ['order.created'],
        when: `user_id = ${user}`,
        http: { url },
        retry: { maxAttempts: 2 },
      });
    extra('refused', 'http://closed/', 1001);
    extra('lost', 'http://nowhere/', 1002);
  });
});
afterAll(() => run?.[Symbol.asyncDispose]());

/** An order whose handler does what the fault says. */
const withFault = (fault: string): Promise<string> => run.order({ items: [`fault:${fault}`, 'laptop'] });
const step = async (name: string) => (await run.shop.steps())[name];

interface Death {
  fault: string;
  reason: string;
  attempt: number;
  error: RegExp;
}

/** Faults that end as dead letters, and what is said of them. */
const deadly: Record<string, Death[]> = {
  'handler-400': [
    { fault: '400', reason: 'HandlerRejected', attempt: 1, error: /answered 400.*asked for by fault:400/ },
    { fault: '404', reason: 'HandlerRejected', attempt: 1, error: /answered 404/ },
  ],
  'handler-redirect': [{ fault: '302', reason: 'HandlerRejected', attempt: 1, error: /answered 302/ }],
  'handler-hang': [{ fault: 'hang', reason: 'HandlerTimeout', attempt: 2, error: /did not answer within 3000 ms/ }],
  'handler-close': [
    { fault: 'close', reason: 'HandlerClosed', attempt: 2, error: /closed the connection/ },
    { fault: 'cut', reason: 'HandlerClosed', attempt: 2, error: /closed the connection/ },
  ],
  'handler-huge': [
    { fault: 'huge', reason: 'ReplyTooLarge', attempt: 1, error: /larger than 16777216 bytes/ },
    { fault: 'endless', reason: 'ReplyTooLarge', attempt: 1, error: /larger than 16777216 bytes/ },
  ],
  'handler-bad-json': [{ fault: 'badjson', reason: 'ReplyInvalid', attempt: 1, error: /JSON/ }],
  'handler-bad-event': [{ fault: 'badce', reason: 'ReplyInvalid', attempt: 1, error: /specversion/ }],
  'handler-undeclared': [
    { fault: 'undeclared', reason: 'EventUndeclared', attempt: 1, error: /declares: stock\.reserved, stock\.rejected/ },
    { fault: 'untyped', reason: 'EventUndeclared', attempt: 1, error: /no type/ },
  ],
  'handler-schema': [{ fault: 'badschema', reason: 'EventBreaksSchema', attempt: 1, error: /found|required/ }],
};

async function dies({ fault, reason, attempt, error }: Death): Promise<void> {
  const id = await withFault(fault);
  const letter = await run.dead('inventory', id);
  expect(letter).toMatchObject({ reason, attempt, step: 'inventory', type: 'order.created' });
  expect(letter.error).toMatch(error);
  expect(letter.data).toMatchObject({ order_id: id, items: [`fault:${fault}`, 'laptop'] });
  expect(run.hasEmitted('stock.reserved', id)).toBe(false);
  // The other steps had the event all the same.
  await run.emitted('order.enriched', id);
}

const rows: Record<string, () => Promise<void>> = {
  ...Object.fromEntries(
    Object.entries(deadly).map(([name, all]) => [name, async () => void (await Promise.all(all.map(dies)))]),
  ),
  async 'handler-event'() {
    const id = await run.order();
    expect((await run.emitted('stock.reserved', id)).data).toMatchObject({ reservation_id: `res-${id}` });
    expect(run.calls(id)).toEqual(['1 stock.reserved']);
  },
  async 'handler-204'() {
    await run.shop.idle();
    const before = (await step('shipping'))?.counts?.done;
    const id = await withFault('204');
    await until('it was called', () => run.calls(id).length === 1);
    await run.shop.idle();
    expect(run.hasEmitted('stock.reserved', id)).toBe(false);
    expect((await step('shipping'))?.counts?.done).toBe(before);
    expect(await run.shop.deadLetters({ step: 'inventory', reason: 'none' })).toEqual([]);
  },
  async 'handler-429'() {
    const [passing, lasting] = await Promise.all([withFault('429:1'), withFault('429')]);
    await run.emitted('stock.reserved', passing);
    expect(run.calls(passing)).toEqual(['1 fault:429:1', '2 stock.reserved']);
    expect(await run.dead('inventory', lasting)).toMatchObject({ reason: 'HandlerBusy', attempt: 2 });
  },
  async 'handler-500'() {
    const [passing, lasting] = await Promise.all([withFault('500:1'), withFault('500')]);
    await run.emitted('stock.reserved', passing);
    expect(run.calls(passing)).toEqual(['1 fault:500:1', '2 stock.reserved']);
    expect(await run.dead('inventory', lasting)).toMatchObject({ reason: 'HandlerFailed', attempt: 2 });
  },
  async 'handler-503'() {
    await run.shop.idle();
    const ids = await Promise.all([1, 2, 3, 4].map(() => withFault('503:1')));
    await until('the breaker is open', async () => (await step('inventory'))?.breaker !== 'Closed');
    for (const id of ids) await run.emitted('stock.reserved', id);
    expect(run.calls(ids[0]!)[0]).toBe('1 fault:503:1');
    expect(await step('inventory')).toMatchObject({ breaker: 'Closed' });
  },
  async 'handler-refused'() {
    const ids = await Promise.all([1, 2, 3, 4].map(() => run.order({ user_id: 1001 })));
    const open = await until('the breaker is open', async () => {
      const found = await step('refused');
      return found?.breaker !== 'Closed' && found;
    });
    expect(open.message).toMatch(/http:\/\/closed\/ is not there/);
    // Two attempts are allowed; the first ones are counted, those of the open breaker are not.
    await until('more attempts', async () => ((await step('refused'))?.counts?.retried ?? 0) >= ids.length + 3);
    expect(await step('refused')).toMatchObject({ dead: 0 });
  },
  async 'handler-unresolved'() {
    await Promise.all([1, 2, 3].map(() => run.order({ user_id: 1002 })));
    const open = await until('the breaker is open', async () => {
      const found = await step('lost');
      return found?.breaker !== 'Closed' && found;
    });
    expect(open.message).toMatch(/the host "nowhere" does not resolve.*levada\.local\.yaml/);
    expect(open.dead).toBe(0);
  },
  async 'handler-late'() {
    const id = await withFault('late:4500');
    expect(await run.dead('inventory', id)).toMatchObject({ reason: 'HandlerTimeout', attempt: 2 });
    await until('the handler has answered', () => run.calls(id).length >= 2);
    expect(run.hasEmitted('stock.reserved', id)).toBe(false);
  },
};

test('every row of the guide has a test', () => {
  expect(Object.keys(rows).sort()).toEqual(rowsOf(...shares.handlers).sort());
});

// Those that leave something waiting come last.
const last = ['handler-refused', 'handler-unresolved'];
const inOrder = Object.entries(rows).sort(([a], [b]) => last.indexOf(a) - last.indexOf(b));
test.each(inOrder)('%s', (_, check) => check());
