/** Time, and what is to happen later. Milliseconds. */
export interface Clock {
  now(): number;
  /** @returns a function that calls it off */
  after(ms: number, run: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};
