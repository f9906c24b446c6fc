import { parseDuration } from '../../../api/duration.ts';

// biome-ignore-start lint/style/noRestrictedGlobals: texts of times are read and written; no clock is asked
/** Milliseconds of an RFC 3339 text. */
export const msOf = (time: string): number => Date.parse(time);

export const timeOf = (ms: number): string => new Date(ms).toISOString();
// biome-ignore-end lint/style/noRestrictedGlobals: see above

/** A duration that the schema has let through. */
export const durationMs = (text: string): number => parseDuration(text) ?? 0;
