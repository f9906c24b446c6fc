import type { StepAction } from '../../api/contract/pipeline.ts';
import type { Event, Message } from '../events/message.ts';

/** One kind of step, made for one configuration. */
export interface Step {
  /**
   * Handles one event.
   *
   * @returns what it emits; an entry without a type has the only one that the step declares
   * @throws LevadaError whose outcome says what happens next: `terminal` dead-letters, `retry` tries again, `wait` tries
   *   again and opens the breaker. `params.retryAfterMs`, a number, is what the other side asked for.
   */
  run(event: Event, context: StepContext): Promise<Emitted[]>;
  /** Ends connections. */
  close(): Promise<void>;
}

export interface StepContext {
  readonly attempt: number;
  /** Stays the same over attempts; another one for each replay. */
  readonly idempotencyKey: string;
  /** W3C trace context of this attempt: a span of its own in the event's trace. */
  readonly traceparent: string;
  readonly tracestate?: string;
  /** Types that the step declares. None: a reply that names no type is nothing but a sign of success. */
  readonly emits: readonly string[];
  /** A model has answered this attempt, and its answer is a trial of a rollout. The last one that is told counts. */
  readonly scored: (trial: Trial) => void;
  /** Aborted when the drain's time is over: what is under way is given up. */
  readonly signal: AbortSignal;
}

/** An answer by which a rollout of a model is judged. */
export interface Trial {
  readonly rollout: string;
  /** The version that has answered. */
  readonly version: string;
}

/** An event that a step emits. What is absent is filled in: the type, the event's id, the step's source, the time. */
export interface Emitted {
  readonly type?: string;
  readonly id?: string;
  readonly source?: string;
  readonly subject?: string;
  readonly time?: string;
  readonly dataschema?: string;
  readonly extensions?: Readonly<Record<string, string>>;
  /** JSON. */
  readonly data: unknown;
}

/** What steps need from where they run. */
export interface StepEnvironment {
  /**
   * Where the host of `url` is: on a cluster DNS knows, on a laptop `levada up` does.
   *
   * @returns the URL to call
   * @throws LevadaError HostUnknown
   */
  resolve(url: URL): URL;
  /**
   * Puts a message where somebody else reads; absent where there is no broker that others use.
   *
   * @throws LevadaError PublishUnroutable, QueueNotFound, BrokerForbidden, BrokerFull, BrokerUnavailable, MessageTooLarge
   */
  publish?(target: ForeignTarget, message: ForeignMessage): Promise<void>;
}

/** An exchange of AMQP; the one without a name leads to the queue that the key names. */
export interface ForeignTarget {
  readonly exchange: string;
  readonly routingKey: string;
}

export interface ForeignMessage {
  readonly message: Message;
  readonly format: 'json' | 'cloudevents';
}

/** Makes the step of an action. `kind` of the action chooses from the registry (steps/registry.ts). */
export type StepFactory<K extends StepAction['kind']> = (
  action: Extract<StepAction, { kind: K }>,
  environment: StepEnvironment,
) => Step;
