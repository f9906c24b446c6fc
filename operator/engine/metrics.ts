import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { errorCodeOf } from '../../api/errors.ts';
import type { KeyedQueue, QueueObserver } from './queue.ts';

/** Seconds, as controller-runtime has them. */
const buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/**
 * What the operator counts, under the names of controller-runtime and client-go, so that their dashboards and alerts work
 * (controller-runtime pkg/internal/controller/metrics, pkg/metrics/workqueue.go, pkg/metrics/leaderelection.go).
 */
export class OperatorMetrics {
  readonly registry = new Registry();
  readonly #reconciles: Counter<'controller' | 'result'>;
  readonly #errors: Counter<'controller'>;
  readonly #seconds: Histogram<'controller'>;
  readonly #leads: Gauge<'name'>;
  readonly #requests: Counter<'code' | 'method'>;

  constructor() {
    const registers = [this.registry];
    const labelNames = ['controller'] as const;
    this.#reconciles = new Counter({
      name: 'controller_runtime_reconcile_total',
      help: 'Reconciliations, by how they ended: success, error, or requeue after a conflict; the last two are tried again.',
      labelNames: ['controller', 'result'],
      registers,
    });
    this.#errors = new Counter({
      name: 'controller_runtime_reconcile_errors_total',
      help: 'Reconciliations that failed.',
      labelNames,
      registers,
    });
    this.#seconds = new Histogram({
      name: 'controller_runtime_reconcile_time_seconds',
      help: 'How long a reconciliation took.',
      labelNames,
      buckets,
      registers,
    });
    this.#leads = new Gauge({
      name: 'leader_election_master_status',
      help: 'Whether this process leads: 1, or 0.',
      labelNames: ['name'],
      registers,
    });
    this.#requests = new Counter({
      name: 'rest_client_requests_total',
      help: 'Requests to the API server, by status code and method; <error>: no answer.',
      labelNames: ['code', 'method'],
      registers,
    });
  }

  leads(name: string, leads: boolean): void {
    this.#leads.set({ name }, leads ? 1 : 0);
  }

  requested(method: string, code: string): void {
    this.#requests.inc({ method, code });
  }

  reconciled(controller: string, ms: number, error: unknown): void {
    // Somebody else wrote meanwhile: it is looked at anew, and nothing is wrong.
    const isConflict = errorCodeOf(error) === 'ClusterConflict';
    const result = error === undefined ? 'success' : isConflict ? 'requeue' : 'error';
    this.#reconciles.inc({ controller, result });
    if (result === 'error') this.#errors.inc({ controller });
    this.#seconds.observe({ controller }, ms / 1000);
  }

  /** @param queue is asked for its depth whenever somebody asks for metrics */
  queue(name: string, workers: number, queue: () => KeyedQueue): QueueObserver {
    const registers = [this.registry];
    const labels = { name };
    const labelNames = ['name'] as const;
    const counter = (metric: string, help: string) => new Counter({ name: metric, help, labelNames, registers });
    const histogram = (metric: string, help: string) =>
      new Histogram({ name: metric, help, labelNames, buckets, registers });
    const gauge = (metric: string, help: string, value: () => number, by: 'name' | 'controller' = 'name') =>
      new Gauge({
        name: metric,
        help,
        labelNames: [by],
        registers,
        collect() {
          this.set({ [by]: name }, value());
        },
      });
    const ages = () => queue().active.map((since) => (performance.now() - since) / 1000);
    gauge('workqueue_depth', 'Keys that wait for a worker.', () => queue().depth);
    gauge('workqueue_unfinished_work_seconds', 'Seconds of work that is under way.', () =>
      ages().reduce((sum, age) => sum + age, 0),
    );
    gauge('workqueue_longest_running_processor_seconds', 'Seconds that the slowest worker has been at it.', () =>
      Math.max(0, ...ages()),
    );
    gauge('controller_runtime_active_workers', 'Workers that are at it.', () => queue().active.length, 'controller');
    gauge('controller_runtime_max_concurrent_reconciles', 'Workers at most.', () => workers, 'controller');
    const adds = counter('workqueue_adds_total', 'Keys that were added.');
    const retries = counter('workqueue_retries_total', 'Keys that are tried again.');
    const waited = histogram('workqueue_queue_duration_seconds', 'How long keys waited for a worker.');
    const worked = histogram('workqueue_work_duration_seconds', 'How long a worker was at a key.');
    return {
      added: () => adds.inc(labels),
      started: (waitedMs) => waited.observe(labels, waitedMs / 1000),
      ended: (ms, error) => {
        worked.observe(labels, ms / 1000);
        this.reconciled(name, ms, error);
      },
      retried: () => retries.inc(labels),
    };
  }
}
