/** The shop's services and their Node twins give the same answers to the same requests. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingLanguages, type RunningServices, shopServices, startServices } from '../support/shop.ts';
import { until } from '../support/wait.ts';

type Kind = 'real' | 'twin';
interface Answer {
  readonly status: number;
  readonly headers: Record<string, unknown>;
  /** Parsed where it is JSON. */
  readonly body: unknown;
}

/** What an answer means is in these; servers differ in others, such as Date. */
const compared = /^(ce-.*|content-type|retry-after|location)$/;

const missing = missingLanguages();
const running = {} as Record<Kind, RunningServices>;
let folder: string;

beforeAll(async () => {
  if (missing) return;
  folder = await mkdtemp(join(tmpdir(), 'levada-shop-'));
  const declared = Object.entries(await shopServices());
  for (const kind of ['real', 'twin'] as const) {
    const env = { INVENTORY_LEDGER: ledger(kind, 'inventory'), SHIPPING_LEDGER: ledger(kind, 'shipping') };
    const services = declared.map(([name, { fallback, ...real }]) => {
      const chosen = kind === 'twin' && fallback ? fallback : real;
      return [name, { ...chosen, env: { ...chosen.env, ...env } }] as const;
    });
    running[kind] = await startServices(Object.fromEntries(services));
  }
});
afterAll(async () => {
  await Promise.all(Object.values(running).map((services) => services.stop()));
  if (folder) await rm(folder, { recursive: true, force: true });
});

const ledger = (kind: Kind, name: string): string => join(folder, `${kind}-${name}.jsonl`);
async function ledgerLines(kind: Kind, name: string): Promise<Array<Record<string, unknown>>> {
  const text = await readFile(ledger(kind, name), 'utf8');
  expect(text.endsWith('\n')).toBe(true);
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

interface Call {
  readonly service?: string;
  readonly method?: string;
  readonly path: string;
  readonly body?: string | Buffer;
  readonly headers?: Record<string, string>;
}

/** node:http, so that paths go out as they are; an answer that breaks off is an error. */
function send(kind: Kind, { service = 'inventory', method, path, body, headers }: Call): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(running[kind].origin(service));
    const wanted = { hostname, port, path, method: method ?? (body === undefined ? 'GET' : 'POST'), headers };
    const request = httpRequest({ ...wanted, agent: false, timeout: 20_000 }, async (response) => {
      try {
        resolve({
          status: response.statusCode ?? 0,
          headers: meaning(response.headers),
          body: parsed(await text(response)),
        });
      } catch (error) {
        reject(error);
      }
    });
    request.on('error', reject);
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.end(body);
  });
}

const meaning = (headers: IncomingHttpHeaders) =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => compared.test(name)));

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The answer that both give. */
async function both(call: Call): Promise<Answer> {
  const [real, twin] = await Promise.all([send('real', call), send('twin', call)]);
  expect(twin).toEqual(real);
  return real;
}

const reserve = (order: unknown, headers: Record<string, string> = {}) =>
  both({ path: '/reserve', body: JSON.stringify(order), headers });
const book = (reserved: unknown, headers: Record<string, string> = {}) =>
  both({ service: 'orders-shipping', path: '/book', body: JSON.stringify(reserved), headers });

/** Skips with the reason, and never under CI. */
const check = (name: string, run: () => Promise<void>): void =>
  test(name, async ({ skip }) => {
    if (missing) skip(missing);
    await run();
  });

