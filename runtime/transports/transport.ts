import type { Failure, Topology } from '../../api/contract/pipeline.ts';
import type { Message } from '../events/message.ts';

/**
 * What carries messages between the parts of pipelines. docs/decisions/0006-transport.md checks it against RabbitMQ,
 * Kafka's cumulative commits and Redis' pending lists; transports/conformance.ts holds every implementation to it.
 *
 * At least once: a message that was published is delivered until it has been settled as done or dead.
 */
export interface Transport {
  /**
   * Makes the queues and bindings of a pipeline as `topology` says. Idempotent. A binding that is gone stops at once; a
   * queue that is not listed any more is removed as soon as it holds nothing, dead letters included.
   *
   * @throws LevadaError BrokerUnavailable
   */
  apply(topology: Topology): Promise<void>;

  /**
   * Copies each message into every queue that is bound to its type. Resolves when all copies are safe; all of the
   * messages or none of them; a broker that cannot take back a part says so by rejecting, and the caller publishes all
   * again under the same ids. A type that nothing is bound to goes nowhere: that is no error.
   *
   * @param key what they are routed by instead of their types; then something has to be bound to it
   * @throws LevadaError BrokerFull, BrokerUnavailable (also where nothing is bound to `key`), MessageTooLarge
   */
  publish(pipeline: string, messages: readonly Message[], key?: string): Promise<void>;

  /**
   * Delivers messages of a queue, the oldest first, at most `limit` unsettled at once. Several consumers of one queue
   * share its messages. The queue must be in the topology that was applied.
   *
   * @throws LevadaError BrokerUnavailable
   */
  consume(queue: QueueName, limit: number, deliver: (delivery: Delivery) => void): Promise<Consumer>;

  /** Of each queue of a pipeline, by name, also of those that are being emptied. */
  depths(pipeline: string): Promise<Readonly<Record<string, Depth>>>;

  /**
   * Shows the dead letters of a queue, oldest first, each once, and does with each what `visit` says, which is safe when
   * the promise resolves. Ends early when `visit` says `stop`. A crash in the middle loses none; it may repeat a replay.
   *
   * @throws LevadaError BrokerUnavailable
   */
  visitDead(queue: QueueName, visit: (message: Message) => DeadLetterFate | Promise<DeadLetterFate>): Promise<void>;

  /** Ends it. What is not settled is delivered again by the next one, where messages outlive the process. */
  close(): Promise<void>;
}

export interface QueueName {
  /** `namespace/name`. */
  readonly pipeline: string;
  /** Name of the step. */
  readonly queue: string;
}

/** Where a dead letter goes. `replay` puts the given message back into its step's queue, or that of `to`, and no other. */
export type DeadLetterFate = 'keep' | 'drop' | 'stop' | { readonly replay: Message; readonly to?: string };

export interface Depth {
  /** Waiting to be delivered. */
  readonly ready: number;
  /** Waiting for their time. */
  readonly delayed: number;
  /** Delivered and not settled. */
  readonly unsettled: number;
  readonly dead: number;
}

export interface Delivery {
  readonly message: Message;
  /** It was delivered before, and not settled. */
  readonly redelivered: boolean;
  /** Whether it is this consumer's to settle: neither settled, nor taken away by the broker, which delivers it again. */
  readonly held: boolean;
  /**
   * Says how this delivery ended, once. Resolves when that is safe. When it rejects and the delivery is still held,
   * nobody else gets the message: settle again, or otherwise.
   *
   * @throws LevadaError BrokerFull, MessageTooLarge (`done` only): nothing has happened; BrokerUnavailable: what it
   *   emits may be there already
   */
  settle(settlement: Settlement): Promise<void>;
}

export type Settlement =
  /** Handled, or skipped. What it emits is safe before the message is gone; together with it, where a broker can. */
  | { readonly kind: 'done'; readonly emits: readonly Message[] }
  /** `message` takes its place after at least `delayMs`. */
  | { readonly kind: 'retry'; readonly message: Message; readonly delayMs: number }
  /** `message`, with its certificate, becomes a dead letter of this queue. */
  | { readonly kind: 'dead'; readonly message: Message }
  /** Not handled: delivered again at once, to whoever consumes, as it was. */
  | { readonly kind: 'release' };

export interface Consumer {
  /** Unsettled deliveries from now on. 0 pauses: what is in hand stays in hand. */
  limit(count: number): void;
  /** No further deliveries. Those in hand may still be settled. */
  close(): Promise<void>;
  /** Why nothing can come now; absent: it can. */
  readonly failure?: Failure | undefined;
}
