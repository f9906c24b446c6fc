import { messageOf } from '../api/errors.ts';
import { ClusterStore } from './cluster-store.ts';
import type { WatchedPlaces } from './drivers/kubernetes/copies.ts';
import { KubernetesDriver, type KubernetesOptions } from './drivers/kubernetes/driver.ts';
import type { KubeClient } from './engine/client.ts';
import { Elector, type ElectorOptions } from './engine/elector.ts';
import { EventRecorder } from './engine/events.ts';
import type { OperatorMetrics } from './engine/metrics.ts';
import { KeyedQueue, type Work } from './engine/queue.ts';
import { reconcile } from './reconcile.ts';
import { keptSigner } from './signing-key.ts';

export interface OperatorOptions
  extends Pick<WatchedPlaces, 'namespaces' | 'backoff' | 'silenceMs'>,
    Pick<KubernetesOptions, 'image' | 'pauses' | 'broker' | 'lookMs'> {
  /** Which Lease says who leads. */
  readonly lease: Pick<ElectorOptions, 'namespace' | 'name' | 'leaseMs' | 'renewMs' | 'retryMs'>;
  /** Different for each process. */
  readonly identity: string;
  readonly metrics: OperatorMetrics;
  /** Keys that are worked on at once. */
  readonly workers?: number;
  /** Milliseconds after which everything is looked at again, whatever was heard; a tenth more or less, at random. Default an hour. */
  readonly resyncMs?: number;
  /** Milliseconds that one look at a resource may take; one that takes longer hangs, and the process says so. */
  readonly reconcileMs?: number;
  /** First and longest wait of a key that fails, milliseconds. */
  readonly retry?: { readonly firstMs: number; readonly maxMs: number };
  readonly now?: () => Date;
  readonly log: (text: string, about?: object) => void;
}

const queueName = 'levada';

/**
 * Keeps a cluster as its resources say, one process at a time: others that are started beside it have their copies ready
 * and wait for the Lease.
 */
export class Operator {
  readonly #client: KubeClient;
  readonly #options: OperatorOptions;
  readonly #driver: KubernetesDriver;
  readonly #store: ClusterStore;
  readonly #elector: Elector;
  readonly #queue: KeyedQueue;
  #leads = false;
  #resync: NodeJS.Timeout | undefined;

  constructor(client: KubeClient, options: OperatorOptions) {
    const { image, namespaces, backoff, silenceMs, pauses, broker, lookMs, lease, identity, metrics, log } = options;
    const { workers = 16, retry = { firstMs: 500, maxMs: 60_000 }, now = () => new Date() } = options;
    this.#client = client;
    this.#options = options;
    const failed = (error: unknown) => log(`an event could not be written: ${messageOf(error)}`);
    const events = new EventRecorder(client, { instance: identity, now, failed });
    this.#driver = new KubernetesDriver(client, {
      image,
      ...(namespaces && { namespaces }),
      ...(backoff && { backoff }),
      ...(silenceMs !== undefined && { silenceMs }),
      ...(pauses && { pauses }),
      ...(broker && { broker }),
      ...(lookMs !== undefined && { lookMs }),
      tell: (resource, told) => events.tell(resource, told),
      signer: keptSigner(client, lease),
      log,
      failed: (error, nextMs) => log(`a watch has failed: ${messageOf(error)}`, { nextMs: Math.round(nextMs) }),
    });
    this.#store = new ClusterStore(client, [this.#driver.models, this.#driver.pipelines], events);
    this.#elector = new Elector(client, {
      ...lease,
      identity,
      failed: (error) => log(`the lease could not be had: ${messageOf(error)}`),
    });
    const work: Work = (key, failures) =>
      reconcile(key, this.#store, this.#driver, now, { place: 'Cluster', failures });
    this.#queue = new KeyedQueue(work, {
      ...retry,
      workers,
      timeoutMs: options.reconcileMs ?? 300_000,
      hangs: (key) => log('a look at it has not ended in time: /livez fails now', { key }),
      observer: metrics.queue(queueName, workers, () => this.#queue),
      failed: (key, error, nextMs) => log(messageOf(error), { key, nextMs }),
    });
    this.#driver.watch((key) => {
      if (this.#leads) this.#queue.add(key);
    });
  }

  /** Whether there is a copy of everything, and it is being kept up to date. */
  get isReady(): boolean {
    return this.#driver.isConnected;
  }

  /** False: looks at resources hang, and only another process can go on. */
  get isAlive(): boolean {
    return this.#queue.hanging.length === 0;
  }

  get leads(): boolean {
    return this.#leads;
  }

  /**
   * Runs until {@link close}, or until the Lease is lost: then somebody else leads, and this process must end.
   *
   * @returns why it has ended
   */
  async run(): Promise<'closed' | 'lost'> {
    const { metrics, log, identity, lease, resyncMs = 3_600_000 } = this.#options;
    const name = `${lease.namespace}/${lease.name}`;
    metrics.leads(name, false);
    await this.#driver.start();
    // With copies that are behind it would decide by what was; another one may have newer ones.
    if (!(await this.#elector.acquire(() => this.isReady))) return 'closed';
    log('leads', { identity, lease: name });
    this.#leads = true;
    metrics.leads(name, true);
    this.#addAll();
    const again = () => {
      this.#resync = setTimeout(
        () => {
          this.#addAll();
          again();
        },
        resyncMs * (0.9 + 0.2 * Math.random()),
      );
    };
    again();
    const end = await this.#elector.hold();
    this.#leads = false;
    metrics.leads(name, false);
    clearTimeout(this.#resync);
    if (end === 'released') return 'closed';
    log('does not lead any more: its lease could not be renewed', { identity, lease: name });
    // What is under way must not write beside whoever leads now. It may hang, so nobody waits for it.
    void this.#queue.close();
    void this.#driver.pause();
    await this.#client.close();
    return 'lost';
  }

  /** Finishes what is under way, and gives the Lease back. */
  async close(): Promise<void> {
    this.#leads = false;
    clearTimeout(this.#resync);
    await Promise.all([this.#driver.pause(), this.#queue.close()]);
    await this.#elector.release();
    await this.#driver.close();
  }

  #addAll(): void {
    for (const key of this.#store.keys()) this.#queue.add(key, 'resync');
  }
}
