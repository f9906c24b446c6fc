import { type Announcement, modelEventKey, outcomeId } from '../../api/contract/model-events.ts';
import { namespacedName, placeOf } from '../../api/contract/names.ts';
import { eventSource } from '../../api/contract/pipeline.ts';
import { messageOf, type Problem } from '../../api/errors.ts';
import type { Resource } from '../../api/v1alpha1/resource.ts';
import type { Message } from '../../runtime/events/message.ts';
import type { Announced, Observed, UnitPlan } from '../plan/units.ts';
import type { Driver } from './driver.ts';

/** Puts an event into a pipeline's queues that are bound to `key`. Resolves when they have it safely, and rejects else. */
export type Publish = (pipeline: string, message: Message, key: string) => Promise<void>;

export interface AnnouncingOptions {
  readonly publish: Publish;
  /** First and longest pause before it is tried again, milliseconds. */
  readonly retry?: { readonly firstMs: number; readonly maxMs: number };
  readonly log: (text: string) => void;
}

/** One event on its way to one pipeline. */
interface Sending extends Announced {
  isDone: boolean;
  failures: number;
  timer?: NodeJS.Timeout;
}

/**
 * A driver of models that also tells pipelines what is to be announced, each until its broker has it. Nothing waits for that: a
 * broker that is away keeps no rollout from going on.
 */
export class Announcing implements Driver {
  readonly #models: Driver;
  readonly #options: Required<AnnouncingOptions>;
  readonly #sending = new Map<string, Sending[]>();
  #changed: (owner: string) => void = () => {};

  constructor(models: Driver, options: AnnouncingOptions) {
    this.#models = models;
    this.#options = { retry: { firstMs: 1_000, maxMs: 30_000 }, ...options };
  }

  watch(changed: (owner: string) => void): void {
    this.#changed = changed;
    this.#models.watch(changed);
  }

  async observe(owner: string, resource?: Resource): Promise<Observed> {
    const observed = await this.#models.observe(owner, resource);
    const announced = this.#of(owner).flatMap(({ id, pipeline, isDone }) => (isDone ? [{ id, pipeline }] : []));
    return { ...observed, ...(announced.length > 0 && { announced }) };
  }

  async check(owner: string, plan: UnitPlan): Promise<readonly Problem[]> {
    return (await this.#models.check?.(owner, plan)) ?? [];
  }

  async apply(owner: string, { announce = [], ...plan }: UnitPlan): Promise<boolean> {
    try {
      return await this.#models.apply(owner, plan);
    } finally {
      // What has been decided is so, whatever of its models cannot be made.
      this.#announce(owner, announce);
    }
  }

  async close(): Promise<void> {
    for (const owner of [...this.#sending.keys()]) this.#announce(owner, []);
    await this.#models.close();
  }

  #of(owner: string): readonly Sending[] {
    return this.#sending.get(owner) ?? [];
  }

  /** What is not wanted any more is forgotten: it has been told, or nobody listens. */
  #announce(owner: string, wanted: readonly Announcement[]): void {
    const before = this.#of(owner);
    const added: Array<() => void> = [];
    const now = wanted.flatMap((one) =>
      one.to.map((pipeline) => {
        const id = outcomeId(one);
        const known = before.find((other) => other.id === id && other.pipeline === pipeline);
        if (known) return known;
        const sending: Sending = { id, pipeline, isDone: false, failures: 0 };
        added.push(() => void this.#send(owner, sending, one));
        return sending;
      }),
    );
    for (const sending of before) if (!now.includes(sending)) clearTimeout(sending.timer);
    if (now.length > 0) this.#sending.set(owner, now);
    else this.#sending.delete(owner);
    for (const send of added) send();
  }

  /** Never rejects. */
  async #send(owner: string, sending: Sending, announcement: Announcement): Promise<void> {
    const { publish, retry, log } = this.#options;
    const { namespace, name } = placeOf(owner);
    const pipeline = namespacedName({ namespace, name: sending.pipeline });
    try {
      await publish(pipeline, messageOfOutcome(owner, announcement), modelEventKey(announcement.type, name));
      sending.isDone = true;
    } catch (error) {
      if (!this.#of(owner).includes(sending)) return; // nobody wants it any more
      if (sending.failures === 0) log(`${pipeline} could not be told of ${sending.id}: ${messageOf(error)}`);
      const pause = Math.min(retry.maxMs, retry.firstMs * 2 ** sending.failures);
      sending.failures++;
      sending.timer = setTimeout(() => void this.#send(owner, sending, announcement), pause);
      return;
    }
    this.#changed(owner);
  }
}

/** The same each time: whoever gets it twice sees that by its source and id. */
function messageOfOutcome(owner: string, { to: _, ...outcome }: Announcement): Message {
  const { namespace, name: model } = placeOf(owner);
  const { type, time, version, from, rollout, gate, observed, limit, n } = outcome;
  const data = { model, namespace, version, from, rollout, gate, observed, limit, n };
  return {
    id: outcomeId(outcome),
    source: eventSource(namespacedName({ namespace, name: model }), 'rollout'),
    type,
    subject: version,
    time,
    datacontenttype: 'application/json',
    extensions: {},
    data: Buffer.from(JSON.stringify(data)),
    delivery: { attempt: 1 },
  };
}
