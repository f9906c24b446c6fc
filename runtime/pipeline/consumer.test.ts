import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ConsumerConfig } from '../../api/contract/pipeline.ts';
import { LevadaError } from '../../api/errors.ts';
import { until } from '../../test/support/wait.ts';
import type { Clock } from '../clock.ts';
import { MemoryDedupStore } from '../delivery/memory-store.ts';
import { environment, type HandlerServer, handlerServer, messageOf } from '../steps/testing.ts';
import { FakeClock } from '../transports/memory/testing.ts';
import { MemoryTransport } from '../transports/memory/transport.ts';
import type { Delivery, QueueName } from '../transports/transport.ts';
import { Consumer } from './consumer.ts';
import { listDeadLetters, replayDeadLetters } from './dead-letters.ts';
import type { End } from './ends.ts';

const pipeline = 'default/orders';
let clock: FakeClock;
let transport: MemoryTransport;
let ends: End[];
const open: Consumer[] = [];
let server: HandlerServer | undefined;

beforeEach(() => {
  clock = new FakeClock();
  transport = new MemoryTransport({ clock });
  ends = [];
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((consumer) => consumer.close(0)));
  await transport.close();
  await server?.[Symbol.asyncDispose]();
  server = undefined;
});

const baseConfig: ConsumerConfig = {
  kind: 'consumer',
  pipeline,
  name: 'reserve',
  action: { kind: 'transform', value: '{% {"id": order} %}' },
  emits: [{ type: 'stock.reserved' }],
  retry: { maxAttempts: 3, initialMs: 1_000, factor: 2, maxMs: 60_000 },
  concurrency: 4,
};

async function start(change: Partial<ConsumerConfig> = {}, time: Clock = clock): Promise<Consumer> {
  const consumer = await Consumer.start(
    { ...baseConfig, ...change },
    {
      transport,
      environment,
      dedup: new MemoryDedupStore(),
      clock: time,
      date: () => new Date(0),
      random: randomBytes,
      ended: (end) => ends.push(end),
      changed: () => {},
      log: () => {},
    },
  );
  open.push(consumer);
  return consumer;
}

const bind = () =>
  transport.apply({
    pipeline,
    queues: [
      { name: 'reserve', bindings: [{ pipeline, type: 'order.created' }] },
      { name: 'sink', bindings: [{ pipeline, type: 'stock.reserved' }] },
    ],
  });

const publish = (data: unknown, id = 'e-1') =>
  transport.publish(pipeline, [messageOf({ id, data: Buffer.from(JSON.stringify(data)) })]);

const ended = (count: number) =>
  until(`${count} ends`, () => ends.length >= count, { seen: () => JSON.stringify(ends) });
const depth = async (queue = 'reserve') => (await transport.depths(pipeline))[queue];
const brief = () =>
  ends.map(({ end, reason, delayMs }) => [end, reason, delayMs].filter((part) => part !== undefined).join(' '));

/** A handler that answers with these statuses, one a request, the last one for ever. */
async function handler(...statuses: number[]): Promise<Partial<ConsumerConfig>> {
  let index = 0;
  server = await handlerServer((res) => {
    const status = statuses[Math.min(index, statuses.length - 1)] ?? 204;
    index++;
    res.writeHead(status).end();
  });
  return { action: { kind: 'http', url: server.url, timeoutMs: 5_000 } };
}

test('what a step emits has the id of what it came from, the step as its source, and a span of the same trace', async () => {
  await bind();
  await start();
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const data = Buffer.from('{"order":7}');
  await transport.publish(pipeline, [messageOf({ id: 'a', data, extensions: { traceparent, tracestate: 'v=1' } })]);
  await ended(1);
  const [message] = ends[0]!.emits;
  expect(message).toMatchObject({
    id: 'a',
    source: '/default/orders/reserve',
    type: 'stock.reserved',
    time: '1970-01-01T00:00:00.000Z',
    extensions: { tracestate: 'v=1' },
    delivery: { attempt: 1 },
  });
  expect(message!.extensions['traceparent']).toMatch(
    /^00-0af7651916cd43dd8448eb211c80319c-(?!b7ad6b7169203331)[0-9a-f]{16}-01$/,
  );
  expect(Buffer.from(message!.data).toString()).toBe('{"id":7}');
  expect(await depth('sink')).toMatchObject({ ready: 1 });
});

