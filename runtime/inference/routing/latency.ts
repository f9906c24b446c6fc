import { latencyBoundsMs, latencyBucketsPerOctave as perOctave } from '../../../api/contract/routing-table.ts';

const least = 0.25;
const count = latencyBoundsMs.length;

/** How often something took how long. */
export class LatencyHistogram {
  /** By bucket; one more than there are bounds. */
  readonly counts: number[] = Array(count + 1).fill(0) as number[];
  sumMs = 0;
  count = 0;

  observe(ms: number): void {
    const index = ms <= least ? 0 : Math.min(count, Math.ceil(Math.log2(ms / least) * perOctave - 1e-9));
    this.counts[index] = (this.counts[index] as number) + 1;
    this.sumMs += ms;
    this.count++;
  }
}

/** Milliseconds that a share `quantile` of all do not exceed: the upper bound of its bucket. 0 when there are none. */
function quantileOf(histograms: readonly LatencyHistogram[], quantile: number): number {
  let wanted = 0;
  for (const histogram of histograms) wanted += histogram.count * quantile;
  if (wanted === 0) return 0;
  let seen = 0;
  for (let i = 0; i < count; i++) {
    for (const histogram of histograms) seen += histogram.counts[i] as number;
    if (seen >= wanted) return latencyBoundsMs[i] as number;
  }
  return latencyBoundsMs[count - 1] as number;
}

/** How long the past one to two periods stay in mind. */
const periodMs = 30_000;
const refreshMs = 1_000;

/** The p99 of late; times are passed in, milliseconds of any clock. */
export class RecentP99 {
  #current = new LatencyHistogram();
  #previous = new LatencyHistogram();
  #since = 0;
  #value = 0;
  #asOf = Number.NEGATIVE_INFINITY;

  observe(ms: number, now: number): void {
    if (now - this.#since > periodMs) {
      // After a pause of two periods both are old.
      this.#previous = now - this.#since > 2 * periodMs ? new LatencyHistogram() : this.#current;
      this.#current = new LatencyHistogram();
      this.#since = now;
    }
    this.#current.observe(ms);
  }

  /** 0: nothing was seen yet. Computed anew once a second, but known as soon as there is something. */
  at(now: number): number {
    if (this.#value === 0 || now - this.#asOf >= refreshMs) {
      this.#value = quantileOf([this.#current, this.#previous], 0.99);
      this.#asOf = now;
    }
    return this.#value;
  }
}
