import { errorCodeOf, LevadaError } from '../../../api/errors.ts';
import type { KubeClient } from '../../engine/client.ts';
import type { ResourceType, StoredObject } from '../../engine/objects.ts';
import type { Changed } from '../../engine/reflector.ts';
import { Copy, type WatchedPlaces } from './copies.ts';

/**
 * A copy of a kind that a cluster may lack. It is watched from when it is there and wanted, and not any more once the
 * API server knows nothing of it.
 */
export class OptionalCopy<T extends StoredObject> {
  readonly type: ResourceType;
  readonly #client: KubeClient;
  readonly #places: WatchedPlaces;
  readonly #labelSelector: string;
  readonly #listeners: Changed<T>[] = [];
  #copy: Copy<T> | undefined;
  #starting: Promise<void> | undefined;

  constructor(client: KubeClient, type: ResourceType, places: WatchedPlaces, labelSelector: string) {
    this.#client = client;
    this.type = type;
    this.#places = places;
    this.#labelSelector = labelSelector;
  }

  /** Watches the kind where the cluster has it. What keeps it from that is said to who wants it, by {@link ensure}. */
  async start(): Promise<void> {
    await this.ensure().catch((error: unknown) => {
      if (errorCodeOf(error) !== 'KindMissing') this.#places.failed(error, 0);
    });
  }

  /**
   * Resolves when the kind is watched.
   *
   * @param namespace where it is wanted
   * @throws LevadaError KindMissing, Cluster…
   */
  async ensure(namespace?: string): Promise<void> {
    if (!this.#copy) {
      this.#starting ??= this.#begin().finally(() => {
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

  get isConnected(): boolean {
    return this.#copy?.isConnected ?? true;
  }

  async landed(written: StoredObject, isGone = false): Promise<void> {
    await this.#copy?.landed(written, isGone);
  }

  async close(): Promise<void> {
    await this.#starting?.catch(() => {}); // whoever began it is told
    await this.#copy?.close();
  }

  async #begin(): Promise<void> {
    if (!(await this.#isServed())) {
      throw new LevadaError('KindMissing', { kind: this.type.kind, found: this.type.apiVersion });
    }
    const refused = Promise.withResolvers<never>();
    refused.promise.catch(() => {}); // later failures are only told
    const copy: Copy<T> = new Copy<T>(
      this.#client,
      this.type,
      {
        ...this.#places,
        absent: (error, nextMs) => this.#places.failed(error, nextMs),
        failed: (error, nextMs) => {
          refused.reject(error);
          this.#places.failed(error, nextMs);
          if (errorCodeOf(error) === 'ClusterNotFound' && this.#copy === copy) this.#forget(copy);
        },
      },
      this.#labelSelector,
    );
    copy.onChange((now, before) => {
      for (const listener of this.#listeners) listener(now, before);
    });
    try {
      await Promise.race([copy.start(), refused.promise]);
    } catch (error) {
      await copy.close();
      throw error;
    }
    this.#copy = copy;
  }

  async #isServed(): Promise<boolean> {
    const path = `/apis/${this.type.apiVersion}`;
    try {
      const { resources } = await this.#client.call<{ resources: Array<{ name: string }> }>({ method: 'GET', path });
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
