/** W3C Trace Context, level 1. */

export interface Trace {
  readonly traceparent: string;
  readonly tracestate?: string;
}

export interface TraceParent {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** 16 hexadecimal digits: the span that called. */
  readonly parentId: string;
  readonly sampled: boolean;
}

/** Random bytes: `randomBytes` of node:crypto. */
export type RandomBytes = (count: number) => Uint8Array;

/** `undefined`: not a traceparent. Versions to come are read as far as version 00 goes. */
export function parseTraceparent(text: string | undefined): TraceParent | undefined {
  const match = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(text?.trim() ?? '');
  if (!match) return undefined;
  const [, version, traceId = '', parentId = '', flags = '', more] = match;
  if (version === 'ff' || (version === '00' && more !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(parentId)) return undefined;
  return { traceId, parentId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/**
 * A span of its own in the trace of `parent`; a new trace where that has none, or one that is not valid. A new trace is
 * sampled: nothing here drops spans, and what comes after may still do so.
 */
export function childSpan(
  parent: { readonly traceparent?: string | undefined; readonly tracestate?: string | undefined },
  random: RandomBytes,
): Trace {
  const { traceId, sampled } = parseTraceparent(parent.traceparent) ?? { traceId: undefined, sampled: true };
  const traceparent = `00-${traceId ?? hexId(16, random)}-${hexId(8, random)}-${sampled ? '01' : '00'}`;
  const tracestate = traceId === undefined ? undefined : validTracestate(parent.tracestate);
  return tracestate === undefined ? { traceparent } : { traceparent, tracestate };
}

const member =
  /^(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;

/** A tracestate that breaks the grammar is dropped as a whole; the trace goes on without it. */
function validTracestate(text: string | undefined): string | undefined {
  if (text === undefined || text.length > 8192) return undefined;
  const members = text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
  const keys = new Set(members.map((entry) => entry.slice(0, entry.indexOf('='))));
  const isValid =
    members.length > 0 && members.length <= 32 && keys.size === members.length && members.every((m) => member.test(m));
  return isValid ? members.join(',') : undefined;
}

/** An id of zeros means that there is none. */
function hexId(bytes: number, random: RandomBytes): string {
  const id = Buffer.from(random(bytes)).toString('hex');
  return /^0+$/.test(id) ? `${id.slice(0, -1)}1` : id;
}
