import { LevadaError } from '../../../api/errors.ts';
import type { KubeClient } from '../../engine/client.ts';
import { objectKey, type ResourceType, type StoredObject } from '../../engine/objects.ts';
import { type Changed, Reflector, type ReflectorOptions } from '../../engine/reflector.ts';

export interface WatchedPlaces extends Pick<ReflectorOptions, 'backoff' | 'silenceMs'> {
  /** Absent: all. */
  readonly namespaces?: readonly string[];
  readonly failed: (error: unknown, nextMs: number) => void;
  /** Told instead of `failed` where nothing can be listed in one of several namespaces, and the others go on. */
  readonly absent?: (error: unknown, nextMs: number) => void;
}

/** How long a write may take until the watch tells of it, milliseconds. */
const landsWithinMs = 10_000;

/** What the API server has of one kind, in the namespaces that are watched. */
export class Copy<T extends StoredObject> {
  readonly type: ResourceType;
  readonly #reflectors: ReadonlyArray<{ readonly namespace?: string; readonly one: Reflector<T> }>;
  /** Where nothing can be listed, as long as something can elsewhere. */
  readonly #absences = new Set<() => void>();
  readonly #waiting = new Set<() => void>();

  constructor(
    client: KubeClient,
    type: ResourceType,
    { namespaces, failed, absent = failed, ...options }: WatchedPlaces,
    labelSelector?: string,
  ) {
    this.type = type;
    const places = namespaces?.map((namespace) => ({ namespace })) ?? [{}];
    const mayBeAbsent = places.length > 1;
    this.#reflectors = places.map((place) => {
      const one: Reflector<T> = new Reflector<T>(client, {
        ...{ type, ...place, ...options, mayBeAbsent },
        ...(labelSelector !== undefined && { labelSelector }),
        failed: (error, nextMs) => {
          const isAbsent = one.absence === error && !this.isAbsent;
          (isAbsent ? absent : failed)(error, nextMs);
          for (const check of this.#absences) check();
        },
      });
      return { ...place, one };
    });
    this.onChange(() => {
      for (const check of this.#waiting) check();
    });
  }

  /** Resolves when there is a copy of everything; a namespace in which nothing can be listed keeps no other one from that. */
  async start(): Promise<void> {
    const started = this.#reflectors.map(({ one }) => one.start());
    const orAbsent = this.#reflectors.map(({ one }, i) => Promise.race([started[i], this.#absenceOf(one)]));
    await Promise.all([Promise.race(started), ...orAbsent]);
  }

  #absenceOf(one: Reflector<T>): Promise<void> {
    return new Promise((resolve) => {
      this.#absences.add(() => {
        if (one.absence !== undefined) resolve();
      });
    });
  }

  /** Whether nothing can be listed anywhere. */
  get isAbsent(): boolean {
    return this.#reflectors.every(({ one }) => one.absence !== undefined);
  }

  /** Why nothing can be listed in `namespace`; `undefined`: it can. */
  absenceIn(namespace: string): unknown {
    return this.#reflectors.find((place) => place.namespace === namespace)?.one.absence;
  }

  onChange(listener: Changed<T>): void {
    for (const { one } of this.#reflectors) one.onChange(listener);
  }

  get(namespace: string, name: string): T | undefined {
    for (const { one } of this.#reflectors) {
      const found = one.get(namespace, name);
      if (found) return found;
    }
    return undefined;
  }

  *values(): Generator<T> {
    for (const { one } of this.#reflectors) yield* one.values();
  }

  get isConnected(): boolean {
    return !this.isAbsent && this.#reflectors.every(({ one }) => one.isConnected);
  }

  /**
   * Resolves when the copy is as new as `written`, so that who writes reads what it has written.
   *
   * @param isGone whether it was deleted
   * @throws LevadaError ClusterUnavailable when the watch does not tell in time
   */
  async landed(written: StoredObject, isGone = false): Promise<void> {
    const { namespace = '', name, uid, resourceVersion } = written.metadata;
    const has = (): boolean => {
      const found = this.get(namespace, name);
      if (isGone)
        return found === undefined || found.metadata.uid !== uid || found.metadata.deletionTimestamp !== undefined;
      return found !== undefined && isAtLeast(found.metadata.resourceVersion, resourceVersion);
    };
    if (has()) return;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const check = () => has() && resolve(true);
    this.#waiting.add(check);
    const late = setTimeout(() => resolve(false), landsWithinMs);
    const isThere = await promise;
    clearTimeout(late);
    this.#waiting.delete(check);
    if (!isThere) {
      const detail = `the watch of ${this.type.plural} is behind: it does not tell of ${objectKey(written)}`;
      throw new LevadaError('ClusterUnavailable', { detail });
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#reflectors.map(({ one }) => one.close()));
  }
}

/** Versions of one kind are numbers that grow (KEP-5504 says what was always so). */
const isAtLeast = (version = '0', least = '0'): boolean => BigInt(version) >= BigInt(least);
