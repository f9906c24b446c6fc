import { Counter, type Metric, type Registry } from 'prom-client';
import type { DecidedBy } from '../routing/decide.ts';
import { LatencyHistogram, latencyBoundsMs } from '../routing/latency.ts';
import type { Blame, FailureReason } from '../routing/rules.ts';

/** `shadow`: a copy, after the answer. */
type CountedBy = DecidedBy | 'shadow';

/** What became of the requests that one version was to answer, decided in one way. */
class Tally {
  requests = 0;
  readonly failures = new Map<string, number>();
  readonly latency = new LatencyHistogram();
}

/**
 * Counts of a stable pod, by the version that was to answer and by what has decided so. Gates read them from /metrics. A request is
 * counted when it is over; its time is that in the pod that has served it, from its tensors to its outputs.
 */
export class RoutingCounters {
  readonly #tallies = new Map<string, Map<CountedBy, Tally>>();
  readonly #dropped = new Map<string, number>();

  constructor(registry: Registry) {
    const labels = (more: readonly string[] = []) => ['target', 'by', ...more];
    this.#counter(
      registry,
      'levada_routing_requests_total',
      'Requests, by the version that was to answer.',
      labels(),
      (tally) => [[{}, tally.requests]],
    );
    this.#counter(
      registry,
      'levada_routing_failures_total',
      'Requests that the version was to answer and did not, by whose fault it was.',
      labels(['blame', 'reason']),
      (tally) =>
        [...tally.failures].map(([key, count]) => {
          const [blame = '', reason = ''] = key.split(' ');
          return [{ blame, reason }, count];
        }),
    );
    const dropped = this.#dropped;
    new Counter({
      name: 'levada_routing_shadow_dropped_total',
      help: 'Copies that the shadow did not get, because too many were waiting.',
      labelNames: ['target'],
      registers: [registry],
      collect() {
        this.reset();
        for (const [target, count] of dropped) this.inc({ target }, count);
      },
    });
    registry.registerMetric(this.#histogram() as unknown as Metric);
  }

  served(version: string, by: CountedBy, ms: number): void {
    const tally = this.#of(version, by);
    tally.requests++;
    tally.latency.observe(ms);
  }

  failed(version: string, by: CountedBy, blame: Blame, reason: FailureReason): void {
    const tally = this.#of(version, by);
    const key = `${blame} ${reason}`;
    tally.requests++;
    tally.failures.set(key, (tally.failures.get(key) ?? 0) + 1);
  }

  dropped(version: string): void {
    this.#dropped.set(version, (this.#dropped.get(version) ?? 0) + 1);
  }

  #of(version: string, by: CountedBy): Tally {
    let inner = this.#tallies.get(version);
    if (!inner) {
      inner = new Map();
      this.#tallies.set(version, inner);
    }
    let tally = inner.get(by);
    if (!tally) {
      tally = new Tally();
      inner.set(by, tally);
    }
    return tally;
  }

  *#all(): Generator<[labels: { target: string; by: string }, Tally]> {
    for (const [target, inner] of this.#tallies) for (const [by, tally] of inner) yield [{ target, by }, tally];
  }

  #counter(
    registry: Registry,
    name: string,
    help: string,
    labelNames: string[],
    values: (tally: Tally) => [labels: Record<string, string>, count: number][],
  ): void {
    const all = () => this.#all();
    new Counter({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        for (const [labels, tally] of all())
          for (const [more, count] of values(tally)) this.inc({ ...labels, ...more }, count);
      },
    });
  }

  /** prom-client's own histogram costs more than all else that a request takes here: this one is made when it is scraped. */
  #histogram() {
    const name = 'levada_routing_served_seconds';
    const head = {
      name,
      help: 'Time in the pod that has served the request; those that were served.',
      type: 'histogram',
    };
    const values = () => {
      const list: { metricName: string; labels: Record<string, string | number>; value: number }[] = [];
      for (const [labels, { latency }] of this.#all()) {
        let sum = 0;
        latencyBoundsMs.forEach((bound, i) => {
          sum += latency.counts[i] as number;
          list.push({ metricName: `${name}_bucket`, labels: { ...labels, le: bound / 1000 }, value: sum });
        });
        list.push({ metricName: `${name}_bucket`, labels: { ...labels, le: '+Inf' }, value: latency.count });
        list.push({ metricName: `${name}_sum`, labels, value: latency.sumMs / 1000 });
        list.push({ metricName: `${name}_count`, labels, value: latency.count });
      }
      return list;
    };
    return {
      ...head,
      aggregator: 'sum',
      get: async () => ({ ...head, aggregator: 'sum', values: values() }),
      reset() {},
    };
  }
}
