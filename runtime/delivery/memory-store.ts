import type { Begun, DedupStore, Lease } from './dedup.ts';
import { Heap } from './heap.ts';

interface Entry {
  readonly done: boolean;
  readonly token: number;
  readonly until: number;
}

/** Expired keys that one call forgets at most. More than a call adds, so that they become fewer. */
const sweep = 16;

/**
 * Keys in this process' memory: they end with it. Holds what has not expired, and lets go of the rest a few keys a
 * call, so that no call takes long.
 */
export class MemoryDedupStore implements DedupStore {
  readonly #entries = new Map<string, Entry>();
  readonly #expiries = new Heap<{ key: string; until: number }>((a, b) => a.until < b.until);
  #tokens = 0;

  /** Keys that are held, expired ones that nobody has come across included. */
  get size(): number {
    return this.#entries.size;
  }

  async begin(key: string, leaseMs: number, now: number): Promise<Begun> {
    const entry = this.#live(key, now);
    if (entry?.done) return { state: 'done' };
    if (entry) return { state: 'leased', until: entry.until };
    this.#tokens++;
    this.#set(key, { done: false, token: this.#tokens, until: now + leaseMs });
    return { state: 'fresh', lease: { key, token: this.#tokens } };
  }

  async done({ key, token }: Lease, retentionMs: number, now: number): Promise<boolean> {
    const entry = this.#live(key, now);
    if (entry && entry.token !== token) return false;
    this.#set(key, { done: true, token, until: now + retentionMs });
    return true;
  }

  async free({ key, token }: Lease, now: number): Promise<boolean> {
    const entry = this.#live(key, now);
    if (entry?.token !== token || entry.done) return false;
    this.#entries.delete(key);
    return true;
  }

  #live(key: string, now: number): Entry | undefined {
    this.#sweep(now);
    const entry = this.#entries.get(key);
    return entry && entry.until > now ? entry : undefined;
  }

  #set(key: string, entry: Entry): void {
    this.#entries.set(key, entry);
    this.#expiries.push({ key, until: entry.until });
  }

  #sweep(now: number): void {
    for (let i = 0; i < sweep; i++) {
      const first = this.#expiries.peek();
      if (!first || first.until > now) return;
      this.#expiries.pop();
      // The key may have been leased anew, or done, meanwhile: a later expiry is in the heap then.
      if ((this.#entries.get(first.key)?.until ?? Infinity) <= now) this.#entries.delete(first.key);
    }
  }
}
