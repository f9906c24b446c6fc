import { describe, expect, test } from 'vitest';
import { LevadaError } from '../../api/errors.ts';
import { until } from '../../test/support/wait.ts';
import type { Message } from '../events/message.ts';
import { gate, post, run, sourceConfig } from './testing.ts';

const key = (value: string | string[]) => ({ headers: { 'idempotency-key': value } });

/** A broker that has got everything, and says nothing until `confirm`. */
function unconfirmed() {
  let fails = true;
  const published: Message[] = [];
  const publish = async (_pipeline: string, messages: readonly Message[]) => {
    published.push(...messages);
    if (fails) throw new LevadaError('BrokerUnavailable', { detail: 'it has not confirmed the message' });
  };
  const confirm = () => {
    fails = false;
  };
  return { published, publish, confirm };
}

describe('Idempotency-Key', () => {
  test('the same request again: the same answer, no second event', async () => {
    await using source = await run({ response: { status: 201, body: { order: '{% $event.id %}' } } });
    const first = await post(source.url, { a: 1 }, key('k-1'));
    const again = await post(source.url, { a: 1 }, key('k-1'));
    expect(first.headers['idempotency-replayed']).toBeUndefined();
    expect(again.headers['idempotency-replayed']).toBe('true');
    expect([again.status, again.text, again.headers['x-levada-event-id']]).toEqual([
      201,
      first.text,
      first.headers['x-levada-event-id'],
    ]);
    expect(source.published).toHaveLength(1);
  });

  test('another body: refused', async () => {
    await using source = await run();
    await post(source.url, { a: 1 }, key('k-1'));
    const other = await post(source.url, { a: 2 }, key('k-1'));
    expect([other.status, other.headers['x-levada-error']]).toEqual([422, 'IdempotencyKeyReused']);
    expect(source.published).toHaveLength(1);
  });

  test('the same body as another event: refused', async () => {
    await using source = await run();
    const event = (id: string) => ({
      headers: {
        'idempotency-key': 'k',
        'ce-specversion': '1.0',
        'ce-id': id,
        'ce-source': '/s',
        'ce-type': 'order.created',
      },
    });
    expect((await post(source.url, {}, event('e-1'))).status).toBe(202);
    expect((await post(source.url, {}, event('e-1'))).headers['idempotency-replayed']).toBe('true');
    expect((await post(source.url, {}, event('e-2'))).headers['x-levada-error']).toBe('IdempotencyKeyReused');
  });

  test('while the first is under way: come again', async () => {
    const door = gate();
    await using source = await run({}, { publish: () => door.wait() });
    const first = post(source.url, { a: 1 }, key('k-1'));
    await until('the first is under way', () => door.waiting() === 1);
    const second = await post(source.url, { a: 1 }, key('k-1'));
    expect([second.status, second.headers['x-levada-error'], second.headers['retry-after']]).toEqual([
      409,
      'IdempotencyKeyInUse',
      '1',
    ]);
    door.open();
    expect((await first).status).toBe(202);
    expect((await post(source.url, { a: 1 }, key('k-1'))).headers['idempotency-replayed']).toBe('true');
    expect(door.waiting()).toBe(1);
  });

  test('the answer is kept for a client that has gone before it came', async () => {
    const door = gate();
    await using source = await run({}, { publish: () => door.wait() });
    const controller = new AbortController();
    const headers = { 'idempotency-key': 'k', 'content-type': 'application/json' };
    const gone = fetch(source.url, { method: 'POST', body: '{}', headers, signal: controller.signal });
    await until('it is under way', () => door.waiting() === 1);
    controller.abort();
    await expect(gone).rejects.toThrow();
    door.open();
    const again = await until('it is done', async () => {
      const got = await post(source.url, '{}', key('k'));
      return got.status === 202 && got;
    });
    expect(again.headers['idempotency-replayed']).toBe('true');
    expect(door.waiting()).toBe(1);
  });

  test.each([
    ['a broker that is full', new LevadaError('BrokerFull', { found: 1, limit: 1 }), 503],
    ['an error nobody knows', new Error('oh'), 500],
  ])('%s frees it', async (_name, error, status) => {
    let fails = true;
    await using source = await run(
      {},
      {
        publish: async () => {
          if (fails) throw error;
        },
      },
    );
    expect((await post(source.url, { a: 1 }, key('k'))).status).toBe(status);
    fails = false;
    const { status: then, headers } = await post(source.url, { a: 2 }, key('k'));
    expect([then, headers['idempotency-replayed']]).toEqual([202, undefined]);
  });

  test('a request that may have been taken is taken once: the same one again is the same event', async () => {
    const { published, publish, confirm } = unconfirmed();
    await using source = await run({ response: { status: 201, body: { order: '{% $event.id %}' } } }, { publish });
    expect((await post(source.url, { a: 1 }, key('k'))).status).toBe(503);
    expect((await post(source.url, { a: 1 }, key('k'))).status).toBe(503);
    confirm();
    const { status, json, headers } = await post(source.url, { a: 1 }, key('k'));
    expect([status, headers['idempotency-replayed']]).toEqual([201, undefined]);
    expect(published).toHaveLength(3);
    expect(new Set(published.map(({ id }) => id))).toEqual(new Set([json.order]));
    expect(published[2]).toEqual(published[0]);
    expect((await post(source.url, { a: 1 }, key('k'))).headers['idempotency-replayed']).toBe('true');
    expect(published).toHaveLength(3);
  });

  test('one that may have been taken, with another body: another event', async () => {
    const { published, publish, confirm } = unconfirmed();
    await using source = await run({}, { publish });
    await post(source.url, { a: 1 }, key('k'));
    confirm();
    expect((await post(source.url, { a: 2 }, key('k'))).status).toBe(202);
    expect(published[1]?.id).not.toBe(published[0]?.id);
  });

  test('one that may have been taken, after an edit that gives it another type: another event', async () => {
    const { published, publish, confirm } = unconfirmed();
    await using source = await run({}, { publish });
    await post(source.url, { a: 1 }, key('k'));
    await source.source.update(sourceConfig({ emits: { type: 'order.placed' } }));
    confirm();
    expect((await post(source.url, { a: 1 }, key('k'))).status).toBe(202);
    expect(published.map(({ type }) => type)).toEqual(['order.created', 'order.placed']);
    expect(published[1]?.id).not.toBe(published[0]?.id);
  });

  test('a body that is refused does not use it up', async () => {
    await using source = await run({ emits: { type: 'order.created', schema: { type: 'object' } } });
    expect((await post(source.url, '[]', key('k'))).status).toBe(422);
    expect((await post(source.url, '{}', key('k'))).status).toBe(202);
  });

  test.each([
    ['an empty one', ''],
    ['a long one', 'k'.repeat(256)],
    ['one with a space', 'a b'],
    ['one beyond ASCII', 'é'],
    ['two of them', ['a', 'b']],
    ['one twice', ['a', 'a']],
  ])('%s is invalid', async (_name, value) => {
    await using source = await run();
    const { status, headers, json } = await post(source.url, {}, key(value));
    expect([status, headers['x-levada-error']]).toEqual([400, 'IdempotencyKeyInvalid']);
    expect(json.error.message).toContain('allowed: one key of 1 to 255 visible ASCII characters');
    expect(source.published).toEqual([]);
  });

  test.each(['k', 'k'.repeat(255), '"8e03978e-40d5-43dd-bc93-6894a57f9324"', '!~'])('%s is valid', async (value) => {
    await using source = await run();
    expect((await post(source.url, {}, key(value))).status).toBe(202);
    expect((await post(source.url, {}, key(value))).headers['idempotency-replayed']).toBe('true');
  });

  test('is remembered for a day', async () => {
    let now = 0;
    await using source = await run({}, { now: () => now });
    await post(source.url, {}, key('k'));
    now = 24 * 3_600_000 - 1;
    expect((await post(source.url, {}, key('k'))).headers['idempotency-replayed']).toBe('true');
    now++;
    expect((await post(source.url, {}, key('k'))).headers['idempotency-replayed']).toBeUndefined();
    expect(source.published).toHaveLength(2);
  });

  test('outlives a live edit', async () => {
    await using source = await run();
    const first = await post(source.url, {}, key('k'));
    await source.source.update(sourceConfig({ response: { status: 200 } }));
    const again = await post(source.url, {}, key('k'));
    expect([again.status, again.text]).toEqual([202, first.text]);
  });
});
