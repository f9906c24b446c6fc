import { LevadaError } from '../../../api/errors.ts';
import type { Message } from '../../events/message.ts';
import type { Delivery, QueueName, Settlement } from '../transport.ts';
import type { Received } from './subscription.ts';

/** What the deliveries of one queue share. */
export interface Settler {
  readonly name: QueueName;
  readonly closed: boolean;
  /** Makes safe what must be before the broker may forget the message. */
  settle(settlement: Settlement): Promise<void>;
}

const over = Promise.resolve();

/** One delivery: a class, since there is one for each message. */
export class RabbitDelivery implements Delivery {
  readonly message: Message;
  readonly #received: Received;
  readonly #settler: Settler;
  #settled = false;

  constructor(message: Message, received: Received, settler: Settler) {
    this.message = message;
    this.#received = received;
    this.#settler = settler;
  }

  get redelivered(): boolean {
    return this.#received.message.fields.redelivered;
  }

  get held(): boolean {
    return !this.#settled && !this.#settler.closed && this.#received.held;
  }

  readonly settle = (settlement: Settlement): Promise<void> => {
    // The most frequent end: nothing is to be waited for.
    if (settlement.kind === 'done' && settlement.emits.length === 0 && this.held) {
      this.#settled = true;
      this.#received.ack();
      return over;
    }
    return this.#settle(settlement);
  };

  async #settle(settlement: Settlement): Promise<void> {
    const { name, closed } = this.#settler;
    if (closed) throw closedError();
    if (this.#settled) throw new Error(`a delivery of ${this.message.id} to ${name.queue} was settled twice`);
    if (!this.#received.held) throw takenAway(name);
    this.#settled = true;
    try {
      await this.#settler.settle(settlement);
    } catch (error) {
      this.#settled = false;
      throw error;
    }
    if (!this.#received.held) throw takenAway(name);
    if (settlement.kind === 'release') this.#received.requeue();
    else this.#received.ack();
  }
}

export const closedError = (): LevadaError => new LevadaError('BrokerUnavailable', { detail: 'it is closed' });

const takenAway = ({ queue, pipeline }: QueueName): LevadaError =>
  new LevadaError('BrokerUnavailable', {
    detail: `the channel of ${queue} of ${pipeline} has gone; it delivers again`,
  });
