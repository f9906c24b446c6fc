import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { QueueState } from '../../api/contract/pipeline.ts';
import type { End } from './ends.ts';

const latencyBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** What a scrape asks for, as far as it is known: a process of consumers does not count what waits in queues. */
type States = () => ReadonlyArray<{ pipeline: string; queues: Readonly<Record<string, Partial<QueueState>>> }>;

/** Metrics of the pipelines of one process, by pipeline and step. */
export class PipelineMetrics {
  readonly registry = new Registry();
  readonly #ends: Counter<'pipeline' | 'step' | 'end'>;
  readonly #failures: Counter<'pipeline' | 'step' | 'end' | 'reason'>;
  readonly #emitted: Counter<'pipeline' | 'step' | 'type'>;
  readonly #duration: Histogram<'pipeline' | 'step'>;
  readonly #requests: Counter<'pipeline' | 'source' | 'code' | 'error'>;
  readonly #requestDuration: Histogram<'pipeline' | 'source'>;

  constructor(states: States) {
    const registers = [this.registry];
    const counter = <T extends string>(name: string, help: string, labelNames: T[]) =>
      new Counter({ name, help, labelNames, registers });
    this.#ends = counter('levada_step_messages_total', 'Deliveries that ended, by how.', ['pipeline', 'step', 'end']);
    this.#failures = counter('levada_step_failures_total', 'Attempts that failed, by what became of the message.', [
      'pipeline',
      'step',
      'end',
      'reason',
    ]);
    this.#emitted = counter('levada_step_events_total', 'Events that came out.', ['pipeline', 'step', 'type']);
    this.#duration = new Histogram({
      name: 'levada_step_duration_seconds',
      help: 'From when a step took a message to when its end was safe; those that were done.',
      labelNames: ['pipeline', 'step'],
      buckets: latencyBuckets,
      registers,
    });
    this.#requests = counter('levada_source_requests_total', 'Requests to http sources.', [
      'pipeline',
      'source',
      'code',
      'error',
    ]);
    this.#requestDuration = new Histogram({
      name: 'levada_source_request_duration_seconds',
      help: 'From a request to its answer.',
      labelNames: ['pipeline', 'source'],
      buckets: latencyBuckets,
      registers,
    });
    this.#gauges(states);
  }

  ended({ pipeline, step, end, reason, emits, ms }: End): void {
    this.#ends.inc({ pipeline, step, end });
    if (reason !== undefined) this.#failures.inc({ pipeline, step, end, reason });
    for (const { type } of emits) this.#emitted.inc({ pipeline, step, type });
    if (end === 'done') this.#duration.observe({ pipeline, step }, ms / 1_000);
  }

  /** @param error the registered code, where the answer is an error */
  request(pipeline: string, source: string, status: number, ms: number, error = ''): void {
    this.#requests.inc({ pipeline, source, code: String(status), error });
    this.#requestDuration.observe({ pipeline, source }, ms / 1_000);
  }

  #gauges(states: States): void {
    const gauge = (name: string, help: string, value: (state: Partial<QueueState>) => number | undefined) =>
      new Gauge({
        name,
        help,
        labelNames: ['pipeline', 'step'],
        registers: [this.registry],
        collect() {
          this.reset();
          for (const { pipeline, queues } of states()) {
            for (const [step, state] of Object.entries(queues)) {
              const found = value(state);
              if (found !== undefined) this.set({ pipeline, step }, found);
            }
          }
        },
      });
    gauge('levada_step_backlog_messages', 'Messages that wait, those for a later attempt included.', (s) => s.waiting);
    gauge('levada_step_in_flight_messages', 'Messages in hand.', (s) => s.inFlight);
    gauge('levada_step_dead_letters', 'Dead letters.', (s) => s.dead);
    gauge('levada_step_breaker_open', '1 while the step takes no messages.', (s) => (s.breaker === 'Closed' ? 0 : 1));
  }
}
