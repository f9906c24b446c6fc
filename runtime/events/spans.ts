import { ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api';
import { errorCodeOf, messageOf } from '../../api/errors.ts';
import { childSpan, parseTraceparent, type RandomBytes, type Trace } from './trace.ts';

/**
 * A span of OpenTelemetry around `work`, in the trace of `parent`. Without an SDK, which whoever runs the process loads
 * (`NODE_OPTIONS=--import=…`), nothing is recorded, and `work` gets ids of our own: the trace goes on all the same.
 *
 * @param attributes by the names of OpenTelemetry's semantic conventions for messaging
 */
export async function inSpan<T>(
  name: string,
  parent: { readonly traceparent?: string | undefined; readonly tracestate?: string | undefined },
  attributes: Readonly<Record<string, string | number>>,
  random: RandomBytes,
  work: (trace: Trace) => Promise<T>,
): Promise<T> {
  const span = startSpan(name, parent.traceparent, attributes);
  if (!span.isRecording()) return await work(childSpan(parent, random));
  const { traceId, spanId, traceFlags } = span.spanContext();
  const flags = (traceFlags & TraceFlags.SAMPLED) === 0 ? '00' : '01';
  const { tracestate } = childSpan(parent, random);
  try {
    return await work({
      traceparent: `00-${traceId}-${spanId}-${flags}`,
      ...(tracestate !== undefined && { tracestate }),
    });
  } catch (error) {
    span.setAttribute('error.type', errorCodeOf(error) ?? 'InternalError');
    span.setStatus({ code: SpanStatusCode.ERROR, message: messageOf(error) });
    throw error;
  } finally {
    span.end();
  }
}

function startSpan(name: string, traceparent: string | undefined, attributes: Record<string, string | number>): Span {
  const from = parseTraceparent(traceparent);
  const context = from
    ? trace.setSpanContext(ROOT_CONTEXT, {
        traceId: from.traceId,
        spanId: from.parentId,
        traceFlags: from.sampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
        isRemote: true,
      })
    : ROOT_CONTEXT;
  return trace.getTracer('levada').startSpan(name, { kind: SpanKind.CONSUMER, attributes }, context);
}
