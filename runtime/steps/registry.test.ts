import { expect, test } from 'vitest';
import type { StepAction } from '../../api/contract/pipeline.ts';
import { makeStep } from './registry.ts';
import type { StepEnvironment } from './step.ts';
import { contextOf, environment, eventOf, handlerServer, messageOf } from './testing.ts';

const run = async (
  action: StepAction,
  event = eventOf({ a: 1, items: [1, 2] }),
  where: StepEnvironment = environment,
) => {
  const step = makeStep(action, where);
  try {
    return await step.run(event, contextOf());
  } finally {
    await step.close();
  }
};

test('each kind makes the step of its kind', async () => {
  await using server = await handlerServer((res) => res.writeHead(200).end('{"from":"handler"}'));
  expect(await run({ kind: 'http', url: server.url, timeoutMs: 60_000 })).toEqual([{ data: { from: 'handler' } }]);
  expect(await run({ kind: 'transform', value: '{% {"n": $count(items), "of": $event.id} %}' })).toEqual([
    { data: { n: 2, of: 'e-1' } },
  ]);
  const fanout = {
    concurrency: 1,
    perOrigin: 1,
    timeoutMs: 60_000,
    attempts: 1,
    maxBytes: 100,
    maxRedirects: 0,
    privateNetworks: 'Allow',
  } as const;
  expect(await run({ kind: 'fanout', urls: '{% [] %}', ...fanout })).toEqual([{ data: { results: [] } }]);
});

test('relay gives an event on as it is, but for the type', async () => {
  const message = messageOf({
    subject: 's',
    dataschema: 'https://example.com/schema',
    extensions: { tenant: 'a', traceparent: '00-aa-bb-00' },
    delivery: { attempt: 4, replay: 'r' },
  });
  expect(await run({ kind: 'relay' }, { message, data: [1, null] })).toEqual([
    {
      id: 'e-1',
      source: '/shop/orders/api',
      subject: 's',
      time: '2026-11-23T10:00:00Z',
      dataschema: 'https://example.com/schema',
      extensions: { tenant: 'a', traceparent: '00-aa-bb-00' },
      data: [1, null],
    },
  ]);
  const { time: _, ...bare } = messageOf();
  const [emitted] = await run({ kind: 'relay' }, { message: bare, data: null });
  expect(emitted).toEqual({ id: 'e-1', source: '/shop/orders/api', extensions: {}, data: null });
});

test.each<[string, string]>([
  ['{% missing %}', 'it gave nothing'],
  ['{% $number(items) %}', 'umber'],
])('transform by %s fails the event', async (value, detail) => {
  await expect(run({ kind: 'transform', value })).rejects.toMatchObject({
    code: 'ExpressionFailed',
    message: expect.stringContaining(detail) as string,
  });
});

test('null and false are data, too', async () => {
  expect(await run({ kind: 'transform', value: '{% null %}' })).toEqual([{ data: null }]);
  expect(await run({ kind: 'transform', value: '{%false%}' })).toEqual([{ data: false }]);
});

test('an expression that does not parse is refused when the step is made', () => {
  expect(() => makeStep({ kind: 'transform', value: '{% ( %}' }, environment)).toThrow(
    expect.objectContaining({ code: 'ExpressionInvalid' }) as Error,
  );
});
