import { setTimeout as pause } from 'node:timers/promises';
import { errorCodeOf } from '../../api/errors.ts';
import type { KubeClient, WatchEvent } from './client.ts';
import { refusal } from './failure.ts';
import { objectKey, pathOf, type ResourceType, type StoredObject } from './objects.ts';

export interface ReflectorOptions {
  readonly type: ResourceType;
  /** Absent: all namespaces. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  /** Objects of a page of a list. Default 500, as client-go. */
  readonly pageSize?: number;
  /**
   * Without a byte for so long, a watch is begun anew, milliseconds. Bookmarks come about once a minute, so the
   * default of 150 s lets two of them pass.
   */
  readonly silenceMs?: number;
  /** First and longest wait after a failure, milliseconds; doubles, with jitter. Default 1 s and 30 s. */
  readonly backoff?: { readonly firstMs: number; readonly maxMs: number };
  /** Whether there may be nothing to list here, which is said by {@link Reflector.absence}: it keeps nobody from beginning. */
  readonly mayBeAbsent?: boolean;
  /** In [0, 1). */
  readonly random?: () => number;
  /** Milliseconds that only go forward. */
  readonly now?: () => number;
  readonly sleep?: (ms: number) => Promise<void>;
  /** Told of each failure; the reflector goes on by itself. */
  readonly failed: (error: unknown, nextMs: number) => void;
}

/** `undefined`: it was not there before, it is not there any more. */
export type Changed<T> = (now: T | undefined, before: T | undefined) => void;

interface Page<T> {
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly items: readonly T[];
}

/** Seconds after which a watch is begun anew, so that watchers spread over API servers: this and up to twice as much. */
const watchSeconds = 300;
/** A watch that ends sooner, milliseconds, is not begun anew at once: whoever ends it may end the next one as well. */
const shortWatchMs = 1_000;

/**
 * A copy of what the API server has of one kind: listed in pages, then watched, for as long as it runs. A failure of any
 * sort is tried again from where it was; only a version that the API server no longer has is listed anew, and what went
 * missing meanwhile is told as removed, also where another object has its name now.
 */
export class Reflector<T extends StoredObject> {
  readonly #client: KubeClient;
  readonly #options: ReflectorOptions;
  readonly #objects = new Map<string, T>();
  readonly #listeners: Changed<T>[] = [];
  readonly #ended = new AbortController();
  readonly #synced = Promise.withResolvers<void>();
  #isSynced = false;
  #isConnected = false;
  #absence: unknown;
  #lists = 0;
  #running: Promise<void> | undefined;

  constructor(client: KubeClient, options: ReflectorOptions) {
    this.#client = client;
    this.#options = options;
  }

  /** Begins; resolves when the first list is complete, or {@link close} was called before. */
  start(): Promise<void> {
    this.#running ??= this.#run();
    return this.#synced.promise;
  }

  /** Calls `listener` for every change from now on, also for those that the first list brings. It must not throw. */
  onChange(listener: Changed<T>): void {
    this.#listeners.push(listener);
  }

  get(namespace: string, name: string): T | undefined {
    return this.#objects.get(`${namespace}/${name}`);
  }

  values(): IterableIterator<T> {
    return this.#objects.values();
  }

  get size(): number {
    return this.#objects.size;
  }

  /** Whether the copy is complete; stays so. */
  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** Whether the last thing heard of the API server was good: a list, or a watch that it took; that nothing is there is good. */
  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** Why nothing can be listed here, as long as that is so: a namespace that is gone takes the right to it along. */
  get absence(): unknown {
    return this.#absence;
  }

  /** Lists that were completed. */
  get lists(): number {
    return this.#lists;
  }

  /** Ends the watch. */
  async close(): Promise<void> {
    this.#ended.abort();
    await this.#running;
    this.#synced.resolve();
  }

