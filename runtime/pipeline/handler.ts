import {
  type ConsumerConfig,
  type EventDeclaration,
  eventSource,
  maxMessageBytes,
} from '../../api/contract/pipeline.ts';
import { LevadaError } from '../../api/errors.ts';
import { compileSchema, type EventSchema, violationError } from '../../api/language/event-schema.ts';
import { compileExpression, type Expression, expectType } from '../../api/language/expression.ts';
import { show } from '../../api/rules.ts';
import { attributesOf, type Event, type Message } from '../events/message.ts';
import { readEvent } from '../events/parse.ts';
import { inSpan } from '../events/spans.ts';
import type { RandomBytes, Trace } from '../events/trace.ts';
import { makeStep } from '../steps/registry.ts';
import type { Emitted, Step, StepContext, StepEnvironment } from '../steps/step.ts';

interface RunContext extends Pick<StepContext, 'signal' | 'scored'> {
  readonly key: string;
  readonly now: Date;
  readonly random: RandomBytes;
}

/** A consumer's configuration, compiled: what is done with one message. Used until its last message has ended. */
export class Handler {
  readonly config: ConsumerConfig;
  readonly #step: Step;
  readonly #when: Expression | undefined;
  readonly #key: Expression | undefined;
  readonly #schemas: ReadonlyMap<string, EventSchema | undefined>;
  #users = 0;
  #retired = false;

  /** @throws LevadaError when an expression or a schema does not compile, which the plan has checked */
  constructor(config: ConsumerConfig, environment: StepEnvironment) {
    this.config = config;
    const compiled = (text: string | undefined) => (text === undefined ? undefined : compileExpression(text));
    this.#when = compiled(config.when);
    this.#key = compiled(config.idempotency?.key);
    this.#schemas = new Map(config.emits.map(({ type, schema }) => [type, schema && compileSchema(schema)]));
    this.#step = makeStep(config.action, environment);
  }

  /** Messages between {@link use} and {@link release}. */
  use(): this {
    this.#users++;
    return this;
  }

  async release(): Promise<void> {
    this.#users--;
    if (this.#retired && this.#users === 0) await this.#step.close();
  }

  /** Another handler takes the messages from now on. */
  async retire(): Promise<void> {
    if (this.#retired) return;
    this.#retired = true;
    if (this.#users === 0) await this.#step.close();
  }

  /** @throws LevadaError MessageInvalid, and as expressions do: `when` must be boolean */
  async open(message: Message): Promise<{ event: Event; wanted: boolean; key: string }> {
    const event = readEvent(message);
    const variables = { event: attributesOf(message) };
    const wanted = !this.#when || expectType(await this.#when.evaluate(event.data, variables), this.#when, 'boolean');
    return { event, wanted, key: wanted ? await this.#keyOf(event, variables) : '' };
  }

  /** The event's source and id, or what the step's own expression gives; another one for each replay. */
  async #keyOf({ message, data }: Event, variables: Record<string, unknown>): Promise<string> {
    const { source, id, delivery } = message;
    const own = this.#key && expectType(await this.#key.evaluate(data, variables), this.#key, 'key');
    const key = own ?? `${source}#${id}`;
    return delivery.replay === undefined ? key : `${key}#${delivery.replay}`;
  }

  /**
   * Runs the step.
   *
   * @returns what is to be published
   * @throws LevadaError as {@link Step.run}, EventUndeclared, EventBreaksSchema, MessageTooLarge
   */
  async run(event: Event, { key, now, random, ...context }: RunContext): Promise<Message[]> {
    const { message } = event;
    const { id, extensions, delivery } = message;
    const { pipeline, name, emits } = this.config;
    const attributes = {
      'messaging.operation.type': 'process',
      'messaging.destination.name': `${pipeline}/${name}`,
      'messaging.message.id': id,
      'levada.attempt': delivery.attempt,
    };
    return await inSpan(`${name} process`, extensions, attributes, random, async (trace) => {
      const emitted = await this.#step.run(event, {
        attempt: delivery.attempt,
        emits: emits.map(({ type }) => type),
        idempotencyKey: headerText(`${name}:${key}`),
        ...trace,
        ...context,
      });
      return emitted.map((one, index) => this.#messageOf(message, one, { index, of: emitted.length, trace, now }));
    });
  }

  #messageOf(
    cause: Message,
    emitted: Emitted,
    { index, of, trace, now }: { index: number; of: number; trace: Trace; now: Date },
  ): Message {
    const { type, allowed } = this.#typeOf(emitted);
    const violation = this.#schemas.get(type)?.check(emitted.data);
    if (violation) throw violationError(violation);
    if (!this.#schemas.has(type)) throw new LevadaError('EventUndeclared', { found: show(type), allowed });
    const data = Buffer.from(JSON.stringify(emitted.data ?? null));
    if (data.length > maxMessageBytes) {
      throw new LevadaError('MessageTooLarge', { found: data.length, limit: maxMessageBytes });
    }
    return {
      // The same for each attempt: who comes next can tell that it has seen it.
      id: emitted.id ?? (of === 1 ? cause.id : `${cause.id}.${index}`),
      source: emitted.source ?? eventSource(this.config.pipeline, this.config.name),
      type,
      ...(emitted.subject !== undefined && { subject: emitted.subject }),
      time: emitted.time ?? now.toISOString(),
      datacontenttype: 'application/json',
      ...(emitted.dataschema !== undefined && { dataschema: emitted.dataschema }),
      extensions: { ...trace, ...emitted.extensions },
      data,
      delivery: { attempt: 1 },
    };
  }

  #typeOf({ type }: Emitted): { type: string; allowed: string } {
    const { emits } = this.config;
    const allowed = emits.map((declared: EventDeclaration) => declared.type).join(', ') || 'none';
    if (type !== undefined) return { type, allowed };
    const [only] = emits;
    if (!only || emits.length > 1) throw new LevadaError('EventUndeclared', { found: 'no type', allowed });
    return { type: only.type, allowed };
  }
}

/** Text that may stand in a header: visible ASCII, the rest percent-encoded. */
const headerText = (text: string): string =>
  text.toWellFormed().replace(/[^\x21-\x7e]/gu, (character) => encodeURIComponent(character));