test('an event for which when is false is skipped, and one for which it is not boolean is a dead letter', async () => {
  await bind();
  await start({ when: 'total > 5', concurrency: 1 });
  await publish({ total: 1 });
  await publish({ total: 9, order: 1 });
  await publish({ order: 1 });
  await ended(3);
  expect(brief()).toEqual(['skipped', 'done', 'dead ExpressionWrongType']);
  expect(await depth('sink')).toMatchObject({ ready: 1 });
});

test('data that breaks the schema of what is emitted is a dead letter that names the field', async () => {
  await bind();
  const schema = { type: 'object', properties: { id: { type: 'integer' } } };
  await start({ emits: [{ type: 'stock.reserved', schema }] });
  await publish({ order: 'seven' });
  await ended(1);
  expect(brief()).toEqual(['dead EventBreaksSchema']);
  const [letter] = await listDeadLetters(transport, pipeline, {}, 10);
  expect(letter).toMatchObject({ step: 'reserve', id: 'e-1', attempt: 1, data: { order: 'seven' } });
  expect(letter!.error).toMatch(/^id: found "seven"/);
});

test('a failure that may pass is tried again on the ladder, and is a dead letter after the last attempt', async () => {
  await bind();
  await start(await handler(500));
  await publish({});
  await ended(1);
  clock.advance(999);
  expect(server!.requests).toHaveLength(1);
  clock.advance(1);
  await ended(2);
  clock.advance(2_000);
  await ended(3);
  expect(brief()).toEqual(['retry HandlerFailed 1000', 'retry HandlerFailed 2000', 'dead HandlerFailed']);
  expect(server!.requests.map(({ headers }) => headers['x-levada-attempt'])).toEqual(['1', '2', '3']);
  expect(new Set(server!.requests.map(({ headers }) => headers['idempotency-key'])).size).toBe(1);
  expect(await depth()).toEqual({ ready: 0, delayed: 0, unsettled: 0, dead: 1 });
});

test('a dead letter that is replayed begins anew, for its step alone, with another idempotency key', async () => {
  await bind();
  await start(await handler(400, 204));
  await publish({});
  await ended(1);
  expect(await replayDeadLetters(transport, pipeline, { step: 'other' })).toBe(0);
  expect(await replayDeadLetters(transport, pipeline, { ids: ['e-1'] })).toBe(1);
  await ended(2);
  expect(brief()).toEqual(['dead HandlerRejected', 'done']);
  const [first, second] = server!.requests.map(({ headers }) => headers['idempotency-key']);
  expect(first).not.toBe(second);
  expect(await depth()).toEqual({ ready: 0, delayed: 0, unsettled: 0, dead: 0 });
  expect(await depth('sink')).toMatchObject({ ready: 0 });
});

test('a dead letter whose id was drawn is replayed as one: its data say its id still', async () => {
  await bind();
  await start(await handler(400, 204));
  const delivery = { attempt: 1, unidentified: true } as const;
  await transport.publish(pipeline, [messageOf({ id: 'drawn', data: Buffer.from('{}'), delivery })]);
  await ended(1);
  expect(await replayDeadLetters(transport, pipeline, {})).toBe(1);
  await ended(2);
  expect(ends.map(({ end, message }) => [end, message.delivery.unidentified])).toEqual([
    ['dead', true],
    ['done', true],
  ]);
});

test('a replay that nobody waits for any more leaves the rest where it is', async () => {
  await bind();
  await start(await handler(400));
  for (let i = 0; i < 3; i++) await publish({ i }, `e-${i}`);
  await ended(3);
  const client = new AbortController();
  const replaying = replayDeadLetters(transport, pipeline, {}, {}, client.signal);
  client.abort();
  await replaying;
  expect((await depth())?.dead).toBeGreaterThan(0);
  expect(await replayDeadLetters(transport, pipeline, {}, {}, client.signal)).toBe(0);
});

