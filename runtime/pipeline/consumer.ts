import type { ConsumerConfig, Failure, QueueState } from '../../api/contract/pipeline.ts';
import { errorCodeOf, errorMessage, type LevadaError, messageOf } from '../../api/errors.ts';
import type { Clock } from '../clock.ts';
import { type Breaker, halfOpenAt, newBreaker, onFailure, onSuccess, permits, stateOf } from '../delivery/breaker.ts';
import type { DedupStore, Lease } from '../delivery/dedup.ts';
import { type AttemptEnd, type Decision, decide } from '../delivery/outcome.ts';
import type { Message } from '../events/message.ts';
import type { RandomBytes } from '../events/trace.ts';
import type { StepEnvironment, Trial } from '../steps/step.ts';
import type { Delivery, Settlement, Consumer as Subscription, Transport } from '../transports/transport.ts';
import type { End } from './ends.ts';
import { Handler } from './handler.ts';

export interface ConsumerOptions {
  readonly transport: Transport;
  readonly environment: StepEnvironment;
  readonly dedup: DedupStore;
  readonly clock: Clock;
  /** For what people read: a clock that may jump. */
  readonly date: () => Date;
  readonly random: RandomBytes;
  /** Told of each delivery that has ended. */
  readonly ended: (end: End) => void;
  /** The breaker has moved, or the last message in hand is gone. */
  readonly changed: () => void;
  /** Something a person should know. */
  readonly log: (step: string, text: string, error?: unknown) => void;
}

/** Between two tries to say how a delivery ended, while the broker does not take it. */
const settleAgainMs = 200;
/** Added to twice the time that a step may take: nobody else may begin before it must have ended. */
const leaseMarginMs = 30_000;

/** Takes the messages of one step from its queue, and says of each how it ended. */
export class Consumer {
  readonly #options: ConsumerOptions;
  #handler: Handler;
  #subscription: Subscription | undefined;
  #breaker: Breaker = newBreaker();
  #why: string | undefined;
  #inHand = 0;
  #closing = false;
  #cancelTimer = () => {};
  #idle = Promise.withResolvers<void>();
  readonly #abort = new AbortController();

