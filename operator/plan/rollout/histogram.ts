/** Durations in buckets: how many were at most `le` milliseconds and more than the `le` before. In rising order of `le`. */
export type Histogram = ReadonlyArray<{ readonly le: number; readonly count: number }>;

export const countOf = (histogram: Histogram): number => histogram.reduce((sum, { count }) => sum + count, 0);

/** The upper edge of the bucket that holds the quantile: at least the true one. `undefined` where nothing was counted. */
export function quantileOf(histogram: Histogram, quantile: number): number | undefined {
  const total = countOf(histogram);
  const rank = Math.max(1, Math.ceil(quantile * total));
  let seen = 0;
  for (const { le, count } of histogram) {
    seen += count;
    if (count > 0 && seen >= rank) return le;
  }
  return undefined;
}

/** How many were surely slower than `ms`: those of the buckets that begin at it or above. */
export function countAbove(histogram: Histogram, ms: number): number {
  let from = 0;
  let above = 0;
  for (const { le, count } of histogram) {
    if (from >= ms) above += count;
    from = le;
  }
  return above;
}
