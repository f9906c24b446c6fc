import { type InHand, RabbitBroker } from '../../../brokers/rabbitmq/broker.ts';
import { Link } from '../../../brokers/rabbitmq/link.ts';
import { exchangeName } from '../../../brokers/rabbitmq/names.ts';
import { type RabbitSettings, shownBroker } from '../../../brokers/rabbitmq/settings.ts';
import type { Message } from '../../../runtime/events/message.ts';
import { encode } from '../../../runtime/transports/rabbitmq/codec.ts';
import { Publisher } from '../../../runtime/transports/rabbitmq/publisher.ts';

export interface BrokersOptions {
  readonly inHand: (pipeline: string, queue: string, name: string) => InHand;
  /** The connection of its broker has come or gone. */
  readonly changed: (pipeline: string) => void;
  readonly log: (text: string) => void;
}

/** The connections to one broker, and the pipelines on it. */
export class BrokerSession {
  readonly broker: RabbitBroker;
  /** Where it is: two sessions of one place have the same queues. */
  readonly place: string;
  readonly pipelines = new Set<string>();
  readonly #consuming: Link;
  readonly #publishing: Link;
  /** Once something was published. */
  #publisher: Publisher | undefined;

  constructor(settings: RabbitSettings, { inHand, changed, log }: BrokersOptions) {
    this.place = shownBroker(settings);
    this.#consuming = new Link(settings, { name: 'levada operator asks', log });
    this.#publishing = new Link(settings, { name: 'levada operator records' });
    const links = { consuming: this.#consuming, publishing: this.#publishing };
    this.broker = new RabbitBroker(links, settings, { inHand, log });
    const tell = () => {
      for (const pipeline of this.pipelines) changed(pipeline);
    };
    this.#consuming.listen({ up: tell, down: tell });
    this.#publishing.listen({ blocked: tell, unblocked: tell });
  }

  /** Whether asking it would only be waiting: it was tried, and cannot be reached. */
  get isAway(): boolean {
    return this.#consuming.failure !== undefined;
  }

  /**
   * Puts a message into the queues of a pipeline that are bound to `key`. Resolves when the broker has it.
   *
   * @throws LevadaError PublishUnroutable: none is; and as {@link Publisher.publish}
   */
  async publish(pipeline: string, message: Message, key: string): Promise<void> {
    this.#publisher ??= new Publisher(this.#publishing);
    const exchange = exchangeName(pipeline);
    await this.#publisher.publish({ ...encode(message), exchange, routingKey: key, mandatory: true });
  }

  async close(): Promise<void> {
    await this.#publisher?.close();
    await Promise.all([this.#consuming.close(), this.#publishing.close()]);
  }
}

/** One session for all pipelines whose broker is reached in one way; it ends with the last of them. */
export class Brokers {
  readonly #options: BrokersOptions;
  /** By what they need to know to reach the broker; never shown. */
  readonly #sessions = new Map<string, BrokerSession>();

  constructor(options: BrokersOptions) {
    this.#options = options;
  }

  /** The session of these settings, which carries `pipeline` from now on. */
  take(pipeline: string, settings: RabbitSettings): BrokerSession {
    const key = JSON.stringify(settings);
    const session = this.#sessions.get(key) ?? new BrokerSession(settings, this.#options);
    this.#sessions.set(key, session);
    session.pipelines.add(pipeline);
    return session;
  }

  /** Never rejects. */
  async leave(pipeline: string, session: BrokerSession): Promise<void> {
    session.pipelines.delete(pipeline);
    if (session.pipelines.size > 0) return;
    for (const [key, one] of this.#sessions) if (one === session) this.#sessions.delete(key);
    await session.close();
  }

  async close(): Promise<void> {
    const all = [...this.#sessions.values()];
    this.#sessions.clear();
    await Promise.all(all.map((session) => session.close()));
  }
}
