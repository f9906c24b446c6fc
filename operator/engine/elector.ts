import { setTimeout as pause } from 'node:timers/promises';
import { errorCodeOf } from '../../api/errors.ts';
import type { KubeClient } from './client.ts';
import { pathOf, type ResourceType, type StoredObject } from './objects.ts';

export const leases: ResourceType = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', plural: 'leases' };

interface LeaseSpec {
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  readonly acquireTime?: string;
  readonly renewTime?: string;
  readonly leaseTransitions?: number;
}

interface Lease extends StoredObject {
  readonly spec?: LeaseSpec;
}

export interface ElectorOptions {
  readonly namespace: string;
  /** Of the Lease, which is there already: no right to create one is needed. */
  readonly name: string;
  /** Different for each process. */
  readonly identity: string;
  /** Others take over when they have seen no renewal for so long. Default 15 s, a whole number of seconds. */
  readonly leaseMs?: number;
  /** Who leads gives up when it could not renew for so long. Default 10 s; less than `leaseMs`. */
  readonly renewMs?: number;
  /** Pause between two attempts. Default 2 s. */
  readonly retryMs?: number;
  /** Milliseconds that only go forward. */
  readonly monotonic?: () => number;
  /** The time of day; only people read it. */
  readonly now?: () => Date;
  /** In [0, 1). */
  readonly random?: () => number;
  /** Told of each attempt that failed for another reason than that somebody else leads. */
  readonly failed: (error: unknown) => void;
}

/**
 * One of several processes leads, by a Lease (coordination.k8s.io/v1), with the rules and times of client-go's
 * leaderelection. Whether another's lease is over is judged by when this process saw it renewed last, never by the clock
 * that wrote it.
 */
export class Elector {
  readonly #client: KubeClient;
  readonly #options: Required<ElectorOptions>;
  readonly #ended = new AbortController();
  /** As it was seen last, and when it was first seen so. */
  #seen: { readonly version: string; readonly at: number } | undefined;
  #lease: Lease | undefined;
  /** The attempt that is under way, or was last. */
  #trying: Promise<boolean> = Promise.resolve(false);

  constructor(client: KubeClient, options: ElectorOptions) {
    this.#client = client;
    this.#options = {
      leaseMs: 15_000,
      renewMs: 10_000,
      retryMs: 2_000,
      monotonic: () => performance.now(),
      now: () => new Date(),
      random: Math.random,
      ...options,
    };
  }

  /**
   * Resolves with true when this process leads, with false when {@link release} was called first.
   *
   * @param isReady whether it may lead now; once it leads, nobody asks any more
   */
  async acquire(isReady: () => boolean = () => true): Promise<boolean> {
    const { retryMs, random } = this.#options;
    while (!this.#ended.signal.aborted) {
      if (isReady() && (await this.#try())) return true;
      // Twice as often as whoever leads renews, so that a lease that was given back is taken within a second or so. Jitter
      // keeps those who wait from trying at the same moment.
      await this.#pause(retryMs * (0.4 + 0.2 * random()));
    }
    return false;
  }

  /** Renews until that fails for too long; then this process must not write any more, and is best ended. */
  async hold(): Promise<'lost' | 'released'> {
    const { retryMs, renewMs, monotonic } = this.#options;
    let renewed = monotonic();
    while (!this.#ended.signal.aborted) {
      await this.#pause(retryMs);
      if (this.#ended.signal.aborted) break;
      // The time of a renewal is that before it was asked for: others count from when they see it, which is later.
      const asked = monotonic();
      const late = new AbortController();
      const deadline = pause(Math.max(0, renewed + renewMs - asked), 'late', { signal: late.signal }).catch(
        () => 'late',
      );
      const answer = await Promise.race([this.#try(), deadline]);
      late.abort();
      if (answer === 'late') return this.#ended.signal.aborted ? 'released' : 'lost';
      if (answer) renewed = asked;
      else if (this.#lease?.spec?.holderIdentity !== this.#options.identity) return 'lost';
    }
    return 'released';
  }

  /** Gives the lease back, if it is held: the next one need not wait for its end. Failing that, it runs out. */
  async release(): Promise<void> {
    this.#ended.abort();
    // A renewal that is under way makes another version of the lease.
    await this.#trying;
    const lease = this.#lease;
    if (lease?.spec?.holderIdentity !== this.#options.identity) return;
    try {
      await this.#write(lease, {
        ...lease.spec,
        holderIdentity: '',
        leaseDurationSeconds: 1,
        renewTime: microTime(this.#options.now()),
      });
    } catch (error) {
      this.#options.failed(error);
    }
  }

  /** One attempt to take or to renew it. Never rejects. */
  #try(): Promise<boolean> {
    this.#trying = this.#attempt();
    return this.#trying;
  }

  async #attempt(): Promise<boolean> {
    const { identity, leaseMs, namespace, name, now, renewMs } = this.#options;
    try {
      const lease = await this.#client.call<Lease>({
        method: 'GET',
        path: pathOf(leases, { namespace, name }),
        timeoutMs: renewMs / 2,
      });
      this.#lease = lease;
      const { spec = {} } = lease;
      const isMine = spec.holderIdentity === identity;
      if (!isMine && !this.#isOver(lease)) return false;
      const time = microTime(now());
      this.#lease = await this.#write(lease, {
        holderIdentity: identity,
        leaseDurationSeconds: Math.round(leaseMs / 1000),
        acquireTime: (isMine ? spec.acquireTime : undefined) ?? time,
        renewTime: time,
        leaseTransitions: (spec.leaseTransitions ?? 0) + (isMine ? 0 : 1),
      });
      return true;
    } catch (error) {
      // Somebody else was quicker: what they wrote is read the next time.
      if (errorCodeOf(error) !== 'ClusterConflict') this.#options.failed(error);
      return false;
    }
  }

  /** Whether nobody holds it, or its holder was not seen to renew it for as long as it had promised to. */
  #isOver({ metadata, spec }: Lease): boolean {
    const { monotonic } = this.#options;
    const version = metadata.resourceVersion ?? '';
    if (this.#seen?.version !== version) this.#seen = { version, at: monotonic() };
    if (!spec?.holderIdentity) return true;
    return monotonic() - this.#seen.at >= (spec.leaseDurationSeconds ?? 15) * 1000;
  }

  /** Refused with a conflict when somebody else wrote since `lease` was read. */
  #write(lease: Lease, spec: LeaseSpec): Promise<Lease> {
    const { namespace, name, renewMs } = this.#options;
    return this.#client.call<Lease>({
      method: 'PUT',
      path: pathOf(leases, { namespace, name }),
      body: { ...lease, apiVersion: leases.apiVersion, kind: leases.kind, spec },
      timeoutMs: renewMs / 2,
    });
  }

  #pause(ms: number): Promise<void> {
    return pause(ms, undefined, { signal: this.#ended.signal }).catch(() => {}); // released meanwhile
  }
}

/** RFC 3339 with the six digits of a MicroTime: the API server takes no others. */
export const microTime = (time: Date): string => time.toISOString().replace('Z', '000Z');
