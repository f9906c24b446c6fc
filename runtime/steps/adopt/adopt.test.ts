import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import type { Message } from '../../events/message.ts';
import { makeStep } from '../registry.ts';
import { contextOf, environment, eventOf, failureOf, messageOf } from '../testing.ts';

const order = { order: { id: 'A-7', number: 12, none: null, lines: [] }, empty: '' };
const unidentified = { attempt: 1, unidentified: true } as const;

async function run(id: string | undefined, message: Partial<Message> = {}, data: unknown = order) {
  const step = makeStep({ kind: 'adopt', ...(id !== undefined && { id }) }, environment);
  try {
    return await step.run(eventOf(data, message), contextOf());
  } finally {
    await step.close();
  }
}

const idOf = async (id: string | undefined, message?: Partial<Message>, data?: unknown) =>
  (await run(id, message, data)).map((emitted) => emitted.id);

test('a message becomes an event as it is, but for the type, which is the declared one', async () => {
  const message = {
    id: 'm-1',
    source: '/amqp/orders',
    type: 'order_created',
    subject: 's',
    time: '2026-11-23T10:00:00Z',
    dataschema: 'https://example.com/schema',
    datacontenttype: 'text/plain',
    extensions: { traceparent: '00-aa-bb-00', tenant: 'a' },
  };
  expect(await run(undefined, message)).toEqual([
    {
      id: 'm-1',
      source: '/amqp/orders',
      subject: 's',
      time: '2026-11-23T10:00:00Z',
      dataschema: 'https://example.com/schema',
      extensions: { traceparent: '00-aa-bb-00', tenant: 'a' },
      data: order,
    },
  ]);
  const { time: _, ...bare } = messageOf({ source: '/amqp/orders' });
  const step = makeStep({ kind: 'adopt' }, environment);
  const [emitted] = await step.run({ message: bare, data: null }, contextOf());
  expect(Object.keys(emitted ?? {}).sort()).toEqual(['data', 'extensions', 'id', 'source']);
  expect(emitted).toMatchObject({ source: '/amqp/orders', data: null });
});

describe('the id', () => {
  it.each<[string, string | undefined, Partial<Message>, string]>([
    ["is the message's own", undefined, { id: 'm-1' }, 'm-1'],
    ["is the message's own, whatever the expression gives", 'order.id', { id: 'm-1' }, 'm-1'],
    ["is the message's own, even when the expression would fail", '$number("x")', { id: 'm-1' }, 'm-1'],
    ['is the one that was drawn where there is no expression', undefined, { id: 'd-1', delivery: unidentified }, 'd-1'],
    ['is text of the data', 'order.id', { id: 'd-1', delivery: unidentified }, 'A-7'],
    ['is a number of the data', 'order.number', { id: 'd-1', delivery: unidentified }, '12'],
    ['is zero', '0', { id: 'd-1', delivery: unidentified }, '0'],
    [
      'is made of attributes',
      '$event.subject & "/" & order.id',
      { subject: 'north', delivery: unidentified },
      'north/A-7',
    ],
    ['has 255 bytes at most', '$pad("", -255, "x")', { delivery: unidentified }, 'x'.repeat(255)],
  ])('%s', async (_, expression, message, expected) => {
    expect(await idOf(expression, message)).toEqual([expected]);
  });

  it.each<[string, string, string]>([
    ['nothing', 'order.missing', 'nothing'],
    ['null', 'order.none', 'null'],
    ['empty text', 'empty', '""'],
    ['true', 'true', 'true'],
    ['a list', '[order.id, order.id]', 'a list of 2'],
    ['a map', 'order', 'a map'],
    ['256 bytes', '$pad("", -256, "x")', `"${'x'.repeat(79)}…`],
    ['256 bytes of 128 characters', '$pad("", -128, "é")', `"${'é'.repeat(79)}…`],
  ])('of %s fails the message', async (_, expression, found) => {
    const failure = await failureOf(run(expression, { delivery: unidentified }));
    expect(failure.code).toBe('ExpressionWrongType');
    expect(failure.message).toContain(expression);
    expect(failure.params).toMatchObject({ found, allowed: 'text or a number, at most 255 bytes, for the id' });
  });

  test('of an expression that fails fails the message', async () => {
    const failure = await failureOf(run('$number(order.id)', { delivery: unidentified }));
    expect(failure.code).toBe('ExpressionFailed');
  });

  test('is the same for each delivery of the same data, so that a second one can be told', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ minLength: 1, maxLength: 60 }), fc.uuid(), fc.uuid(), async (id, one, other) => {
        const of = (drawn: string) => idOf('id', { id: drawn, delivery: unidentified }, { id });
        expect(await of(one)).toEqual([id]);
        expect(await of(other)).toEqual([id]);
      }),
    );
  });

  test('an expression that does not parse is refused when the step is made', () => {
    expect(() => makeStep({ kind: 'adopt', id: 'order.(' }, environment)).toThrow(
      expect.objectContaining({ code: 'ExpressionInvalid' }) as Error,
    );
  });
});
