import type { Channel, GetMessage } from 'amqplib';
import type { Message } from '../../events/message.ts';
import type { DeadLetterFate } from '../transport.ts';
import { decodeDead } from './codec.ts';

export interface DeadVisit {
  readonly queue: string;
  readonly step: string;
  readonly visit: (message: Message) => DeadLetterFate | Promise<DeadLetterFate>;
  /** Resolves when the message is back in its step's queue. */
  readonly replay: (message: Message) => Promise<void>;
}

/**
 * Takes as many dead letters as there were at the beginning, one at a time. Those that stay are held until the end, so
 * that none is shown twice, and given back together; a crash gives them back as well.
 */
export async function visitDeadQueue(channel: Channel, { queue, step, visit, replay }: DeadVisit): Promise<void> {
  const { messageCount } = await channel.checkQueue(queue);
  const kept: GetMessage[] = [];
  try {
    for (let count = 0; count < messageCount; count++) {
      const found = await channel.get(queue, { noAck: false });
      if (!found) break; // somebody else visits them
      kept.push(found);
      const fate = await visit(decodeDead(found, step));
      if (fate === 'stop') break;
      if (fate === 'keep') continue;
      if (fate !== 'drop') await replay(fate.replay);
      kept.pop();
      channel.ack(found);
    }
  } finally {
    // Each by itself: one frame for all would also name those that are acknowledged.
    for (const message of kept) channel.nack(message, false, true);
  }
}
