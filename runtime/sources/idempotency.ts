import type { Answer } from './answer.ts';

export interface KeyLimits {
  /** Milliseconds that an answer is kept. */
  readonly retentionMs: number;
  readonly maxEntries: number;
  /** Bytes of keys and answers, about. */
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
  /** Nobody has used the key: it is taken now. {@link IdempotencyKeys.done} or {@link IdempotencyKeys.free} ends that. */
  | { readonly state: 'fresh' }
  /** The same request was answered. */
  | { readonly state: 'replay'; readonly answer: Answer }
  /** The same request is under way. */
  | { readonly state: 'in-use' }
  /** Another request has used the key. */
  | { readonly state: 'reused' };

interface Entry {
  readonly fingerprint: string;
  readonly answer: Answer;
  readonly until: number;
  readonly bytes: number;
}

/**
 * Keys of clients and the answers that they got, in memory: they end with the process. When there are too many, the
 * oldest go first. Keys under way are kept apart, and never go.
 */
export class IdempotencyKeys {
  readonly #limits: KeyLimits;
  readonly #now: () => number;
  /** By key; in the order of their end, because all are kept for the same time. */
  readonly #done = new Map<string, Entry>();
  /** Fingerprints by key. */
  readonly #underWay = new Map<string, string>();
  #bytes = 0;

  /** @param now milliseconds */
  constructor(limits: KeyLimits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
  }

  /** Answers that are kept. */
  get size(): number {
    return this.#done.size;
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
    if (entry)
      return entry.fingerprint === fingerprint ? { state: 'replay', answer: entry.answer } : { state: 'reused' };
    this.#underWay.set(key, fingerprint);
    return { state: 'fresh' };
  }

  /** The request has had its effect: whoever comes with the key again gets `answer`. */
  done(key: string, answer: Answer): void {
    const fingerprint = this.#underWay.get(key);
    if (fingerprint === undefined) return;
    this.#underWay.delete(key);
    const bytes = overheadBytes + key.length + answer.body.length;
    this.#done.set(key, { fingerprint, answer, until: this.#now() + this.#limits.retentionMs, bytes });
    this.#bytes += bytes;
    for (const oldest of this.#done.keys()) {
      if (this.#done.size <= this.#limits.maxEntries && this.#bytes <= this.#limits.maxBytes) break;
      this.#forget(oldest);
    }
  }

  /** The request had no effect. */
  free(key: string): void {
    this.#underWay.delete(key);
  }

  #expire(): void {
    const now = this.#now();
    for (const [key, { until }] of this.#done) {
      if (until > now) break;
      this.#forget(key);
    }
  }

  #forget(key: string): void {
    this.#bytes -= this.#done.get(key)?.bytes ?? 0;
    this.#done.delete(key);
  }
}
