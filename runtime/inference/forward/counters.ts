import { randomUUID } from 'node:crypto';
import { Counter, type Metric, type Registry } from 'prom-client';
import {
  latencyBoundsMs,
  latencyBucketsPerOctave,
  type RoutingCount,
  type RoutingReport,
  type RoutingStatus,
} from '../../../api/contract/routing-table.ts';
import { countedMs } from '../../age.ts';
import type { DecidedBy } from '../routing/decide.ts';
import { hash32 } from '../routing/hash.ts';
import { LatencyHistogram } from '../routing/latency.ts';
import type { Blame, FailureReason } from '../routing/rules.ts';

/** `shadow`: a copy, after the answer. */
type CountedBy = DecidedBy | 'shadow';

const processId = randomUUID();

/** What became of the requests that one version was to answer, decided in one way. */
class Tally {
  requests = 0;
  readonly failures = new Map<string, number>();
  readonly latency = new LatencyHistogram();
  /** Those of {@link latency} that were a key's first. */
  readonly firstLatency = new LatencyHistogram();
  /** What it was late with, by the time that it was given; of a key its first request. */
  readonly late = new LatencyHistogram();
  readonly compared = new Map<string, { n: number; failures: number }>();
  readonly keys = { n: 0, failures: 0 };
  /** By hash of a key that was counted: whether it has failed. */
  readonly seen = new Map<number, boolean>();
}

const failuresOf = ({ failures }: Tally): RoutingCount['failures'] =>
  [...failures].map(([why, count]) => {
    const [blame = '', reason = ''] = why.split(' ');
    return { blame, reason, count };
  });

/** Buckets of ours in one that is scraped: each is a series of its own, and people need four to the octave. */
const perScrapedBucket = latencyBucketsPerOctave / 4;
/** Keys that are remembered: more say nothing more. */
const maxKeys = 200_000;
/** Seed of the hash that keys are remembered by; another one than what shares them out. */
const keySeed = 0x6b657973;

/**
 * Counts of a stable pod, by the version that was to answer and by what has decided so. Gates read them from /metrics. A request is
 * counted when it is over; its time is that in the pod that has served it, from its tensors to its outputs.
 */
export class RoutingCounters {
  readonly #tallies = new Map<string, Map<CountedBy, Tally>>();
  readonly #dropped = new Map<string, number>();
  #last: { readonly version: string; readonly by: CountedBy; readonly tally: Tally } | undefined;

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
      (tally) => failuresOf(tally).map(({ count, ...why }) => [why, count]),
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

  /**
   * @param key of the caller, where it is one trial with all its requests, and this pod is to count it
   * @returns whether this was the key's first request
   */
  served(version: string, by: CountedBy, ms: number, key?: string): boolean {
    const tally = this.#of(version, by);
    const isFirst = key !== undefined && this.#try(tally, key, false);
    tally.requests++;
    tally.latency.observe(ms);
    if (isFirst) tally.firstLatency.observe(ms);
    return isFirst;
  }

  /**
   * @param key as above
   * @param givenMs milliseconds that the version had, where it was to be asked
   */
  failed(version: string, by: CountedBy, blame: Blame, reason: FailureReason, key?: string, givenMs?: number): void {
    const tally = this.#of(version, by);
    // What nobody, or somebody else, is to blame for is no trial of the version.
    const isFirst = key !== undefined && blame === 'candidate' && this.#try(tally, key, true);
    const isTimed = blame === 'candidate' && reason === 'late' && (by !== 'sticky' || isFirst);
    if (isTimed && givenMs !== undefined) tally.late.observe(givenMs);
    const why = `${blame} ${reason}`;
    tally.requests++;
    tally.failures.set(why, (tally.failures.get(why) ?? 0) + 1);
  }

  /** The stable version has scored a request as well. @param differ whether that output of the two differs */
  compared(version: string, by: CountedBy, output: string, differ: boolean): void {
    const { compared } = this.#of(version, by);
    const counts = compared.get(output) ?? { n: 0, failures: 0 };
    compared.set(output, { n: counts.n + 1, failures: counts.failures + (differ ? 1 : 0) });
  }

  /** Another rollout has begun, or its gates begin at 0: a key that was seen before is a trial again. */
  forgetKeys(): void {
    for (const inner of this.#tallies.values()) for (const { seen } of inner.values()) seen.clear();
  }

  /** A key counts once, with all its requests: it has failed when one of them has. @returns whether this was its first */
  #try({ keys, seen }: Tally, key: string, failed: boolean): boolean {
    const hash = hash32(key, keySeed);
    const hasFailed = seen.get(hash);
    if (hasFailed === undefined && seen.size >= maxKeys) return false;
    if (hasFailed === undefined) keys.n++;
    if (failed && !hasFailed) keys.failures++;
    seen.set(hash, failed || hasFailed === true);
    return hasFailed === undefined;
  }

  /** All that was counted, for the operator. */
  report(status: RoutingStatus): RoutingReport {
    const counts = [...this.#tallies].flatMap(([version, inner]) =>
      [...inner].map(
        ([by, tally]): RoutingCount => ({
          version,
          by,
          requests: tally.requests,
          failures: failuresOf(tally),
          ...(tally.keys.n > 0 && { keys: { ...tally.keys } }),
          // One key's requests are slow together: as many of them are not as many trials.
          latency: (by === 'sticky' ? tally.firstLatency : tally.latency).counts,
          ...(tally.late.count > 0 && { late: tally.late.counts }),
          ...(tally.compared.size > 0 && { compared: Object.fromEntries(tally.compared) }),
        }),
      ),
    );
    return { ...status, process: processId, countedMs: countedMs(), counts };
  }

  dropped(version: string): void {
    this.#dropped.set(version, (this.#dropped.get(version) ?? 0) + 1);
  }

  #of(version: string, by: CountedBy): Tally {
    // Most often it is that of the request before.
    if (version === this.#last?.version && by === this.#last.by) return this.#last.tally;
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
    this.#last = { version, by, tally };
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
          if (i % perScrapedBucket > 0) return;
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
