import { setTimeout as pause } from 'node:timers/promises';

/** The value that `check` gives once it gives one; an error that says what was waited for, and what was seen, if it never does. */
export async function until<T>(
  what: string,
  check: () => Promise<T | undefined | false> | T | undefined | false,
  { timeoutMs = 60_000, seen = () => '' }: { timeoutMs?: number; seen?: () => string } = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let error: unknown;
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
    await pause(20);
  }
}
