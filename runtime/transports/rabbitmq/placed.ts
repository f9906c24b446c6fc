import type { Message } from '../../events/message.ts';
import type { Consumer, DeadLetterFate, Delivery, Depth, QueueName, Transport } from '../transport.ts';
import type { RabbitTransport } from './transport.ts';

/** A transport whose queues somebody else makes and counts: that of a process of consumers. */
export class PlacedTransport implements Transport {
  readonly #rabbit: RabbitTransport;

  constructor(rabbit: RabbitTransport) {
    this.#rabbit = rabbit;
  }

  /** It has been done, and {@link RabbitTransport.place} has said how. */
  async apply(): Promise<void> {}

  publish(pipeline: string, messages: readonly Message[], key?: string): Promise<void> {
    return this.#rabbit.publish(pipeline, messages, key);
  }

  consume(name: QueueName, limit: number, deliver: (delivery: Delivery) => void): Promise<Consumer> {
    return this.#rabbit.consume(name, limit, deliver);
  }

  /** Who makes the queues counts them. */
  async depths(): Promise<Readonly<Record<string, Depth>>> {
    return {};
  }

  visitDead(name: QueueName, visit: (message: Message) => DeadLetterFate | Promise<DeadLetterFate>): Promise<void> {
    return this.#rabbit.visitDead(name, visit);
  }

  close(): Promise<void> {
    return this.#rabbit.close();
  }
}
