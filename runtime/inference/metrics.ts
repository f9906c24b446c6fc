import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { ModelServerStatus } from '../../api/contract/model-server.ts';
import type { BatchObserver } from './batcher.ts';

/** `internal`: what other pods have forwarded. */
export type Protocol = 'oip' | 'simple' | 'internal';

const latencyBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const batchBuckets = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/** Metrics of one version's process; each carries the labels `model` and `version`. */
export interface Metrics extends BatchObserver {
  readonly registry: Registry;
  /** @param error the registered code, where the answer is an error */
  request(protocol: Protocol, status: number, seconds: number, error?: string): void;
  state(state: ModelServerStatus['state']): void;
}

/** @param queuedRows asked at each scrape */
export function createMetrics(model: string, version: string, queuedRows: () => number): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ model, version });
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const histogram = (name: string, help: string, buckets: number[]) =>
    new Histogram({ name, help, buckets, registers });
  const requests = tally(
    'levada_inference_requests_total',
    'Requests, by protocol and HTTP status.',
    ['protocol', 'code'],
    registry,
  );
  const errors = tally(
    'levada_inference_errors_total',
    'Requests answered with an error, by its code.',
    ['protocol', 'error'],
    registry,
  );
  const duration = histogram(
    'levada_inference_request_duration_seconds',
    'From the headers of a request to its answer; those answered with 2xx.',
    latencyBuckets,
  );
  const batch = histogram('levada_inference_batch_size', 'Rows in one run of the model.', batchBuckets);
  const run = histogram('levada_inference_run_duration_seconds', 'One run of the model.', [
    0.00005,
    0.0001,
    0.00025,
    ...latencyBuckets,
  ]);
  const states = new Gauge({
    name: 'levada_model_state',
    help: '1 for the state that the model is in.',
    labelNames: ['state'],
    registers,
  });
  new Gauge({
    name: 'levada_inference_queued_rows',
    help: 'Rows that wait for a run.',
    registers,
    collect() {
      this.set(queuedRows());
    },
  });
  return {
    registry,
    request(protocol, status, seconds, error) {
      requests(protocol, String(status));
      if (error === undefined) duration.observe(seconds);
      else errors(protocol, error);
    },
    run(rows, ms) {
      batch.observe(rows);
      run.observe(ms / 1000);
    },
    state(current) {
      for (const state of ['Loading', 'Loaded', 'Failed']) states.set({ state }, state === current ? 1 : 0);
    },
  };
}

/** A counter with two labels that is cheap to increment: values go to prom-client when it is scraped. */
function tally(name: string, help: string, labelNames: [string, string], registry: Registry) {
  const counts = new Map<string, Map<string, number>>();
  new Counter({
    name,
    help,
    labelNames,
    registers: [registry],
    collect() {
      this.reset();
      for (const [a, inner] of counts)
        for (const [b, count] of inner) this.inc({ [labelNames[0]]: a, [labelNames[1]]: b }, count);
    },
  });
  return (a: string, b: string): void => {
    let inner = counts.get(a);
    if (!inner) {
      inner = new Map();
      counts.set(a, inner);
    }
    inner.set(b, (inner.get(b) ?? 0) + 1);
  };
}
