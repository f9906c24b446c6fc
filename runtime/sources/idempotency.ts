import { attributesOf } from '../events/message.ts';
import type { Answer } from './answer.ts';
import type { Taken } from './intake.ts';

export interface KeyLimits {
  /** Milliseconds that an answer is kept. */
  readonly retentionMs: number;
  readonly maxEntries: number;
  /** Bytes of keys, answers and events, about. */
  readonly maxBytes: number;
}

export const defaultKeyLimits: KeyLimits = {
  retentionMs: 24 * 3_600_000,
  maxEntries: 100_000,
  maxBytes: 64 * 2 ** 20,
};

/** What an entry takes beside its texts, about. */
const overheadBytes = 400;

/** What a key says about the request that comes with it. */
export type Begun =
  /**
   * It is taken now: {@link IdempotencyKeys.done}, {@link IdempotencyKeys.unsure} or {@link IdempotencyKeys.free} ends
   * that. `taken`: the same request may have had its effect, with this event.
   */
  | { readonly state: 'fresh'; readonly taken?: Taken }
  /** The same request was answered. */
  | { readonly state: 'replay'; readonly answer: Answer }
  /** The same request is under way. */
  | { readonly state: 'in-use' }
  /** Another request has used the key. */
  | { readonly state: 'reused' };

interface Entry<T> {
  readonly fingerprint: string;
  readonly kept: T;
  readonly until: number;
  readonly bytes: number;
}

/**
 * Keys of clients and the answers that they got, in memory: they end with the process. When there are too many, the
 * oldest go first, those without an answer before all others. Keys under way are kept apart, and never go.
 */
export class IdempotencyKeys {
  readonly #limits: KeyLimits;
  readonly #now: () => number;
  /** By key; in the order of their end, because all are kept for the same time. */
  readonly #done = new Map<string, Entry<Answer>>();
  /** The same, of requests of which nobody knows whether they had their effect. */
  readonly #unsure = new Map<string, Entry<Taken>>();
  /** Fingerprints by key. */
  readonly #underWay = new Map<string, string>();
  #bytes = 0;

  /** @param now milliseconds */
  constructor(limits: KeyLimits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
  }

  /** Answers and events that are kept. */
  get size(): number {
    return this.#done.size + this.#unsure.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** @param fingerprint stands for all that makes two requests the same */
  begin(key: string, fingerprint: string): Begun {
    this.#expire();
    const taken = this.#underWay.get(key);
    if (taken !== undefined) return { state: taken === fingerprint ? 'in-use' : 'reused' };
    const entry = this.#done.get(key);
    if (entry) return entry.fingerprint === fingerprint ? { state: 'replay', answer: entry.kept } : { state: 'reused' };
    this.#underWay.set(key, fingerprint);
    const unsure = this.#unsure.get(key);
    return { state: 'fresh', ...(unsure?.fingerprint === fingerprint && { taken: unsure.kept }) };
  }

  /** The request has had its effect: whoever comes with the key again gets `answer`. */
  done(key: string, answer: Answer): void {
    this.#end(key, this.#done, answer, answer.body.length);
  }

  /** Nobody knows whether it had: the same request is to publish the same event, and whatever else is a new one. */
  unsure(key: string, taken: Taken): void {
    const { message, answer } = taken;
    const attributes = JSON.stringify(attributesOf(message));
    this.#end(key, this.#unsure, taken, message.data.length + attributes.length + answer.body.length);
  }

  /** The request had no effect. */
  free(key: string): void {
    this.#underWay.delete(key);
  }

  #end<T>(key: string, entries: Map<string, Entry<T>>, kept: T, size: number): void {
    const fingerprint = this.#underWay.get(key);
    if (fingerprint === undefined) return;
    this.#underWay.delete(key);
    this.#forget(this.#unsure, key);
    const bytes = overheadBytes + key.length + size;
    entries.set(key, { fingerprint, kept, until: this.#now() + this.#limits.retentionMs, bytes });
    this.#bytes += bytes;
    this.#trim();
  }

  #trim(): void {
    for (const entries of [this.#unsure, this.#done]) {
      for (const oldest of entries.keys()) {
        if (this.size <= this.#limits.maxEntries && this.#bytes <= this.#limits.maxBytes) return;
        this.#forget(entries, oldest);
      }
    }
  }

  #expire(): void {
    const now = this.#now();
    for (const entries of [this.#unsure, this.#done]) {
      for (const [key, { until }] of entries) {
        if (until > now) break;
        this.#forget(entries, key);
      }
    }
  }

  #forget(entries: Map<string, Entry<unknown>>, key: string): void {
    this.#bytes -= entries.get(key)?.bytes ?? 0;
    entries.delete(key);
  }
}
