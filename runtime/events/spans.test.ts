import { randomBytes } from 'node:crypto';
import { SpanStatusCode, trace } from '@opentelemetry/api';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { afterEach, expect, test } from 'vitest';
import { LevadaError } from '../../api/errors.ts';
import { inSpan } from './spans.ts';
import { parseTraceparent } from './trace.ts';

const parent = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'a=1' };

afterEach(() => trace.disable());

function recorded(): InMemorySpanExporter {
  const exporter = new InMemorySpanExporter();
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
  return exporter;
}

test('without an SDK the trace goes on, with ids of our own', async () => {
  const given = await inSpan('score process', parent, {}, randomBytes, async (trace) => trace);
  expect(parseTraceparent(given.traceparent)).toMatchObject({
    traceId: '0af7651916cd43dd8448eb211c80319c',
    sampled: true,
  });
  expect(given.traceparent).not.toContain('b7ad6b7169203331');
  expect(given.tracestate).toBe('a=1');
});

test('with one, the handler gets the id of the span that is recorded', async () => {
  const exporter = recorded();
  const given = await inSpan('score process', parent, { 'messaging.message.id': '7' }, randomBytes, async (t) => t);
  const [span] = exporter.getFinishedSpans();
  expect(span).toMatchObject({ name: 'score process', attributes: { 'messaging.message.id': '7' } });
  expect(span?.parentSpanContext?.spanId).toBe('b7ad6b7169203331');
  expect(given.traceparent).toBe(`00-0af7651916cd43dd8448eb211c80319c-${span?.spanContext().spanId}-01`);
});

test('what fails is said with its code, and a message without a trace begins one', async () => {
  const exporter = recorded();
  const failing = inSpan('score process', {}, {}, randomBytes, async () => {
    throw new LevadaError('BrokerFull', { detail: 'full' });
  });
  await expect(failing).rejects.toThrow('full');
  const [span] = exporter.getFinishedSpans();
  expect(span?.status.code).toBe(SpanStatusCode.ERROR);
  expect(span?.attributes['error.type']).toBe('BrokerFull');
  expect(span?.parentSpanContext).toBeUndefined();
});
