import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Answer } from './answer.ts';
import { IdempotencyKeys } from './idempotency.ts';
import type { Taken } from './intake.ts';

const answer = (body: string): Answer => ({ status: 202, body, headers: {} });

/** An event that may be there, and what is said when it is. */
const taken = (id: string, data = '{}'): Taken => ({
  message: {
    ...{ id, source: '/s', type: 't', extensions: {}, data: Buffer.from(data) },
    delivery: { attempt: 1 },
  },
  answer: answer(id),
});

function store(limits: Partial<ConstructorParameters<typeof IdempotencyKeys>[0]> = {}) {
  const clock = { now: 0 };
  const keys = new IdempotencyKeys({ retentionMs: 1_000, maxEntries: 100, maxBytes: 1e6, ...limits }, () => clock.now);
  const use = (key: string, body = key) => {
    const { state } = keys.begin(key, body);
    if (state === 'fresh') keys.done(key, answer(body));
    return state;
  };
  return { keys, clock, use };
}

describe('a key', () => {
  test('is fresh, in use, and then answered', () => {
    const { keys } = store();
    expect(keys.begin('k', 'a')).toEqual({ state: 'fresh' });
    expect(keys.begin('k', 'a')).toEqual({ state: 'in-use' });
    expect(keys.begin('k', 'b')).toEqual({ state: 'reused' });
    keys.done('k', answer('first'));
    expect(keys.begin('k', 'a')).toEqual({ state: 'replay', answer: answer('first') });
    expect(keys.begin('k', 'b')).toEqual({ state: 'reused' });
  });

  test('that is freed is fresh again, for another body as well', () => {
    const { keys } = store();
    keys.begin('k', 'a');
    keys.free('k');
    expect(keys.begin('k', 'b')).toEqual({ state: 'fresh' });
  });

  test('of which nobody knows gives the same request its event again, and another one nothing', () => {
    const { keys } = store();
    keys.begin('k', 'a');
    keys.unsure('k', taken('e-1'));
    expect(keys.begin('k', 'a')).toEqual({ state: 'fresh', taken: taken('e-1') });
    expect(keys.begin('k', 'a')).toEqual({ state: 'in-use' });
    keys.free('k');
    expect(keys.begin('k', 'b')).toEqual({ state: 'fresh' });
    keys.free('k');
    // It is still not known.
    expect(keys.begin('k', 'a')).toEqual({ state: 'fresh', taken: taken('e-1') });
    keys.done('k', answer('e-1'));
    expect(keys.begin('k', 'a')).toEqual({ state: 'replay', answer: answer('e-1') });
    expect(keys.size).toBe(1);
  });

  test('of which nobody knows is forgotten when its time is over', () => {
    const { keys, clock } = store();
    keys.begin('k', 'a');
    keys.unsure('k', taken('e-1'));
    clock.now = 1_000;
    expect(keys.begin('k', 'a')).toEqual({ state: 'fresh' });
    expect([keys.size, keys.bytes]).toEqual([0, 0]);
  });

  test('is forgotten when its time is over, and no earlier', () => {
    const { keys, clock, use } = store();
    use('k');
    clock.now = 999;
    expect(use('k')).toBe('replay');
    clock.now = 1_000;
    expect(use('other')).toBe('fresh');
    expect(keys.size).toBe(1);
    expect(use('k')).toBe('fresh');
  });
});

describe('when there are too many', () => {
  test('the oldest go first, by number', () => {
    const { keys, use } = store({ maxEntries: 2 });
    for (const key of ['a', 'b', 'c']) use(key);
    expect(keys.size).toBe(2);
    expect([use('c'), use('b'), use('a')]).toEqual(['replay', 'replay', 'fresh']);
  });

  test('the oldest go first, by bytes', () => {
    const { keys, use } = store({ maxBytes: 10_000 });
    use('a', 'x'.repeat(4_000));
    use('b', 'x'.repeat(4_000));
    use('c', 'x'.repeat(4_000));
    expect(keys.size).toBe(2);
    expect(use('a', 'x'.repeat(4_000))).toBe('fresh');
  });

  test('events of which nobody knows go before answers', () => {
    const { keys, use } = store({ maxEntries: 2 });
    use('a');
    keys.begin('k', 'k');
    keys.unsure('k', taken('e-1'));
    use('b');
    expect(keys.size).toBe(2);
    expect(keys.begin('k', 'k')).toEqual({ state: 'fresh' });
    expect([use('a'), use('b')]).toEqual(['replay', 'replay']);
  });

  test('events are counted by their bytes', () => {
    const { keys } = store({ maxBytes: 10_000 });
    for (const key of ['a', 'b', 'c']) {
      keys.begin(key, key);
      keys.unsure(key, taken(key, 'x'.repeat(4_000)));
    }
    expect(keys.size).toBe(2);
    expect(keys.begin('a', 'a')).toEqual({ state: 'fresh' });
  });

  test('those under way stay', () => {
    const { keys, use } = store({ maxEntries: 1 });
    keys.begin('slow', 'a');
    for (const key of ['a', 'b', 'c']) use(key);
    expect(keys.begin('slow', 'a').state).toBe('in-use');
  });
});

test('whatever happens: limits hold, and a key has one effect as long as it is kept', () => {
  const step = fc.record({
    key: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    body: fc.constantFrom('x', 'y'.repeat(500)),
    does: fc.constantFrom('begin', 'done', 'unsure', 'free'),
    wait: fc.nat(300),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { keys, clock } = store({ maxEntries: 3, maxBytes: 2_000 });
      const underWay = new Map<string, string>();
      for (const { key, body, does, wait } of steps) {
        clock.now += wait;
        if (does === 'begin') {
          const { state } = keys.begin(key, body);
          const taken = underWay.get(key);
          if (taken !== undefined) expect(state).toBe(taken === body ? 'in-use' : 'reused');
          else if (state === 'fresh') underWay.set(key, body);
        } else {
          if (does === 'done') keys.done(key, answer(body));
          else if (does === 'unsure') keys.unsure(key, taken(key, body));
          else keys.free(key);
          underWay.delete(key);
        }
        expect(keys.size).toBeLessThanOrEqual(3);
        expect(keys.bytes).toBeLessThanOrEqual(2_000);
        if (keys.size === 0) expect(keys.bytes).toBe(0);
      }
    }),
  );
});
