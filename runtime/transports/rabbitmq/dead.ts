import type { Channel, GetMessage } from 'amqplib';
import type { Message } from '../../events/message.ts';
import type { DeadLetterFate } from '../transport.ts';
import { decodeDead } from './codec.ts';

export interface DeadVisit {
  readonly queue: string;
  readonly step: string;
  readonly visit: (message: Message) => DeadLetterFate | Promise<DeadLetterFate>;
  /** Resolves when the message is in the queue of its step, or of `to`. */
  readonly replay: (message: Message, to?: string) => Promise<void>;
}

/**
 * Takes as many dead letters as there were at the beginning, one at a time. Those that stay are held until the end, so
 * that none is shown twice, and given back together; a crash gives them back as well.
 */
export async function visitDeadQueue(channel: Channel, { queue, step, visit, replay }: DeadVisit): Promise<void> {
  const { messageCount } = await channel.checkQueue(queue);
  // Without their data: there may be many.
  const kept: Pick<GetMessage, 'fields'>[] = [];
  try {
    for (let count = 0; count < messageCount; count++) {
      const found = await channel.get(queue, { noAck: false });
      if (!found) break; // somebody else visits them
      kept.push({ fields: found.fields });
      const fate = await visit(decodeDead(found, step));
      if (fate === 'stop') break;
      if (fate === 'keep') continue;
      if (fate !== 'drop') await replay(fate.replay, fate.to);
      kept.pop();
      channel.ack(found);
    }
  } finally {
    const others = kept.length === 0 ? undefined : await channel.checkQueue(queue).catch(() => undefined);
    // Each by itself: one frame for all would also name those that are acknowledged.
    for (const message of kept) channel.nack(message as GetMessage, false, true);
    if (others) await areBack(channel, queue, others.messageCount + kept.length);
  }
}

/** The broker takes them back in its own time: who looks next must find them. Others may hold some, so it has an end. */
async function areBack(channel: Channel, queue: string, count: number): Promise<void> {
  for (let look = 0; look < 100; look++) {
    const found = await channel.checkQueue(queue).catch(() => undefined); // the channel has ended: they are back by that
    if (!found || found.messageCount >= count) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
