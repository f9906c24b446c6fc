/** Durations as users write them: `250ms`, `1m30s`, `7d`. */
export const durationPattern = /^([0-9]+(ms|s|m|h|d))+$/;

const unitMs: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds of a duration that matches {@link durationPattern}; `undefined` where it does not. */
export function parseDuration(text: string): number | undefined {
  if (!durationPattern.test(text)) return undefined;
  let total = 0;
  for (const [, count, unit] of text.matchAll(/([0-9]+)(ms|s|m|h|d)/g))
    total += Number(count) * (unitMs[unit ?? ''] ?? 0);
  return total;
}