describe('inventory', () => {
  check('reserves what is there', async () => {
    const order = { order_id: 'o-1', items: ['laptop', 'mouse'], user_id: 456, total_amount: 1200, status: 'pending' };
    expect(await reserve(order)).toEqual({
      status: 200,
      headers: {
        'content-type': 'application/json',
        'ce-specversion': '1.0',
        'ce-type': 'stock.reserved',
        'ce-source': '/inventory',
        'ce-id': 'reserve-o-1',
      },
      body: {
        order_id: 'o-1',
        user_id: 456,
        reservation_id: 'res-o-1',
        lines: [
          { item: 'laptop', unit_price_cents: 99_900 },
          { item: 'mouse', unit_price_cents: 2_500 },
        ],
      },
    });
  });

  check('rejects what is rare, and an empty order', async () => {
    const rare = await reserve({ order_id: 'o-2', items: ['mouse', 'rare-stamp', 'rare'], user_id: 1 });
    expect(rare.headers['ce-type']).toBe('stock.rejected');
    expect(rare.body).toEqual({ order_id: 'o-2', user_id: 1, reason: 'out of stock', missing: ['rare-stamp', 'rare'] });
    const empty = await reserve({ order_id: 'o-3', items: [] });
    expect(empty.body).toEqual({ order_id: 'o-3', user_id: null, reason: 'nothing was ordered', missing: [] });
  });

  check('refuses what is no order', async () => {
    const bodies = ['', '{', 'null', '[]', '1', '"a"', '{}', '{"order_id":"a"}', '{"order_id":"a","items":[1]}'];
    const more = ['{"order_id":"a b","items":[]}', '{"order_id":"","items":[]}', '{"order_id":1,"items":[]}', '[NaN]'];
    for (const body of [...bodies, ...more, '\ufeff{}', Buffer.from([0x22, 0xff, 0x22])]) {
      expect((await both({ path: '/reserve', body })).status, String(body)).toBe(400);
    }
    expect((await both({ path: '/other', body: '{}' })).status).toBe(404);
    expect((await both({ path: '/reserve', method: 'POST', headers: { 'content-length': '99999999' } })).status).toBe(
      413,
    );
    for (const path of ['/', '/stock', '/stock/', '/customers/0', '/customers/-1', '/customers/1x', '/stats/a']) {
      expect((await both({ path })).status, path).toBe(404);
    }
  });

  check('tells the same of any item, customer and order', async () => {
    const text = fc
      .string({ unit: 'binary', minLength: 1, maxLength: 20 })
      .filter((item) => !item.startsWith('fault:'));
    const order = fc.record({
      order_id: fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/),
      items: fc.array(fc.oneof(text, fc.constantFrom('laptop', 'mouse', 'rare', 'rareness'))),
      user_id: fc.oneof(fc.integer(), fc.constant(null), fc.string()),
    });
    const run = async (item: string, number: number, created: { order_id: string }, round: number) => {
      expect((await both({ path: `/stock/${encodeURIComponent(item)}?q` })).body).toMatchObject({ item });
      expect((await both({ path: `/customers/${number}` })).body).toMatchObject({ user_id: number });
      expect((await reserve(created, { 'idempotency-key': `any-${round}-${item.length}-${number}` })).status).toBe(200);
    };
    let round = 0;
    const property = fc.asyncProperty(
      text,
      fc.integer({ min: 1, max: 999_999_999_999_999 }),
      order,
      (item, number, created) => run(item, number, created, round++),
    );
    await fc.assert(property, { numRuns: 60 });
  });
});

describe('shipping', () => {
  check('books what is reserved', async () => {
    const reserved = { order_id: 'o-1', user_id: 7, reservation_id: 'res-o-1', lines: [{}, {}, {}, {}] };
    expect(await book(reserved)).toEqual({
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: { order_id: 'o-1', shipment_id: 'ship-o-1', carrier: 'Ox', parcels: 2, days: 3 },
    });
    const quote = { user_id: 7, carrier: 'Ox', price_cents: 400, days: 3 };
    expect((await both({ service: 'orders-shipping', path: '/quotes/7' })).body).toEqual(quote);
  });

  check('refuses what it cannot book', async () => {
    const json = [
      '',
      '{',
      '[1,]',
      '{"a":1,}',
      '{"a"}',
      '01',
      '1.',
      '"\t"',
      '"\\x"',
      '"\\u12"',
      'nul',
      '[] []',
      '\ufeff{}',
      'NaN',
    ];
    const orders = ['null', '[]', '1', '{}', '{"order_id":1}', '{"order_id":"a b"}', '{"order_id":""}', '"o"'];
    for (const body of [...json, ...orders, Buffer.from([0x22, 0xff, 0x22])]) {
      expect((await both({ service: 'orders-shipping', path: '/book', body })).status, String(body)).toBe(400);
    }
    for (const path of ['/', '/quotes/', '/quotes/0', '/quotes/a', '/book']) {
      expect((await both({ service: 'orders-shipping', path })).status, path).toBe(404);
    }
    expect((await both({ service: 'orders-shipping', path: '/', body: '{}' })).status).toBe(404);
    expect((await both({ service: 'orders-shipping', path: '/book', method: 'PUT' })).status).toBe(501);
  });

  check('reads any JSON', async () => {
    const reserved = fc.record({
      order_id: fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/),
      user_id: fc.oneof(fc.integer(), fc.double(), fc.maxSafeInteger(), fc.jsonValue()),
      lines: fc.oneof(fc.array(fc.jsonValue()), fc.jsonValue()),
      more: fc.jsonValue({ stringUnit: 'binary' }),
    });
    let round = 0;
    const property = fc.asyncProperty(reserved, async (data) => {
      expect((await book(data, { 'idempotency-key': `json-${round++}` })).status).toBe(200);
    });
    await fc.assert(property, { numRuns: 60 });
    const written =
      '{ "order_id" : "\\u0061\\u002d1" , "user_id" : 1e1 ,\n"lines":[ ] ,"x":"\\"\\\\\\/\\b\\f\\n\\r\\t" }';
    const answer = await both({ service: 'orders-shipping', path: '/book', body: written });
    expect(answer.body).toMatchObject({ order_id: 'a-1', carrier: 'Ox', days: 1 });
  });
});

