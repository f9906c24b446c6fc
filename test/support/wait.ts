import { setTimeout as pause } from 'node:timers/promises';

/** Between two looks, milliseconds: a look costs the machine that is waited for something. */
const [firstPauseMs, longestPauseMs] = [10, 150];

/** The value that `check` gives once it gives one; an error that says what was waited for, and what was seen, if it never does. */
export async function until<T>(
  what: string,
  check: () => Promise<T | undefined | false> | T | undefined | false,
  { timeoutMs = 60_000, seen = () => '' }: { timeoutMs?: number; seen?: () => string } = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let error: unknown;
  let pauseMs = firstPauseMs;
  for (;;) {
    try {
      const value = await check();
      error = undefined;
      if (value !== undefined && value !== false) return value;
    } catch (thrown) {
      error = thrown; // not yet
    }
    if (performance.now() > deadline) {
      throw new Error(`not within ${timeoutMs} ms: ${what}\n${seen()}`, { cause: error });
    }
    await pause(pauseMs);
    pauseMs = Math.min(longestPauseMs, pauseMs * 1.25);
  }
}
