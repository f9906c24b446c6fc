/**
 * Remembers which messages a step is done with. A key is leased while it is worked on, so that a second delivery of it
 * waits, and a worker that dies blocks it no longer than its lease. Keys hold what they are unique in: pipeline and step.
 *
 * Times are milliseconds; `now` is one clock for all who share the store.
 */
export interface DedupStore {
  /** Leases the key, unless it is done or somebody else's. */
  begin(key: string, leaseMs: number, now: number): Promise<Begun>;

  /**
   * The work is done: the key is remembered for `retentionMs`. Also after the lease has expired, unless somebody else
   * has the key by now.
   *
   * @returns whether it is remembered; `false`: the key is another worker's, and stays as it is
   */
  done(lease: Lease, retentionMs: number, now: number): Promise<boolean>;

  /**
   * The work is not done: the next delivery may begin at once.
   *
   * @returns whether the lease was still this worker's; `false`: nothing has changed
   */
  free(lease: Lease, now: number): Promise<boolean>;
}

export type Begun =
  | { readonly state: 'fresh'; readonly lease: Lease }
  | { readonly state: 'done' }
  /** Until when at most, on the clock of `now`. */
  | { readonly state: 'leased'; readonly until: number };

/** The right to say how the work on a key ended. */
export interface Lease {
  readonly key: string;
  /** Differs for each lease of the key. */
  readonly token: number;
}