describe('an idempotency key', () => {
  const outcomes = async (kind: Kind, name: string, id: string) =>
    (await ledgerLines(kind, name)).filter(({ order_id }) => order_id === id).map(({ pid: _, ...line }) => line);
  const counts = async (service: string): Promise<Record<string, number>> =>
    (await both({ service, path: '/stats' })).body as Record<string, number>;

  check('gives one answer and one effect; the ledger has every request', async () => {
    const headers = (attempt: string) => ({
      'idempotency-key': 'key "ü"'.replace('ü', '%C3%BC'),
      'x-levada-attempt': attempt,
    });
    const before = await counts('inventory');
    const first = await reserve({ order_id: 'once', items: ['mouse'], user_id: 1 }, headers('1'));
    expect(await reserve({ order_id: 'once', items: ['rare'], user_id: 2 }, headers('2'))).toEqual(first);
    const after = await counts('inventory');
    expect(after).toEqual({ ...before, 'stock.reserved': (before['stock.reserved'] ?? 0) + 1 });
    const line = { order_id: 'once', key: 'key "%C3%BC"', outcome: 'stock.reserved' };
    for (const kind of ['real', 'twin'] as const) {
      expect(await outcomes(kind, 'inventory', 'once')).toEqual([
        { ...line, attempt: 1, repeated: false },
        { ...line, attempt: 2, repeated: true },
      ]);
    }
  });

  check('does so for shipping, and is the order where there is none', async () => {
    const before = await counts('orders-shipping');
    await book({ order_id: 'ship-once', user_id: 1 });
    await book({ order_id: 'ship-once', user_id: 2 }, { 'x-levada-attempt': 'x' });
    expect(await counts('orders-shipping')).toEqual({ 'shipment.booked': (before['shipment.booked'] ?? 0) + 1 });
    const line = { order_id: 'ship-once', key: 'ship-once', outcome: 'shipment.booked', attempt: null };
    for (const kind of ['real', 'twin'] as const) {
      expect(await outcomes(kind, 'shipping', 'ship-once')).toEqual([
        { ...line, repeated: false },
        { ...line, repeated: true },
      ]);
    }
  });

  check('is kept by many at once', async () => {
    const before = await counts('inventory');
    const order = (n: number) => ({ order_id: `many-${n % 10}`, items: ['mouse'], user_id: n % 10 });
    await Promise.all(Array.from({ length: 100 }, (_, n) => reserve(order(n))));
    expect((await counts('inventory'))['stock.reserved']).toBe((before['stock.reserved'] ?? 0) + 10);
    for (const kind of ['real', 'twin'] as const) {
      const many = (await ledgerLines(kind, 'inventory')).filter(({ key }) => String(key).startsWith('many-'));
      expect([many.length, many.filter(({ repeated }) => repeated === false).length]).toEqual([100, 10]);
    }
  });
});