test('while the handler is not there the breaker takes no messages and counts no attempts', async () => {
  await bind();
  const consumer = await start({ ...(await handler(503, 503, 503, 503, 503, 503, 204)), concurrency: 1 });
  for (let i = 0; i < 5; i++) await publish({ i }, `e-${i}`);
  await ended(3);
  expect(consumer.state).toMatchObject({ breaker: 'Open', message: expect.stringContaining('503') });
  const attempts = () => server!.requests.map(({ headers }) => `${headers['ce-id']}#${headers['x-levada-attempt']}`);
  expect(attempts()).toEqual(['e-0#1', 'e-1#1', 'e-2#1']);
  // One message after another is the probe; none of them pays for it.
  const done = () => ends.filter(({ end }) => end === 'done');
  for (let count = 4; done().length < 5; count++) {
    clock.advance(30_000);
    await until('a probe', () => ends.length >= Math.min(count, 7));
    // The clock of its time-out is this one: what is in hand ends before it goes on.
    await until('nothing is in hand', async () => (await depth())?.unsettled === 0);
    if (count > 40) throw new Error(`it never ends: ${attempts().join(' ')}`);
  }
  expect(consumer.state.breaker).toBe('Closed');
  expect(done()).toHaveLength(5);
  expect(Math.max(...ends.map(({ message }) => message.delivery.attempt))).toBe(2);
});

// Timers of Node are whole milliseconds, and fire a little early: the breaker is still open then, by less than this.
test.each([0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95])(
  'an open breaker lets one through also where time goes on by %f ms while it is looked at',
  async (passes) => {
    await bind();
    let looks = 0;
    const passing: Clock = {
      now: () => clock.now() + passes * looks++,
      after: (ms, run) => clock.after(Math.max(1, Math.floor(ms)), run),
    };
    await start({ ...(await handler(503, 503, 503, 204)), concurrency: 1 }, passing);
    for (let i = 0; i < 4; i++) await publish({ i }, `e-${i}`);
    await ended(3);
    for (let i = 0; i < 5; i++) clock.advance(1_000);
    await ended(4);
  },
);

test('a key that is done is not handled again, one that failed is, and one under way waits', async () => {
  await bind();
  const idempotency = { key: 'order', retentionMs: 60_000 };
  await start({ ...(await handler(500, 204)), idempotency, concurrency: 1 });
  await publish({ order: 1 }, 'a');
  await ended(1);
  clock.advance(1_000);
  await ended(2);
  await publish({ order: 1 }, 'b');
  await ended(3);
  clock.advance(60_001);
  await publish({ order: 1 }, 'c');
  await ended(4);
  expect(brief()).toEqual(['retry HandlerFailed 1000', 'done', 'duplicate', 'done']);
  expect(server!.requests).toHaveLength(3);
});

test('two deliveries of one key at once: the second waits for the first, without losing an attempt', async () => {
  await bind();
  const gate = Promise.withResolvers<void>();
  server = await handlerServer((res) => void gate.promise.then(() => res.writeHead(204).end()));
  const action = { kind: 'http' as const, url: server.url, timeoutMs: 5_000 };
  await start({ action, idempotency: { key: 'order', retentionMs: 60_000 } });
  await publish({ order: 1 }, 'a');
  await publish({ order: 1 }, 'b');
  await ended(1);
  gate.resolve();
  await ended(2);
  clock.advance(1_000);
  await ended(3);
  expect(brief()).toEqual(['retry 1000', 'done', 'duplicate']);
  expect(server.requests).toHaveLength(1);
});

test('a new configuration handles what comes next; what is in hand ends under the old one', async () => {
  await bind();
  const gate = Promise.withResolvers<void>();
  server = await handlerServer((res) => void gate.promise.then(() => res.writeHead(204).end()));
  const consumer = await start({ action: { kind: 'http', url: server.url, timeoutMs: 5_000 } });
  await publish({}, 'old');
  await until('a request', () => server!.requests.length === 1);
  consumer.update(baseConfig);
  await publish({ order: 2 }, 'new');
  await ended(1);
  gate.resolve();
  await ended(2);
  expect(ends.map(({ message, emits }) => [message.id, emits.length])).toEqual([
    ['new', 1],
    ['old', 0],
  ]);
});

test('closing finishes what is in hand; what takes longer than the grace is delivered again', async () => {
  await bind();
  server = await handlerServer((res, { body }) => {
    if (body.includes('quick')) res.writeHead(204).end();
  });
  const action = { kind: 'http' as const, url: server.url, timeoutMs: 60_000 };
  const consumer = await start({ action });
  await publish('quick', 'a');
  await publish('slow', 'b');
  await until('both', () => server!.requests.length === 2);
  await ended(1);
  const closed = consumer.close(1_000);
  await publish('quick', 'c');
  await until('the timer', () => clock.timers > 0);
  clock.advance(1_000);
  await closed;
  expect(ends.map(({ message, end }) => `${message.id} ${end}`)).toEqual(['a done', 'b released']);
  expect(await depth()).toMatchObject({ ready: 2, unsettled: 0 });
});

