import { type Bar, judge } from '../bars.ts';
import type { Benchmark } from '../benchmark.ts';
import { select } from '../options.ts';
import { mean, median, type Spread, spread } from '../statistics.ts';
import { figure, markdownTable } from '../table.ts';
import {
  eventCounts,
  type FanoutResults,
  flatEvents,
  measureDeadline,
  measureFlat,
  measureNeighbour,
  measureRates,
  type RateSample,
} from './measure.ts';
import { startUpstream } from './run.ts';

const parts = ['deadline', 'rate', 'flat', 'neighbour'] as const;

const exactly = (value: number): Spread => ({ median: value, min: value, max: value });

/** Ours over aiohttp's, round by round. */
function rateRatio(samples: readonly RateSample[], calls: number): Spread | undefined {
  const of = (client: RateSample['client']) =>
    samples.filter((sample) => sample.client === client && sample.calls === calls);
  const ratios = of('levada').flatMap(({ round, perCpuSecond }) => {
    const other = of('aiohttp').find((sample) => sample.round === round);
    return other ? [perCpuSecond / other.perCpuSecond] : [];
  });
  return ratios.length > 0 ? spread(ratios) : undefined;
}

type Sample = NonNullable<FanoutResults['flat']>['samples'][number];

/** The last three tenths of the calls and the three after the first, which is for code to get hot and pools to fill. */
function ends(results: FanoutResults, of: keyof Sample, fold: (values: number[]) => number) {
  const values = results.flat?.samples.map((sample) => sample[of]);
  return values && { first: fold(values.slice(1, 4)), last: fold(values.slice(-3)) };
}

const middle = (rounds: NonNullable<FanoutResults['neighbour']>, of: 'alone' | 'beside') =>
  median(rounds.map((round) => round[of]));

const most = (values: number[]): number => Math.max(...values);

const lower = { better: 'lower', unit: '' } as const;

const bars: readonly Bar<FanoutResults>[] = [
  {
    ...{ name: '19 URLs of 5 ms and one that hangs, deadline 300 ms: p99', unit: 'ms', better: 'lower' },
    ...{ goal: 320, fatal: 320 },
    figure: ({ deadline }) => deadline && exactly(deadline.p99),
  },
  {
    ...{ name: 'the same: calls without their 20 results', ...lower, goal: 0, fatal: 0 },
    figure: ({ deadline }) => deadline && exactly(deadline.incomplete),
  },
  ...eventCounts.map(
    (calls): Bar<FanoutResults> => ({
      ...{
        name: `events at once: ${calls}: ÷ aiohttp + uvloop, requests a second of CPU`,
        unit: '×',
        better: 'higher',
      },
      ...{ goal: 2.5, fatal: 2.5 },
      figure: ({ rates }) => rateRatio(rates, calls),
    }),
  ),
  {
    ...{ name: 'heap, last ÷ first of the calls', unit: '×', better: 'lower', goal: 1.05, fatal: 1.1 },
    figure(results) {
      const heap = ends(results, 'heap', mean);
      return heap && exactly(heap.last / heap.first);
    },
  },
  {
    ...{ name: 'sockets beside those that are kept for the next calls', ...lower, goal: 0, fatal: 0 },
    figure: ({ flat }) => flat && spread(flat.samples.map(({ sockets, kept }) => sockets - kept)),
  },
  {
    // How many are kept depends on how many were wanted at once in the last seconds.
    ...{ name: 'sockets', ...lower, goal: flatEvents * 20, fatal: flatEvents * 20 },
    figure: ({ flat }) => flat && exactly(most(flat.samples.map(({ sockets }) => sockets))),
  },
  ...(['resources', 'listeners'] as const).map(
    (of): Bar<FanoutResults> => ({
      ...{ name: `${of === 'resources' ? 'handles and timers' : of}, more in the last than in the first calls` },
      ...{ ...lower, goal: 0, fatal: 0 },
      figure(results) {
        const found = ends(results, of, most);
        return found && exactly(Math.max(0, found.last - found.first));
      },
    }),
  ),
  {
    ...{ name: 'sockets after the step is closed', ...lower, goal: 0, fatal: 0 },
    figure: ({ flat }) => flat && exactly(flat.socketsAfterClose),
  },
  {
    ...{ name: 'p99 beside a step with a slow origin ÷ alone', unit: '×', better: 'lower', goal: 1.2, fatal: 1.2 },
    figure({ neighbour }) {
      if (!neighbour) return undefined;
      const { min, max } = spread(neighbour.map(({ alone, beside }) => beside / alone));
      // A stall of the machine hits one of a pair: the middle of each is taken before they are compared.
      return { median: middle(neighbour, 'beside') / middle(neighbour, 'alone'), min, max };
    },
  },
];

export const fanout: Benchmark = {
  summary: 'many URLs at once, beside aiohttp and uvloop; what hangs, and what is left over',
  async run(context, options) {
    const [chosen] = select(options.only, parts, []);
    const problems: string[] = [];
    const results: FanoutResults = { rates: [] };
    const upstream = await startUpstream(context);
    const attempt = async (part: (typeof parts)[number], measure: () => Promise<void>) => {
      if (!chosen.includes(part)) return;
      await measure().catch((error: unknown) => {
        problems.push(`${part}: ${error instanceof Error ? error.message : String(error)}`);
      });
    };
    try {
      await attempt('deadline', async () => {
        results.deadline = await measureDeadline(upstream, options);
      });
      await attempt('rate', () => measureRates(upstream, options, results.rates));
      await attempt('flat', async () => {
        results.flat = await measureFlat(upstream, options);
      });
      await attempt('neighbour', async () => {
        results.neighbour = await measureNeighbour(upstream, options);
      });
    } finally {
      await upstream.stop();
    }
    const idle = results.neighbour?.filter(({ late }) => late === 0).length ?? 0;
    if (idle > 0) problems.push(`neighbour: the slow origin was not slow in ${idle} rounds`);
    return { results, tables: tables(results), verdicts: judge(bars, results), problems, doubts: doubts(results) };
  },
};

/** A step that nothing disturbs is as quick in one round as in the next. */
function doubts({ neighbour }: FanoutResults): string[] {
  if (!neighbour) return [];
  const { min, max } = spread(neighbour.map(({ alone }) => alone));
  return max > 2 * min
    ? [`neighbour: other work on the machine: p99 alone was ${figure(min)} to ${figure(max)} ms`]
    : [];
}

function tables({ rates, flat }: FanoutResults): string[] {
  const groups = Map.groupBy(rates, ({ client, calls }) => `${client}|${calls}`);
  const rateRows = [...groups].map(([name, samples]) => [
    ...name.split('|'),
    ...(['perSecond', 'perCpuSecond'] as const).map((of) => figure(median(samples.map((sample) => sample[of])))),
  ]);
  const flatRows = (flat?.samples ?? []).map(({ calls, heap, sockets, kept, resources, listeners }) => [
    String(calls),
    figure(heap / 2 ** 20),
    ...[sockets, kept, resources, listeners].map(String),
  ]);
  const rateHeader = ['client', 'events at once', 'req/s', 'req/s of CPU'];
  const flatHeader = ['calls', 'heap MiB', 'sockets', 'of them kept', 'handles and timers', 'listeners'];
  return [
    ...(rateRows.length > 0 ? [`### Rate, 20 URLs an event\n\n${markdownTable(rateHeader, rateRows)}`] : []),
    ...(flatRows.length > 0 ? [`### What is left over\n\n${markdownTable(flatHeader, flatRows)}`] : []),
  ];
}
