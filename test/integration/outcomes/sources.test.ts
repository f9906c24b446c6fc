/** Rows of docs/guides/outcomes.md: what a source answers. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OutcomeShop, rowsOf, shares } from '../../support/outcomes.ts';
import { until } from '../../support/wait.ts';

let run: OutcomeShop;
beforeAll(async () => {
  run = await OutcomeShop.start();
});
afterAll(() => run?.[Symbol.asyncDispose]());

const order = { items: ['laptop'], total_amount: 20, user_id: 7 };

interface Case {
  body: unknown;
  headers?: Record<string, string>;
  status: number;
  code: string;
  /** In the body's `error.field` or message. */
  names?: string;
}

const refused: Record<string, Case> = {
  'source-not-json': { body: '{"items": [', status: 400, code: 'InvalidJson' },
  'source-not-an-object': { body: [1], status: 400, code: 'InvalidInput', names: 'a list' },
  'source-schema': { body: { ...order, user_id: 'seven' }, status: 422, code: 'EventBreaksSchema', names: 'user_id' },
  'source-unknown-field': { body: { ...order, coupon: 1 }, status: 422, code: 'EventBreaksSchema', names: 'coupon' },
  'source-media-type': {
    body: 'items=laptop',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    status: 415,
    code: 'UnsupportedMediaType',
  },
  'source-too-large': { body: { ...order, items: ['x'.repeat(1_100_000)] }, status: 413, code: 'BodyTooLarge' },
  'source-key-invalid': {
    body: order,
    headers: { 'idempotency-key': 'two words' },
    status: 400,
    code: 'IdempotencyKeyInvalid',
  },
};

const rows: Record<string, () => Promise<void>> = {
  ...Object.fromEntries(Object.entries(refused).map(([name, found]) => [name, () => isRefused(found)])),
  async 'source-path'() {
    const response = await fetch(`${run.shop.services['orders-api']}/order`, { method: 'POST', body: '{}' });
    expect(response.status).toBe(404);
    expect(response.headers.get('x-levada-error')).toBe('RouteNotFound');
    expect(await response.text()).toContain('POST /orders/');
  },
  async 'source-method'() {
    const response = await fetch(`${run.shop.services['orders-api']}/orders/`);
    expect(response.status).toBe(405);
    expect(response.headers.get('x-levada-error')).toBe('MethodNotAllowed');
    expect(response.headers.get('allow')).toBe('POST');
  },
  async 'source-key-again'() {
    const before = await done('score');
    const headers = { 'idempotency-key': 'again-1' };
    const first = await (await run.shop.post(order, headers)).text();
    const second = await run.shop.post(order, headers);
    expect([second.status, await second.text()]).toEqual([200, first]);
    expect(second.headers.get('idempotency-replayed')).toBe('true');
    await run.shop.idle();
    expect(await done('score')).toBe(before + 1);
  },
  async 'source-key-reused'() {
    const headers = { 'idempotency-key': 'reused-1' };
    expect((await run.shop.post(order, headers)).status).toBe(200);
    await isRefused({
      body: { ...order, user_id: 8 },
      headers,
      status: 422,
      code: 'IdempotencyKeyReused',
      names: 'reused-1',
    });
  },
  async 'source-full'() {
    await run.shop.idle();
    const before = await done('inventory');
    await run.edit(({ steps }) => {
      const named = (wanted: string) => steps.find(({ name }) => name === wanted);
      Object.assign(named('inventory')!['http'] as object, { url: 'http://closed/reserve' });
      // What only waits fills the broker; to score and enrich it as well would keep a slow machine busy for minutes.
      Object.assign(named('score')!, { when: 'false' });
    });
    await until('the edit', async () =>
      (await run.shop.resource()).spec.steps.some(({ http }) => http?.url.includes('closed')),
    );
    const big = { ...order, items: ['y'.repeat(1_000_000)] };
    let accepted = 0;
    const full = await until('the broker is full', async () => {
      const answers = await Promise.all(Array.from({ length: 8 }, () => run.shop.post(big)));
      accepted += answers.filter(({ status }) => status === 200).length;
      return answers.find(({ status }) => status !== 200);
    });
    expect(full.status).toBe(503);
    expect(full.headers.get('x-levada-error')).toBe('BrokerFull');
    expect(Number(full.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(accepted).toBeGreaterThan(20);
    // Nothing that was accepted is lost.
    // Nor does a handler that takes its time over a megabyte count as one that hangs.
    await run.edit(({ steps }) => {
      const inventory = steps.find(({ name }) => name === 'inventory');
      Object.assign(inventory!['http'] as object, { timeout: '60s' });
    });
    await run.shop.idle(120_000);
    expect(await done('inventory')).toBe(before + accepted);
    expect(await run.shop.deadLetters({ step: 'inventory' })).toEqual([]);
  },
};

const done = async (step: string): Promise<number> => (await run.shop.steps())[step]?.counts?.done ?? 0;

async function isRefused({ body, headers, status, code, names = '' }: Case): Promise<void> {
  await run.shop.idle();
  const before = await done('score');
  const response = await run.shop.post(body, headers);
  const text = await response.text();
  expect([response.status, response.headers.get('x-levada-error'), text]).toEqual([
    status,
    code,
    expect.stringContaining(names),
  ]);
  expect(JSON.parse(text)).toMatchObject({ error: { code } });
  await run.shop.idle();
  expect(await done('score')).toBe(before);
}

test('every row of the guide has a test', () => {
  expect(Object.keys(rows).sort()).toEqual(rowsOf(...shares.sources).sort());
  expect(rowsOf('').length).toBe(Object.values(shares).flatMap((prefixes) => rowsOf(...prefixes)).length);
});

test.each(Object.entries(rows))('%s', (_, check) => check());
