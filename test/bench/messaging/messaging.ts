import { messageOf } from '../../../api/errors.ts';
import { missingRabbit } from '../../../hack/rabbitmq.ts';
import { type Bar, judge } from '../bars.ts';
import type { Benchmark } from '../benchmark.ts';
import { type Options, select, UsageError } from '../options.ts';
import { median, type Spread, spread } from '../statistics.ts';
import { figure, markdownTable } from '../table.ts';
import { type Broker, knownVersion, type QueueType, queueTypes, startBroker } from './broker.ts';
import { type Consumer, type ConsumerName, consumerNames, prepare, prepareConsumers } from './consumers.ts';
import { type DrainSample, drain, measureDrains, type Prefetch, prefetches } from './drain.ts';
import { halfLoad, type LatencySample, measureLatency } from './latency.ts';
import { versions } from './peers.ts';
import { measurePublishing, outstanding, type PublishSample } from './publish.ts';

const parts = ['drain', 'publish', 'latency'] as const;

interface MessagingResults {
  /** RabbitMQ's, and those of what is installed for the benchmark alone. */
  versions: Record<string, string>;
  drains: DrainSample[];
  publishing: PublishSample[];
  latencies: LatencySample[];
}

/** Ours over theirs, round by round. */
function ratio(
  samples: readonly DrainSample[],
  { type, prefetch }: { type: QueueType; prefetch: Prefetch },
  theirs: ConsumerName,
  per: 'perSecond' | 'perCpuSecond',
): Spread | undefined {
  const of = (name: ConsumerName) =>
    samples.filter((one) => one.consumer === name && one.type === type && one.prefetch === prefetch);
  const ratios = of('levada').flatMap((ours) => {
    const other = of(theirs).find(({ round }) => round === ours.round);
    return other ? [ours[per] / other[per]] : [];
  });
  return ratios.length > 0 ? spread(ratios) : undefined;
}

interface Promised {
  theirs: ConsumerName;
  goal: number;
  per?: 'perCpuSecond';
  /** Reported, and not decisive. */
  only?: 'goal';
}

/**
 * With one message under way, all wait for the broker, whoever they are: no bar but amqplib's. A classic queue, and a
 * quorum queue at prefetch 50, feed nobody three times as quickly as pika takes (bare amqplib 2.0 to 2.6 times, PerfTest
 * 1.9 to 2.6): there the consumers' CPU decides.
 */
function promised(type: QueueType, prefetch: Prefetch): Promised[] {
  const bare: Promised = { theirs: 'amqplib', goal: 0.85 };
  if (prefetch === 1) return [bare];
  return [
    bare,
    { theirs: 'perf-test', goal: 0.9 },
    { theirs: 'pika', goal: 3, ...((type === 'classic' || prefetch === 50) && { only: 'goal' }) },
    { theirs: 'pika', goal: 3, per: 'perCpuSecond' },
  ];
}

const bars: readonly Bar<MessagingResults>[] = queueTypes.flatMap((type) =>
  prefetches.flatMap((prefetch) =>
    promised(type, prefetch).map(
      ({ theirs, goal, per, only }): Bar<MessagingResults> => ({
        name: `${type}, prefetch ${prefetch}: ÷ ${theirs}${per ? ', messages a second of CPU' : ''}`,
        ...{ unit: '×', better: 'higher', goal },
        ...(only === undefined && { fatal: goal }),
        figure: ({ drains }) => ratio(drains, { type, prefetch }, theirs, per ?? 'perSecond'),
      }),
    ),
  ),
);

export const messaging: Benchmark = {
  summary: 'RabbitMQ: queues emptied beside other clients, confirmed publishing, latency at half load',
  async run(_, options) {
    const [chosen, names] = select(options.only, parts, consumerNames);
    const version = knownVersion(options.broker);
    const missing = await missingRabbit(version);
    if (missing !== undefined) throw new UsageError(missing);
    const prepared = await prepareConsumers(chosen.includes('drain') ? names : []);
    const problems: string[] = [];
    const broker = await startBroker(version);
    const results: MessagingResults = {
      versions: { rabbitmq: broker.version, ...versions },
      ...{ drains: [], publishing: [], latencies: [] },
    };
    try {
      for (const part of chosen) {
        await measure[part](broker, prepared.consumers, options, results, problems).catch((error: unknown) => {
          problems.push(`${part}: ${messageOf(error)}`);
        });
      }
    } finally {
      await broker.stop();
    }
    const doubts = [...prepared.missing, ...busyCores(results.drains)];
    return { results, tables: tables(results), verdicts: judge(bars, results), problems, doubts };
  },
};