test('a broker that is full makes the step wait with what it has done, and run nothing twice', async () => {
  transport = new MemoryTransport({ clock, maxBytes: 8_000 });
  await bind();
  // Each event becomes three times as large: the second one's does not fit beside the first one's.
  await start({ action: { kind: 'transform', value: '{% $ & $ & $ %}' }, concurrency: 1 });
  for (const id of ['a', 'b', 'c']) await publish('x'.repeat(1_000), id);
  await ended(1);
  await until('it waits', () => clock.timers > 0);
  expect(await depth()).toMatchObject({ ready: 1, unsettled: 1 });
  const taken: string[] = [];
  const sink = await transport.consume({ pipeline, queue: 'sink' }, 10, (delivery) => {
    taken.push(delivery.message.id);
    void delivery.settle({ kind: 'done', emits: [] });
  });
  await until('the sink is empty', () => taken.length === 1);
  clock.advance(200);
  await until('all are there', () => taken.length === 3);
  expect(taken).toEqual(['a', 'b', 'c']);
  expect(brief()).toEqual(['done', 'done', 'done']);
  await sink.close();
});

/** A transport that refuses the first settlements of each delivery, with `error`. */
class Refusing extends MemoryTransport {
  refusals = 0;
  error: () => Error = () => new LevadaError('BrokerUnavailable', { detail: 'a test' });

  override consume(name: QueueName, limit: number, deliver: (delivery: Delivery) => void) {
    return super.consume(name, limit, (delivery) => {
      let left = this.refusals;
      deliver({
        message: delivery.message,
        redelivered: delivery.redelivered,
        get held() {
          return delivery.held;
        },
        settle: async (settlement) => {
          if (left-- > 0) throw this.error();
          await delivery.settle(settlement);
        },
      });
    });
  }
}

test.each([
  { what: 'done', change: {}, ends: ['done'], depth: {} },
  {
    what: 'dead',
    change: { action: { kind: 'transform', value: '{% $error("no") %}' } },
    ends: ['dead ExpressionFailed'],
    depth: { dead: 1 },
  },
] as const)('$what: a broker that is away for a while is told how it ended when it is back', async (row) => {
  const refusing = new Refusing({ clock });
  refusing.refusals = 3;
  transport = refusing;
  await bind();
  await start(row.change as Partial<ConsumerConfig>);
  await publish('x', 'a');
  for (let i = 0; i < 3; i++) {
    await until('it waits', () => clock.timers > 0);
    expect(await depth()).toMatchObject({ ready: 0, unsettled: 1 });
    expect(ends).toEqual([]);
    clock.advance(200);
  }
  await ended(1);
  expect(brief()).toEqual(row.ends);
  expect(await depth()).toMatchObject({ ready: 0, unsettled: 0, ...row.depth });
});

test.each([
  { emits: [], again: 'duplicate' },
  { emits: [{ type: 'stock.reserved' }], again: 'done' },
])('a key of what was taken away after it had been handled: $again', async ({ emits, again }) => {
  const refusing = new Refusing({ clock });
  refusing.refusals = 1;
  refusing.error = () => {
    refusing.refusals = 0;
    return new Error('the channel has gone');
  };
  transport = refusing;
  await bind();
  server = await handlerServer((res) => {
    if (emits.length === 0) res.writeHead(204).end();
    else res.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  });
  const action = { kind: 'http', url: server.url, timeoutMs: 1_000 } as const;
  await start({ action, emits, idempotency: { key: 'order', retentionMs: 60_000 } });
  await publish({ order: 7 });
  await ended(1);
  expect(brief()).toEqual([again]);
  expect(server.requests).toHaveLength(again === 'duplicate' ? 1 : 2);
});

test('what cannot be settled because of a mistake in here is given back, and handled again', async () => {
  const refusing = new Refusing({ clock });
  refusing.refusals = 1;
  refusing.error = () => {
    refusing.refusals = 0;
    return new Error('a mistake');
  };
  transport = refusing;
  await bind();
  await start();
  await publish('x', 'a');
  await ended(1);
  expect(brief()).toEqual(['done']);
  expect(await depth()).toMatchObject({ ready: 0, unsettled: 0 });
});
