import type { GetMessage } from 'amqplib';
import { describe, expect, test } from 'vitest';
import type { Message } from '../../events/message.ts';
import { decode, decodeForeign, encode } from './codec.ts';

const received = (headers: unknown, properties: object = {}, content = '{"a":1}') =>
  ({ content: Buffer.from(content), properties: { ...properties, headers }, fields: {} }) as unknown as GetMessage;

const event = { 'cloudEvents:specversion': '1.0', 'cloudEvents:id': 'e-1', 'cloudEvents:source': '/s' };

describe('an event of somebody else in binary mode', () => {
  test.each([
    ['a text', 'eu', 'eu'],
    ['a number', 7, '7'],
    ['zero', 0, '0'],
    ['a boolean', false, 'false'],
    ['a time of AMQP', { '!': 'timestamp', value: 1_800_000_000 }, '2027-01-15T08:00:00.000Z'],
  ])('has an attribute by a header with %s', (_, value, text) => {
    const message = decodeForeign(
      received({ ...event, 'cloudEvents:type': 't', 'cloudEvents:region': value }),
      'queue',
    );
    expect(message).toMatchObject({ id: 'e-1', source: '/s', type: 't', extensions: { region: text } });
  });

  test('has no attribute by a header without a value', () => {
    const message = decodeForeign(received({ ...event, 'cloudEvents:type': 't', 'cloudEvents:region': null }), 'queue');
    expect(message).toMatchObject({ id: 'e-1', type: 't', extensions: {} });
  });

  test.each([
    ['a table', { a: 1 }],
    ['an array', [1, 2]],
    ['a time that is none', { '!': 'timestamp', value: -1 }],
    ['bytes', Buffer.from('x')],
  ])('with %s for an attribute is data', (_, value) => {
    const headers = { ...event, 'cloudEvents:type': 't', 'cloudEvents:region': value };
    const message = decodeForeign(received(headers, { messageId: 'm-1' }), 'queue');
    expect(message).toMatchObject({ id: 'm-1', source: '/amqp/queue', type: 'queue', extensions: {} });
    expect(Buffer.from(message.data).toString()).toBe('{"a":1}');
  });

  test('is not kept from that by a header that is none of its attributes', () => {
    const message = decodeForeign(received({ ...event, 'cloudEvents:type': 't', 'x-death': [{ count: 3 }] }), 'queue');
    expect(message).toMatchObject({ id: 'e-1', delivery: { attempt: 1 } });
  });
});

describe('a certificate of death', () => {
  const dead = { reason: 'HandlerFailed', step: 'charge', attempt: 3, error: 'no', time: '2026-01-01T00:00:00Z' };
  const message: Message = {
    ...{ id: 'e-1', source: '/s', type: 't', extensions: {}, data: Buffer.from('{}') },
    delivery: { attempt: 3 },
  };
  const headers = encode(message).options.headers as Record<string, unknown>;
  const certified = (value: unknown) => {
    const name = Object.keys(
      encode({ ...message, delivery: { attempt: 3, dead: dead as never } }).options.headers as object,
    ).find((one) => !(one in headers));
    if (name === undefined) throw new Error('no certificate was written');
    return decode(received({ ...headers, [name]: value }), 'queue').message.delivery.dead;
  };

  test('is read as it was written', () => expect(certified(JSON.stringify(dead))).toEqual(dead));

  test.each([
    ['no JSON', '{'],
    ['null', 'null'],
    ['an array', '[]'],
    ['a reason that nobody knows', JSON.stringify({ ...dead, reason: 'toString' })],
    ['a reason that is no text', JSON.stringify({ ...dead, reason: ['HandlerFailed'] })],
    ['no step', JSON.stringify({ ...dead, step: undefined })],
    ['an error that is no text', JSON.stringify({ ...dead, error: { message: 'no' } })],
    ['half an attempt', JSON.stringify({ ...dead, attempt: 1.5 })],
    ['no time', JSON.stringify({ ...dead, time: null })],
    ['a number instead of text', 5],
  ])('with %s is none', (_, value) => expect(certified(value)).toBeUndefined());
});