type Measure = (
  broker: Broker,
  consumers: ReadonlyMap<ConsumerName, Consumer>,
  options: Options,
  results: MessagingResults,
  problems: string[],
) => Promise<void>;

const measure: Record<(typeof parts)[number], Measure> = {
  drain: (broker, consumers, options, { drains }, problems) =>
    measureDrains(broker, consumers, options, drains, problems),
  publish: (broker, _, options, { publishing }) => measurePublishing(broker, options, publishing),
  async latency(broker, _, options, { drains, publishing, latencies }) {
    const ours = drains.filter(
      ({ consumer, type, prefetch }) => consumer === 'levada' && type === 'quorum' && prefetch === 200,
    );
    const drained =
      ours.length > 0 ? ours : [await drain(broker, await prepare.levada(), 'quorum', 200, options.quick)];
    if (publishing.length === 0) await measurePublishing(broker, { ...options, rounds: 1 }, publishing);
    const published = publishing.filter(({ client }) => client === 'levada');
    const perSecond = (samples: ReadonlyArray<{ perSecond: number }>) => samples.map((sample) => sample.perSecond);
    await measureLatency(broker, options, halfLoad(perSecond(published), perSecond(drained)), latencies);
  },
};

/** Each client has a core of its own, as the broker has: what others take of them is missing. */
function busyCores(drains: readonly DrainSample[]): string[] {
  return (['broker', 'consumer'] as const).flatMap((core) => {
    const shares = drains.map(({ foreign }) => foreign[core]);
    const count = shares.filter((share) => share > 0.05).length;
    const worst = Math.round(Math.max(0, ...shares) * 100);
    const text = `other processes took the ${core}'s core in ${count} of ${shares.length} drains, up to ${worst} % of the time`;
    return count > 0 ? [text] : [];
  });
}

function tables({ drains, publishing, latencies }: MessagingResults): string[] {
  const middle = <Sample>(samples: readonly Sample[], of: (sample: Sample) => number) =>
    figure(median(samples.map(of)));
  const drainRows = [...Map.groupBy(drains, ({ type, prefetch, consumer }) => `${type}|${prefetch}|${consumer}`)].map(
    ([name, samples]) => {
      const { min, max } = spread(samples.map(({ perSecond }) => perSecond));
      const rates = [middle(samples, ({ perSecond }) => perSecond), `${figure(min)} – ${figure(max)}`];
      return [...name.split('|'), ...rates, middle(samples, ({ perCpuSecond }) => perCpuSecond)];
    },
  );
  const publishRows = [...Map.groupBy(publishing, ({ client }) => client)].map(([client, samples]) => [
    client,
    middle(samples, ({ perSecond }) => perSecond),
    middle(samples, ({ perCpuSecond }) => perCpuSecond),
  ]);
  const latencyRows = [...Map.groupBy(latencies, ({ client }) => client)].map(([client, samples]) => [
    ...[client, middle(samples, ({ rate }) => rate), middle(samples, ({ p50Ms }) => p50Ms)],
    ...[middle(samples, ({ p99Ms }) => p99Ms), middle(samples, ({ maxMs }) => maxMs)],
  ]);
  const table = (title: string, header: string[], rows: string[][]) =>
    rows.length > 0 ? [`### ${title}\n\n${markdownTable(header, rows)}`] : [];
  return [
    ...table(
      'Drain',
      ['queue', 'prefetch', 'consumer', 'msg/s', 'min – max', 'msg/s of CPU'],
      drainRows.toSorted(byName),
    ),
    ...table(
      `Confirmed publishing, quorum queue, ${outstanding} unconfirmed at most`,
      ['client', 'msg/s', 'msg/s of CPU'],
      publishRows,
    ),
    ...table('From due to read, quorum queue', ['client', 'msg/s', 'p50 ms', 'p99 ms', 'max ms'], latencyRows),
  ];
}

/** In the order in which they are named above, whatever the rounds began with. */
function byName([typeA, prefetchA, nameA]: string[], [typeB, prefetchB, nameB]: string[]): number {
  const place = (list: readonly unknown[], text: string | undefined) => list.map(String).indexOf(text ?? '');
  return (
    place(queueTypes, typeA) - place(queueTypes, typeB) ||
    place(prefetches, prefetchA) - place(prefetches, prefetchB) ||
    place(consumerNames, nameA) - place(consumerNames, nameB)
  );
}
