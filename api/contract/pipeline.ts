import { isModelEventKey } from './model-events.ts';

/**
 * What the operator hands to the runtime for the parts of one pipeline, and the topology that their messages travel on.
 * Durations are milliseconds. Expressions and templates are text, as the user wrote them (api/language compiles them).
 */

/** A type of event, with the JSON Schema of its data where it has one. */
export interface EventDeclaration {
  readonly type: string;
  readonly schema?: Readonly<Record<string, unknown>>;
}

/** An http source: takes JSON bodies, makes an event of each, answers when the event is safe. */
export interface HttpSourceConfig {
  readonly kind: 'http-source';
  /** `namespace/name`. */
  readonly pipeline: string;
  readonly name: string;
  readonly emits: EventDeclaration;
  readonly method: 'POST' | 'PUT' | 'PATCH';
  readonly path: string;
  /** Templates by field of the body. */
  readonly assign: Readonly<Record<string, unknown>>;
  /** `body` is a template; absent: `{"id": …}`. */
  readonly response: { readonly status: number; readonly body?: unknown };
}

/** What a consumer does with a message. */
export type StepAction =
  /** Also a `container` step: the local driver or the pod knows its address by name. */
  | { readonly kind: 'http'; readonly url: string; readonly timeoutMs: number }
  | {
      readonly kind: 'model';
      /** Name of the model: also that of its Service. */
      readonly ref: string;
      readonly url: string;
      /** Templates by input of the model. */
      readonly inputs: Readonly<Record<string, unknown>>;
      readonly output?: string;
      /** Expression that gives the sticky key. */
      readonly sticky?: string;
      readonly timeoutMs: number;
    }
  | { readonly kind: 'transform'; readonly value: string }
  | {
      readonly kind: 'fanout';
      readonly urls: string;
      readonly concurrency: number;
      readonly perOrigin: number;
      readonly timeoutMs: number;
      readonly attempts: number;
      readonly maxBytes: number;
      readonly maxRedirects: number;
      readonly privateNetworks: 'Allow' | 'Deny';
      readonly output?: string;
    }
  /** An `event` source: gives the event on under another type. */
  | { readonly kind: 'relay' }
  /** A `queue` source: makes an event of a message of somebody else's queue. `id`: for messages that carry none. */
  | { readonly kind: 'adopt'; readonly id?: string }
  /** Puts the event into somebody else's exchange; the default exchange (empty name) leads to the queue `routingKey`. */
  | {
      readonly kind: 'publish';
      readonly exchange: string;
      /** A template that gives text. */
      readonly routingKey: string;
      /** `json`: the data alone. `cloudevents`: binary mode, attributes as headers `cloudEvents:NAME`. */
      readonly format: 'json' | 'cloudevents';
    };

export interface RetryPolicy {
  readonly maxAttempts: number;
  readonly initialMs: number;
  readonly factor: number;
  readonly maxMs: number;
}

/** A step, or an `event` or `queue` source: takes messages from the queue of its name. */
export interface ConsumerConfig {
  readonly kind: 'consumer';
  /** `namespace/name`. */
  readonly pipeline: string;
  /** Name of the step or source: also that of its queue. */
  readonly name: string;
  readonly when?: string;
  readonly action: StepAction;
  readonly emits: readonly EventDeclaration[];
  readonly retry: RetryPolicy;
  /** `key` is an expression; absent: the event's source, id and replay. */
  readonly idempotency?: { readonly key?: string; readonly retentionMs: number };
  readonly concurrency: number;
  /** Consumers of one group share a process. Absent: a process of its own, where a broker outlives processes. */
  readonly group?: string;
}

/** The queues of a pipeline, and what each of them gets. */
export interface Topology {
  /** `namespace/name`: names the exchange. */
  readonly pipeline: string;
  readonly queues: readonly QueueSpec[];
  /** What its queues are like, where a broker knows such settings. */
  readonly settings?: QueueSettings;
}

/** Of all queues of steps of one pipeline. What is absent is the broker's default. */
export interface QueueSettings {
  /** Messages that a queue holds, without what is tried again; more are refused (`BrokerFull`), and sources answer 503. */
  readonly maxLength?: number;
  /** Deliveries of one message that no consumer has lived to settle, before it is a dead letter. */
  readonly deliveryLimit?: number;
  /** Members of each queue, fixed when it is made. */
  readonly replicas?: number;
}

export interface QueueSpec {
  /** Name of the step: logical, whatever a broker calls the queue. */
  readonly name: string;
  /** What is copied into it. Empty: it gets nothing more, and is being emptied. */
  readonly bindings: readonly Binding[];
  /** Somebody else's queue, whose messages it takes as well. It is never made, changed or removed. */
  readonly adopts?: string;
}

export interface Binding {
  /** `namespace/name` of the pipeline that emits. */
  readonly pipeline: string;
  /** Of events, or what `modelEventKey` says of those of a model. */
  readonly type: string;
}

/** Of a pipeline that ends: nothing more comes from outside, and what its steps emit still reaches the next ones. */
export const endingTopology = (topology: Topology): Topology => ({
  ...topology,
  queues: topology.queues.map(({ name, bindings }) => ({
    name,
    bindings: bindings.filter(({ pipeline, type }) => pipeline === topology.pipeline && !isModelEventKey(type)),
  })),
});

/** Which broker carries a pipeline's messages. */
export interface BrokerRef {
  readonly kind: 'rabbitmq';
  /** `namespace/name` of the Secret that says where it is. */
  readonly secret: string;
}

/** What is so of a pipeline's broker. Absent members: nothing is wrong. */
export interface BrokerState {
  readonly kind: 'memory' | 'rabbitmq';
  /** As the broker says. */
  readonly version?: string;
  /** Why there is no connection. */
  readonly connection?: Failure;
  /** Why the broker takes no messages now, though it is connected. */
  readonly blocked?: Failure;
  /** Why queues and bindings are not as they should be. */
  readonly topology?: Failure;
  /** What was found missing last, and made anew. */
  readonly mended?: { readonly at: string; readonly what: readonly string[] };
  /** Where settings of queues that can change are kept. */
  readonly settings?: 'Policies' | 'Arguments';
}

export interface Failure {
  readonly code: string;
  readonly message: string;
}

/** What the runtime runs of one pipeline. */
export interface PipelineParts {
  readonly topology: Topology;
  /** Absent: the operator's default; under `levada up` what `--broker` says, or memory. */
  readonly broker?: BrokerRef;
  readonly sources: readonly HttpSourceConfig[];
  /** Also of steps that are gone from the spec, as long as messages are left for them. */
  readonly consumers: readonly ConsumerConfig[];
}

/** What the runtime says of an http source. */
export interface SourceState {
  readonly ready: boolean;
  readonly url?: string;
  readonly failure?: Failure;
}

/** What the runtime says of a queue and its consumer. */
export interface QueueState {
  /** Messages that wait, those for a later attempt included. */
  readonly waiting: number;
  /** Messages in hand. */
  readonly inFlight: number;
  readonly dead: number;
  readonly running: boolean;
  readonly breaker: 'Closed' | 'Open' | 'HalfOpen';
  /** Why the step waits. */
  readonly message?: string;
  /** RFC 3339: when its queue was last found missing and made anew. What it had held is lost. */
  readonly lostAt?: string;
}

/** CloudEvents `source` of what a part of a pipeline emits. */
export const eventSource = (pipeline: string, part: string): string => `/${pipeline}/${part}`;

/** Bytes of one message, and of one body or reply that becomes one: what RabbitMQ 4 takes by default. */
export const maxMessageBytes = 16 * 1024 * 1024;
