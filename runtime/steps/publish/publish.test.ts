import { describe, expect, it, test } from 'vitest';
import { type ErrorCode, errorCodeOf, LevadaError } from '../../../api/errors.ts';
import { makeStep } from '../registry.ts';
import type { ForeignMessage, ForeignTarget, StepEnvironment } from '../step.ts';
import { contextOf, environment, eventOf, failureOf } from '../testing.ts';

const event = eventOf({ region: 'eu', n: 3, none: null, tags: ['a', 'b'] }, { id: 'o-1', subject: 'north' });

interface Published {
  readonly target: ForeignTarget;
  readonly message: ForeignMessage;
}

/** A place that remembers what came, or refuses it. */
function place(refusal?: Error): { published: Published[]; environment: StepEnvironment } {
  const published: Published[] = [];
  const publish = async (target: ForeignTarget, message: ForeignMessage) => {
    if (refusal) throw refusal;
    published.push({ target, message });
  };
  return { published, environment: { ...environment, publish } };
}

async function run(routingKey: string, where: StepEnvironment, format: 'json' | 'cloudevents' = 'json') {
  const step = makeStep({ kind: 'publish', exchange: 'shop', routingKey, format }, where);
  try {
    return await step.run(event, contextOf({ emits: [] }));
  } finally {
    await step.close();
  }
}

test.each(['json', 'cloudevents'] as const)('an event goes out once as %s, and nothing is emitted', async (format) => {
  const { published, environment } = place();
  expect(await run('orders', environment, format)).toEqual([]);
  expect(published).toEqual([
    { target: { exchange: 'shop', routingKey: 'orders' }, message: { message: event.message, format } },
  ]);
});

test('a queue is a routing key of the exchange without a name', async () => {
  const { published, environment } = place();
  const step = makeStep({ kind: 'publish', exchange: '', routingKey: 'shipping', format: 'json' }, environment);
  await step.run(event, contextOf());
  expect(published.map(({ target }) => target)).toEqual([{ exchange: '', routingKey: 'shipping' }]);
});

describe('the routing key', () => {
  it.each<[string, string]>([
    ['order.created', 'order.created'],
    ['', ''],
    ['{% region %}', 'eu'],
    ['{% "orders." & region & "." & $string(n) %}', 'orders.eu.3'],
    ['{% $event.type & "." & $event.subject & "." & $event.id %}', 'order.created.north.o-1'],
    ['{% $pad("", -255, "x") %}', 'x'.repeat(255)],
    ['{% "" %}', ''],
  ])('%j gives %j', async (routingKey, expected) => {
    const { published, environment } = place();
    await run(routingKey, environment);
    expect(published.map(({ target }) => target.routingKey)).toEqual([expected]);
  });

  it.each<[string, string]>([
    ['{% missing %}', 'nothing'],
    ['{% none %}', 'null'],
    ['{% n %}', '3'],
    ['{% true %}', 'true'],
    ['{% tags %}', 'a list of 2'],
    ['{% $ %}', 'a map'],
    ['{% $pad("", -256, "x") %}', `"${'x'.repeat(79)}…`],
    ['{% $pad("", -128, "é") %}', `"${'é'.repeat(79)}…`],
  ])('%j, which is no routing key, fails the event, and nothing goes out', async (routingKey, found) => {
    const { published, environment } = place();
    const failure = await failureOf(run(routingKey, environment));
    expect(failure.code).toBe('ExpressionWrongType');
    expect(failure.params).toEqual({
      expression: routingKey,
      found,
      allowed: 'text of at most 255 bytes, for the routing key',
    });
    expect(published).toEqual([]);
  });

  it('that fails fails the event', async () => {
    const { published, environment } = place();
    expect((await failureOf(run('{% $number(region) %}', environment))).code).toBe('ExpressionFailed');
    expect(published).toEqual([]);
  });

  it('that does not parse is refused when the step is made', () => {
    const { environment } = place();
    const make = () => makeStep({ kind: 'publish', exchange: '', routingKey: '{% ( %}', format: 'json' }, environment);
    expect(make).toThrow(expect.objectContaining({ code: 'ExpressionInvalid' }) as Error);
  });
});

test.each<ErrorCode>(['PublishUnroutable', 'QueueNotFound', 'BrokerForbidden', 'BrokerUnavailable', 'MessageTooLarge'])(
  '%s is what becomes of the event',
  async (code) => {
    const refusal = new LevadaError(code, { found: 'shop', detail: 'd', limit: 1 });
    const { environment } = place(refusal);
    expect(await failureOf(run('orders', environment))).toBe(refusal);
  },
);

test('without a broker that others use it fails, and says what it needs', async () => {
  const failure = await failureOf(run('orders', environment));
  expect(errorCodeOf(failure)).toBe('BrokerRequired');
  expect(failure.message).toBe('a publish step needs a broker, and there is none');
});
