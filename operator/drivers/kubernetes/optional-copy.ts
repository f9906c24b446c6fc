import { setTimeout as pause } from 'node:timers/promises';
import { errorCodeOf, errors, LevadaError } from '../../../api/errors.ts';
import type { KubeClient } from '../../engine/client.ts';
import type { ResourceType, StoredObject } from '../../engine/objects.ts';
import { type Changed, waitAfter } from '../../engine/reflector.ts';
import { Copy, type WatchedPlaces } from './copies.ts';

/** Of a kind that is not there nobody tells when it comes. */
const missingMs = 300_000;

/**
 * A copy of a kind that a cluster may lack. It is watched from when it is there, which is looked for again and again, until the
 * API server knows nothing of it any more.
 */
export class OptionalCopy<T extends StoredObject> {
  readonly type: ResourceType;
  readonly #client: KubeClient;
  readonly #places: WatchedPlaces;
  readonly #labelSelector: string;
  readonly #missingMs: number;
  readonly #listeners: Changed<T>[] = [];
  readonly #ended = new AbortController();
  #copy: Copy<T> | undefined;
  /** Its first list is not complete. */
  #beginning: Copy<T> | undefined;
  #starting: Promise<void> | undefined;
  #looking: Promise<void> | undefined;
  #isAnswered = false;
  #failures = 0;

  constructor(
    client: KubeClient,
    type: ResourceType,
    places: WatchedPlaces,
    labelSelector: string,
    lookMs = missingMs,
  ) {
    this.#client = client;
    this.type = type;
    this.#places = places;
    this.#labelSelector = labelSelector;
    this.#missingMs = lookMs;
  }

  /** Watches the kind as soon as the cluster has it, whether or not somebody wants it; resolves when that was tried once. */
  async start(): Promise<void> {
    const first = this.#look();
    this.#looking = first.then((nextMs) => this.#lookAgain(nextMs));
    await first;
  }

  async #lookAgain(firstMs: number): Promise<void> {
    const { signal } = this.#ended;
    for (let nextMs = firstMs; !signal.aborted; ) {
      await pause(nextMs, undefined, { signal }).catch(() => {}); // closed meanwhile
      if (!signal.aborted) nextMs = await this.#look();
    }
  }

  /** @returns milliseconds until the next look, also where it is watched: it may be removed */
  async #look(): Promise<number> {
    try {
      await this.ensure();
    } catch (error) {
      if (errorCodeOf(error) !== 'KindMissing' && !this.#ended.signal.aborted) {
        const nextMs = waitAfter(this.#failures++, this.#places);
        this.#places.failed(error, nextMs);
        return nextMs;
      }
    }
    this.#failures = 0;
    return this.#missingMs;
  }

  /**
   * Resolves when the kind is watched.
   *
   * @param namespace where it is wanted
   * @throws LevadaError KindMissing, Cluster…
   */
  async ensure(namespace?: string): Promise<void> {
    if (!this.#copy) {
      this.#starting ??= this.#begin()
        .then(
          () => {
            this.#isAnswered = true;
          },
          (error: unknown) => {
            if (isAnswer(error)) this.#isAnswered = true;
            throw error;
          },
        )
        .finally(() => {
          this.#starting = undefined;
        });
      await this.#starting;
    }
    const absence = namespace === undefined ? undefined : this.#copy?.absenceIn(namespace);
    if (absence !== undefined) throw absence;
  }

  onChange(listener: Changed<T>): void {
    this.#listeners.push(listener);
  }

  get(namespace: string, name: string): T | undefined {
    return this.#copy?.get(namespace, name);
  }

  /** Whether what is there is known: where nobody has said yet whether the kind is there, it is not. */
  get isConnected(): boolean {
    return this.#copy?.isConnected ?? this.#isAnswered;
  }

  async landed(written: StoredObject, isGone = false): Promise<void> {
    await this.#copy?.landed(written, isGone);
  }

  async close(): Promise<void> {
    this.#ended.abort();
    await this.#beginning?.close();
    await this.#starting?.catch(() => {}); // whoever began it is told
    await Promise.all([this.#looking, this.#copy?.close()]);
  }

  async #begin(): Promise<void> {
    if (!(await this.#isServed())) {
      throw new LevadaError('KindMissing', { kind: this.type.kind, found: this.type.apiVersion });
    }
    const refused = Promise.withResolvers<never>();
    refused.promise.catch(() => {}); // later ones are of no interest
    const copy: Copy<T> = new Copy<T>(
      this.#client,
      this.type,
      {
        ...this.#places,
        absent: (error, nextMs) => this.#places.failed(error, nextMs),
        failed: (error, nextMs) => {
          if (this.#copy !== copy) return refused.reject(error); // whoever began it is told
          this.#places.failed(error, nextMs);
          if (errorCodeOf(error) === 'ClusterNotFound') this.#forget(copy);
        },
      },
      this.#labelSelector,
    );
    copy.onChange((now, before) => {
      for (const listener of this.#listeners) listener(now, before);
    });
    this.#beginning = copy;
    try {
      await Promise.race([copy.start(), refused.promise]);
      this.#copy = copy;
    } catch (error) {
      await copy.close();
      throw error;
    } finally {
      this.#beginning = undefined;
    }
  }

  async #isServed(): Promise<boolean> {
    const path = `/apis/${this.type.apiVersion}`;
    try {
      const { resources } = await this.#client.call<{ resources: Array<{ name: string }> }>({
        method: 'GET',
        path,
        signal: this.#ended.signal,
      });
      return resources.some(({ name }) => name === this.type.plural);
    } catch (error) {
      if (errorCodeOf(error) === 'ClusterNotFound') return false;
      throw error;
    }
  }

  /** The kind was removed, and all objects with it. */
  #forget(copy: Copy<T>): void {
    this.#copy = undefined;
    void copy.close();
    for (const object of copy.values()) for (const listener of this.#listeners) listener(undefined, object);
  }
}

/** Whether an API server has said it; what passes by itself says nothing of what is there. */
function isAnswer(error: unknown): boolean {
  const code = errorCodeOf(error);
  return code !== undefined && errors[code].outcome !== 'retry';
}
