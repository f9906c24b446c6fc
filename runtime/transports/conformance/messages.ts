import type { Message } from '../../events/message.ts';

/** A message of the type `order`. */
export function message(id: string, change: Partial<Message> = {}): Message {
  return {
    id,
    source: '/test/orders/api',
    type: 'order',
    extensions: {},
    data: new TextEncoder().encode(`{"id":"${id}"}`),
    delivery: { attempt: 1 },
    ...change,
  };
}

/** With the ids 0, 1, 2 … */
export const many = (count: number): Message[] => Array.from({ length: count }, (_, i) => message(`${i}`));

/** As a dead letter. */
export function certified(message: Message): Message {
  const { attempt } = message.delivery;
  const dead = {
    reason: 'HandlerRejected',
    step: 'a',
    attempt,
    error: 'the handler answered 400: nö',
    time: '2026-11-23T10:00:00Z',
  } as const;
  return { ...message, delivery: { ...message.delivery, dead } };
}

/** For comparing: whatever kind of bytes a transport gives. */
export const plain = (message: Message): unknown => ({ ...message, data: [...message.data] });