  /** @throws LevadaError BrokerUnavailable, or what the configuration's compilation gives */
  static async start(config: ConsumerConfig, options: ConsumerOptions): Promise<Consumer> {
    const consumer = new Consumer(config, options);
    const { pipeline, name } = config;
    consumer.#subscription = await options.transport.consume(
      { pipeline, queue: name },
      config.concurrency,
      (delivery) => consumer.#take(delivery),
    );
    return consumer;
  }

  private constructor(config: ConsumerConfig, options: ConsumerOptions) {
    this.#options = options;
    this.#handler = new Handler(config, options.environment);
  }

  get config(): ConsumerConfig {
    return this.#handler.config;
  }

  /** Why no messages can come now. */
  get failure(): Failure | undefined {
    return this.#subscription?.failure;
  }

  get state(): Pick<QueueState, 'breaker' | 'message' | 'inFlight' | 'running'> {
    const breaker = stateOf(this.#breaker, this.#options.clock.now());
    const { failure } = this;
    const message = failure?.message ?? (breaker === 'Closed' ? undefined : this.#why);
    return {
      running: !this.#closing && failure === undefined,
      inFlight: this.#inHand,
      breaker,
      ...(message !== undefined && { message }),
    };
  }

  /** What is in hand ends as it began; what comes from now on is handled by `config`. */
  update(config: ConsumerConfig): void {
    const before = this.#handler;
    this.#handler = new Handler(config, this.#options.environment);
    this.#breaker = newBreaker();
    this.#applyBreaker();
    before.retire().catch((error: unknown) => this.#options.log(config.name, 'closing connections failed', error));
  }

  /** Takes no more, and finishes what is in hand; after `graceMs` gives up what is still under way. */
  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    this.#cancelTimer();
    await this.#subscription?.close();
    if (this.#inHand > 0) {
      const cancel = this.#options.clock.after(graceMs, () => this.#abort.abort());
      await this.#idle.promise;
      cancel();
    }
    await this.#handler.retire();
  }

  #take(delivery: Delivery): void {
    this.#inHand++;
    const handler = this.#handler.use();
    this.#handle(delivery, handler)
      .catch(async (error: unknown) => {
        this.#options.log(handler.config.name, 'a message could not be settled', error);
        if (delivery.held) await delivery.settle({ kind: 'release' });
      })
      .catch((error: unknown) => this.#options.log(handler.config.name, 'a message could not be given back', error))
      .then(() => handler.release())
      .catch((error: unknown) => this.#options.log(handler.config.name, 'closing connections failed', error))
      .finally(() => {
        this.#inHand--;
        if (this.#inHand > 0) return;
        if (this.#closing) this.#idle.resolve();
        this.#options.changed();
      });
  }

  async #handle(delivery: Delivery, handler: Handler): Promise<void> {
    const { clock, dedup, ended } = this.#options;
    const { message } = delivery;
    const { config } = handler;
    const began = clock.now();
    const attempted = await this.#attempt(message, handler);
    const { attempt, decision } = await this.#conclude(delivery, attempted, config).catch(async (error: unknown) => {
      const { lease, end, emits } = attempted;
      // The broker delivers it again. Where nothing was to be emitted, the step is done with it; else whoever gets it must
      // not find the key taken: nobody knows what has been emitted.
      const isDone = end.kind === 'done' && emits.length === 0;
      if (lease && isDone && config.idempotency) await dedup.done(lease, config.idempotency.retentionMs, clock.now());
      else if (lease) await dedup.free(lease, clock.now());
      throw error;
    });
    if (attempt.lease && decision.end === 'done' && config.idempotency) {
      await dedup.done(attempt.lease, config.idempotency.retentionMs, clock.now());
    }
    const failed = attempt.end.kind === 'failed' ? attempt.end : undefined;
    ended({
      pipeline: config.pipeline,
      step: config.name,
      message,
      end: decision.end,
      ...(failed && { reason: failed.code, error: failed.message }),
      ...(attempt.trial && { trial: attempt.trial }),
      ...(decision.end === 'retry' && { delayMs: decision.delayMs }),
      emits: attempt.emits,
      ms: clock.now() - began,
    });
  }

  /** Decides what becomes of the message, and says so to the broker. What it cannot take is a failure of the attempt. */
  async #conclude(delivery: Delivery, attempt: AttemptResult, config: ConsumerConfig): Promise<Concluded> {
    const { clock, dedup } = this.#options;
    const { message } = delivery;
    const breaker = stateOf(this.#breaker, clock.now());
    const decision = decide({ end: attempt.end, attempt: message.delivery.attempt, retry: config.retry, breaker });
    // The lease is given back before the message is, or its next delivery would find it taken.
    if (attempt.lease && decision.end !== 'done') await dedup.free(attempt.lease, clock.now());
    try {
      await this.#settle(delivery, this.#settlementOf(message, attempt, decision, config.name));
    } catch (error) {
      if (errorCodeOf(error) !== 'MessageTooLarge' || decision.end !== 'done') throw error;
      return await this.#conclude(delivery, { ...attempt, end: failureOf(error), emits: [] }, config);
    }
    this.#hear(decision, attempt.end);
    return { attempt, decision };
  }

  /** Never rejects: whatever is thrown is how the attempt ended. */
  async #attempt(message: Message, handler: Handler): Promise<AttemptResult> {
    const { clock, date, dedup, random, log } = this.#options;
    const { config } = handler;
    let lease: Lease | undefined;
    let trial: Trial | undefined;
    try {
      const { event, wanted, key } = await handler.open(message);
      if (!wanted) return { end: { kind: 'skipped' }, emits: [] };
      if (config.idempotency) {
        const begun = await dedup.begin(`${config.pipeline}/${config.name}/${key}`, leaseMs(config), clock.now());
        if (begun.state === 'done') return { end: { kind: 'duplicate' }, emits: [] };
        if (begun.state === 'leased') return { end: { kind: 'leased' }, emits: [] };
        lease = begun.lease;
      }
      const scored = (one: Trial) => {
        trial = one;
      };
      const emits = await handler.run(event, { key, now: date(), random, signal: this.#abort.signal, scored });
      return { end: { kind: 'done' }, emits, ...(lease && { lease }), ...(trial && { trial }) };
    } catch (error) {
      if (this.#abort.signal.aborted) return { end: { kind: 'aborted' }, emits: [], ...(lease && { lease }) };
      if (!errorCodeOf(error)) log(config.name, 'an error inside Levada', error);
      return { end: failureOf(error), emits: [], ...(lease && { lease }), ...(trial && { trial }) };
    }
  }

  #settlementOf(message: Message, { emits, end }: AttemptResult, decision: Decision, step: string): Settlement {
    switch (decision.end) {
      case 'done':
        return { kind: 'done', emits };
      case 'skipped':
      case 'duplicate':
        return { kind: 'done', emits: [] };
      case 'released':
        return { kind: 'release' };
      case 'retry': {
        const delivery = { ...message.delivery, attempt: decision.nextAttempt };
        return { kind: 'retry', message: { ...message, delivery }, delayMs: decision.delayMs };
      }
      case 'dead': {
        const { attempt } = message.delivery;
        const error = end.kind === 'failed' ? end.message : '';
        const time = this.#options.date().toISOString();
        const dead = { reason: decision.reason, step, attempt, error, time };
        return { kind: 'dead', message: { ...message, delivery: { ...message.delivery, dead } } };
      }
    }
  }

  /** Says how it ended until the broker has taken it: meanwhile the message counts as in hand, so fewer are taken. */
  async #settle(delivery: Delivery, settlement: Settlement): Promise<void> {
    for (;;) {
      try {
        return await delivery.settle(settlement);
      } catch (error) {
        const code = errorCodeOf(error);
        // What is too large stays so; what has no code is a mistake in here.
        if (!delivery.held || code === undefined || code === 'MessageTooLarge') throw error;
        if (this.#abort.signal.aborted) return await delivery.settle({ kind: 'release' });
        await new Promise<void>((resolve) => void this.#options.clock.after(settleAgainMs, resolve));
      }
    }
  }

  #hear({ breaker }: Decision, end: AttemptEnd): void {
    if (breaker === 'none') return;
    const now = this.#options.clock.now();
    const before = stateOf(this.#breaker, now);
    this.#breaker = breaker === 'success' ? onSuccess(this.#breaker) : onFailure(this.#breaker, now);
    if (end.kind === 'failed') this.#why = end.message;
    const after = stateOf(this.#breaker, now);
    if (before === after) return;
    const text = after === 'Open' ? `takes no messages for now: ${this.#why ?? ''}` : 'takes messages again';
    if (before === 'Closed' || after === 'Closed') this.#options.log(this.config.name, text);
    this.#applyBreaker();
  }

  #applyBreaker(): void {
    const { clock, changed } = this.#options;
    // Read once: a breaker that is open for the limit and not for the timer would never be looked at again.
    const now = clock.now();
    this.#cancelTimer();
    this.#subscription?.limit(Math.min(this.config.concurrency, permits(this.#breaker, now)));
    const at = halfOpenAt(this.#breaker);
    if (at !== undefined && at > now) {
      this.#cancelTimer = clock.after(at - now, () => {
        if (!this.#closing) this.#applyBreaker();
      });
    }
    changed();
  }
}

interface Concluded {
  readonly attempt: AttemptResult;
  readonly decision: Decision;
}

interface AttemptResult {
  readonly end: AttemptEnd;
  readonly emits: readonly Message[];
  readonly lease?: Lease;
  readonly trial?: Trial;
}

function failureOf(error: unknown): AttemptEnd {
  const code = errorCodeOf(error);
  if (!code)
    return {
      kind: 'failed',
      code: 'InternalError',
      message: errorMessage('InternalError', { detail: messageOf(error) }),
    };
  const { retryAfterMs } = (error as LevadaError).params;
  return {
    kind: 'failed',
    code,
    message: messageOf(error),
    ...(typeof retryAfterMs === 'number' && { retryAfterMs }),
  };
}

const leaseMs = ({ action }: ConsumerConfig): number =>
  2 * ('timeoutMs' in action ? action.timeoutMs : 0) + leaseMarginMs;