  async #run(): Promise<void> {
    const { backoff = defaultBackoff, now = () => performance.now() } = this.#options;
    const { signal } = this.#ended;
    let version: string | undefined;
    let failures = 0;
    while (!signal.aborted) {
      const open: { since?: number } = {};
      const openMs = () => (open.since === undefined ? 0 : now() - open.since);
      const opened = () => {
        this.#isConnected = true;
        open.since = now();
      };
      try {
        version ??= await this.#list();
        for await (const event of this.#watch(version, opened)) {
          version = this.#take(event);
          failures = 0; // an error is an event, too
        }
        if (openMs() > backoff.maxMs) failures = 0;
        if (openMs() < shortWatchMs) await this.#pause(this.#waitAfter(failures++));
      } catch (error) {
        if (signal.aborted) break;
        if (openMs() > backoff.maxMs) failures = 0;
        const isExpired = errorCodeOf(error) === 'ClusterExpired';
        const isRefused = this.#options.mayBeAbsent === true && isAbsence(error);
        if (isRefused && version === undefined) this.#leave(error);
        else this.#isConnected = false;
        // Of a watch that is refused, the next list tells whether anything is there.
        if (isExpired || isRefused) version = undefined;
        const wait = isExpired && failures === 0 ? 0 : this.#waitAfter(failures);
        failures++;
        this.#options.failed(error, wait);
        await this.#pause(wait);
      }
    }
  }

  #waitAfter(failures: number): number {
    return waitAfter(failures, this.#options);
  }

  #pause(ms: number): Promise<void> {
    return this.#options.sleep?.(ms) ?? pause(ms, undefined, { signal: this.#ended.signal }).catch(() => {}); // closed meanwhile
  }

  /** Nothing can be listed: nothing is there. */
  #leave(error: unknown): void {
    this.#absence = error;
    this.#isConnected = true;
    for (const key of [...this.#objects.keys()]) this.#remove(key);
  }

  async #list(): Promise<string> {
    const { pageSize = 500, labelSelector, type } = this.#options;
    const { apiVersion, kind } = type;
    const found = new Map<string, T>();
    let next: string | undefined;
    let version: string;
    do {
      const page: Page<T> = await this.#client.call<Page<T>>({
        method: 'GET',
        path: this.#path,
        query: { labelSelector, limit: pageSize, continue: next },
        signal: this.#ended.signal,
        timeoutMs: 60_000,
      });
      // Of a list each object leaves out what kind it is; of a watch it does not.
      for (const item of page.items) found.set(objectKey(item), { apiVersion, kind, ...slim(item) });
      next = page.metadata.continue || undefined;
      version = page.metadata.resourceVersion;
    } while (next !== undefined);
    for (const [key, object] of found) this.#put(key, object);
    for (const key of this.#objects.keys()) if (!found.has(key)) this.#remove(key);
    this.#lists++;
    this.#absence = undefined;
    this.#isSynced = true;
    this.#isConnected = true;
    this.#synced.resolve();
    return version;
  }

  #watch(resourceVersion: string, opened: () => void): AsyncGenerator<WatchEvent<T>> {
    const { type, namespace, labelSelector, silenceMs = 150_000, random = Math.random } = this.#options;
    const timeoutSeconds = Math.round(watchSeconds * (1 + random()));
    return this.#client.watch<T>(type, namespace === undefined ? {} : { namespace }, {
      query: { labelSelector, resourceVersion, allowWatchBookmarks: true, timeoutSeconds },
      silenceMs,
      signal: this.#ended.signal,
      opened,
    });
  }

  /** @returns the version up to which the copy is complete now */
  #take(event: WatchEvent<T>): string {
    if (event.type === 'ERROR') throw refusal(`watch ${this.#path}`, event.object.code ?? 500, event.object);
    const { resourceVersion } = event.object.metadata;
    if (resourceVersion === undefined) throw new Error(`an event of ${this.#path} has no resourceVersion`);
    if (event.type === 'DELETED') this.#remove(objectKey(event.object));
    else if (event.type !== 'BOOKMARK') this.#put(objectKey(event.object), slim(event.object));
    return resourceVersion;
  }

  #put(key: string, object: T): void {
    // Its generation, and all else that may be compared, is not that of the one before.
    if (this.#objects.get(key)?.metadata.uid !== object.metadata.uid) this.#remove(key);
    const before = this.#objects.get(key);
    if (before?.metadata.resourceVersion === object.metadata.resourceVersion) return;
    this.#objects.set(key, object);
    for (const listener of this.#listeners) listener(object, before);
  }

  #remove(key: string): void {
    const before = this.#objects.get(key);
    if (!this.#objects.delete(key)) return;
    for (const listener of this.#listeners) listener(undefined, before);
  }

  get #path(): string {
    const { type, namespace } = this.#options;
    return pathOf(type, namespace === undefined ? {} : { namespace });
  }
}

const defaultBackoff = { firstMs: 1_000, maxMs: 30_000 };

/**
 * Milliseconds to wait after so many failures before this one. Half of it is at random: all operators lost their API server at the
 * same moment.
 */
export function waitAfter(
  failures: number,
  { backoff = defaultBackoff, random = Math.random }: Pick<ReflectorOptions, 'backoff' | 'random'>,
): number {
  const longest = Math.min(backoff.maxMs, backoff.firstMs * 2 ** failures);
  return longest / 2 + (random() * longest) / 2;
}

const isAbsence = (error: unknown): boolean =>
  ['ClusterForbidden', 'ClusterNotFound'].includes(errorCodeOf(error) ?? '');

/** Without who owns which field: half of the memory, and nobody here reads it. */
function slim<T extends StoredObject>(object: T): T {
  const { managedFields: _, ...metadata } = object.metadata as T['metadata'] & { managedFields?: unknown };
  return { ...object, metadata };
}