describe('a fault', () => {
  const faulty = (fault: string, id = fault.replaceAll(':', '-')) => ({
    order_id: id,
    items: ['mouse', fault],
    user_id: 1,
  });

  for (const status of [400, 404, 408, 409, 422, 429, 500, 502, 503, 504, 302, 307]) {
    check(`of status ${status}`, async () => {
      const answer = await reserve(faulty(`fault:${status}`));
      expect(answer).toMatchObject({ status, body: { error: `asked for by fault:${status}` } });
      expect(answer.headers['retry-after']).toBe(status === 429 || status === 503 ? '1' : undefined);
      expect(answer.headers['location']).toBe(status < 400 ? '/reserve' : undefined);
      expect((await both({ path: `/stock/fault:${status}` })).status).toBe(status);
    });
  }

  check('that passes', async () => {
    const statuses = [];
    for (let attempt = 0; attempt < 4; attempt++) statuses.push((await reserve(faulty('fault:503:2'))).status);
    expect(statuses).toEqual([503, 503, 200, 200]);
    expect((await reserve(faulty('fault:503:2', 'another'))).status).toBe(503);
    for (const kind of ['real', 'twin'] as const) {
      const mine = (await ledgerLines(kind, 'inventory')).filter(({ order_id }) => order_id === 'fault-503-2');
      expect(mine.map(({ outcome, repeated }) => `${outcome} ${repeated}`)).toEqual([
        'fault:503:2 false',
        'fault:503:2 false',
        'stock.reserved false',
        'stock.reserved true',
      ]);
    }
  });

  check('that is no fault', async () => {
    expect((await reserve(faulty('fault:unheard-of'))).status).toBe(200);
    expect((await reserve(faulty('fault:'))).status).toBe(200);
    expect((await reserve(faulty('fault:constructor'))).status).toBe(200);
  });

  check('of the answer', async () => {
    expect(await reserve(faulty('fault:204'))).toEqual({ status: 204, headers: {}, body: '' });
    expect((await reserve(faulty('fault:late:1'))).headers['ce-type']).toBe('stock.reserved');
    expect((await reserve(faulty('fault:undeclared'))).headers['ce-type']).toBe('stock.mislaid');
    expect((await reserve(faulty('fault:badschema'))).body).toEqual({ order_id: 1 });
    expect((await reserve(faulty('fault:badce'))).headers['ce-specversion']).toBe('0.3');
    expect((await reserve(faulty('fault:untyped'))).headers).toEqual({ 'content-type': 'application/json' });
    expect((await reserve(faulty('fault:html'))).headers).toEqual({ 'content-type': 'text/html' });
    expect((await reserve(faulty('fault:badjson'))).body).toBe('{"order_id": "1", ');
    const batch = await reserve(faulty('fault:batch'));
    expect(batch.headers).toEqual({ 'content-type': 'application/cloudevents-batch+json' });
    expect(batch.body).toMatchObject([{ type: 'stock.reserved' }, { type: 'stock.rejected' }]);
  });

  for (const kind of ['real', 'twin'] as const) {
    /** The answer as far as it is read; the connection is given up then. */
    const open = (fault: string, readBytes: number): Promise<{ bytes: number; ended: boolean }> =>
      new Promise((resolve, reject) => {
        const { hostname, port } = new URL(running[kind].origin('inventory'));
        const request = httpRequest({ hostname, port, path: '/reserve', method: 'POST', agent: false }, (response) => {
          let bytes = 0;
          response.on('data', (chunk: Buffer) => {
            bytes += chunk.length;
            if (bytes < readBytes) return;
            resolve({ bytes, ended: false });
            request.destroy();
          });
          response.on('end', () => resolve({ bytes, ended: true }));
          response.on('error', reject);
        });
        request.on('error', reject);
        request.end(JSON.stringify(faulty(fault)));
      });

    check(`of the connection: ${kind}`, async () => {
      await expect(open('fault:close', 1)).rejects.toThrow('socket hang up');
      await expect(open('fault:cut', 1_000)).rejects.toThrow('aborted');
      expect(await open('fault:drip', 3)).toMatchObject({ ended: false });
      expect(await open('fault:huge', Infinity)).toEqual({ bytes: 104_857_600, ended: true });
      expect(await open('fault:endless', Infinity)).toEqual({ bytes: 104_857_600, ended: true });
    });

    check(`that hangs, until the client goes: ${kind}`, async () => {
      const { hostname, port } = new URL(running[kind].origin('inventory'));
      const request = httpRequest({ hostname, port, path: '/reserve', method: 'POST', agent: false });
      const failed = new Promise((resolve) => request.on('error', resolve));
      let answered = false;
      request.on('response', () => {
        answered = true;
      });
      request.end(JSON.stringify(faulty('fault:hang', `hang-${kind}`)));
      await until('the ledger has it', async () =>
        (await ledgerLines(kind, 'inventory')).some(({ order_id }) => order_id === `hang-${kind}`),
      );
      expect((await send(kind, { path: '/stats' })).status).toBe(200);
      expect(answered).toBe(false);
      request.destroy(new Error('given up'));
      await failed;
    });

    check(`that ends the process, which comes back: ${kind}`, async () => {
      const [line] = await ledgerLines(kind, 'inventory');
      await expect(open('fault:die', 1)).rejects.toThrow();
      await until('it is back', () => send(kind, { path: '/stats' }));
      await send(kind, { path: '/reserve', body: JSON.stringify({ order_id: `back-${kind}`, items: ['a'] }) });
      expect(running[kind].lines.join('\n')).toContain(
        'service inventory died (exit code 70); it is started again in 0.1 s',
      );
      const last = (await ledgerLines(kind, 'inventory')).at(-1);
      expect(last).toMatchObject({ order_id: `back-${kind}`, repeated: false });
      expect(last?.['pid']).not.toBe(line?.['pid']);
    });
  }
});
