import { type Bar, judge } from './bars.ts';
import type { Benchmark } from './benchmark.ts';
import type { Context } from './context.ts';
import { bodies } from './iris.ts';
import { type Options, select } from './options.ts';
import { serverCore } from './process.ts';
import { usage } from './procfs.ts';
import { type ServerName, type StartedServer, servers, startServer } from './servers.ts';
import { mean, type Spread, spread } from './statistics.ts';
import { figure, markdownTable } from './table.ts';
import { type LoadResult, runWrk } from './wrk.ts';

interface Minute extends LoadResult {
  cpuMicrosPerRequest: number;
  rssMb: number;
}

interface SoakResults {
  server: ServerName;
  minuteSeconds: number;
  minutes: Minute[];
  /** At the end, in turn: the process that has served all along, and a new one. */
  comparison: Comparison[];
}

interface Comparison {
  aged: Minute;
  fresh: Minute;
}

/** A server with what it is asked. */
interface Soaked {
  name: ServerName;
  server: StartedServer;
  path: string;
  bodies: string;
}

const connections = 64;
const pairs = 3;
const exactly = (value: number): Spread => ({ median: value, min: value, max: value });

/** Means of the rate over the last and the first minutes: five, or half of a run that is shorter than ten. */
function lastOverFirst(minutes: readonly Minute[]): number {
  const count = Math.min(5, Math.floor(minutes.length / 2));
  const rate = (part: readonly Minute[]) => mean(part.map((minute) => minute.rate));
  return rate(minutes.slice(-count)) / rate(minutes.slice(0, count));
}

const soakBars: readonly Bar<SoakResults>[] = [
  {
    name: 'last five minutes ÷ first five minutes, req/s',
    unit: '×',
    better: 'higher',
    goal: 0.95,
    figure: ({ minutes }) => (minutes.length < 2 ? undefined : exactly(lastOverFirst(minutes))),
  },
  {
    name: 'process at the end ÷ fresh process, req/s',
    unit: '×',
    better: 'higher',
    goal: 0.95,
    figure: ({ comparison }) => spread(comparison.map(({ aged, fresh }) => aged.rate / fresh.rate)),
  },
];

async function minute({ server, path, bodies }: Soaked, seconds: number): Promise<Minute> {
  const before = usage(server.pid).cpuMicros;
  const result = await runWrk({ url: server.url + path, bodies, connections, seconds });
  if (server.exited()) throw new Error(`the server ended under load:\n${server.log()}`);
  const { cpuMicros, rssBytes } = usage(server.pid);
  return { ...result, cpuMicrosPerRequest: (cpuMicros - before) / result.requests, rssMb: rssBytes / 2 ** 20 };
}

/** The aged process and a fresh one, one after the other; which of them is first alternates. */
async function compare(context: Context, options: Options, soaked: Soaked, pair: number): Promise<Comparison> {
  const seconds = Math.ceil(options.minuteSeconds / 2);
  const aged = () => minute(soaked, seconds);
  const fresh = async () => {
    const server = await startServer(context, soaked.name, 'rf', serverCore);
    try {
      await minute({ ...soaked, server }, options.warmUpSeconds);
      return await minute({ ...soaked, server }, seconds);
    } finally {
      await server.stop();
    }
  };
  if (pair % 2 === 0) return { aged: await aged(), fresh: await fresh() };
  const first = await fresh();
  return { aged: await aged(), fresh: first };
}

async function measureSoak(context: Context, options: Options, name: ServerName): Promise<SoakResults> {
  const { protocol } = servers[name];
  const path = protocol === 'oip' ? '/v2/models/iris/infer' : '/predict';
  const file = context.file('soak.bodies', (await bodies(protocol)).join('\n'));
  const seconds = options.minuteSeconds;
  const results: SoakResults = { server: name, minuteSeconds: seconds, minutes: [], comparison: [] };
  const server = await startServer(context, name, 'rf', serverCore);
  const soaked = { name, server, path, bodies: file };
  try {
    await minute(soaked, options.warmUpSeconds);
    for (let i = 1; i <= options.minutes; i++) {
      const one = await minute(soaked, seconds);
      results.minutes.push(one);
      const { rate, p50Ms, p99Ms, cpuMicrosPerRequest: cpu, rssMb } = one;
      const text = `${figure(rate)} req/s, p50 ${figure(p50Ms)} ms, p99 ${figure(p99Ms)} ms`;
      console.error(`minute ${i}/${options.minutes}  ${text}, ${figure(cpu)} µs CPU/req, ${figure(rssMb)} MB`);
    }
    for (let pair = 0; pair < pairs; pair++) results.comparison.push(await compare(context, options, soaked, pair));
  } finally {
    await server.stop();
  }
  return results;
}

function soakTable({ minutes, comparison }: SoakResults): string {
  const row = (name: string, { rate, p50Ms, p99Ms, cpuMicrosPerRequest, rssMb, errors }: Minute) => [
    name,
    ...[rate, p50Ms, p99Ms, cpuMicrosPerRequest, rssMb].map(figure),
    String(errors),
  ];
  const rows = [
    ...minutes.map((one, i) => row(String(i + 1), one)),
    ...comparison.flatMap(({ aged, fresh }) => [row('aged', aged), row('fresh', fresh)]),
  ];
  return markdownTable(['minute', 'req/s', 'p50 ms', 'p99 ms', 'CPU µs/req', 'RSS MB', 'errors'], rows);
}

const soakable = ['levada', 'levada-oip', 'echo', 'echo-deferred', 'fastify-naive'] as const;

export const soak: Benchmark = {
  summary: 'one server process under c=64 for a long time (--minutes, --only SERVER): does it slow down?',
  async run(context, options) {
    const [chosen] = select(options.only, soakable, []);
    const results = await measureSoak(context, options, chosen[0] ?? 'levada');
    const samples = [...results.minutes, ...results.comparison.flatMap(({ aged, fresh }) => [aged, fresh])];
    const errors = samples.reduce((sum, sample) => sum + sample.errors, 0);
    return {
      results,
      tables: [`### Soak of ${results.server}, random forest, c=${connections}\n\n${soakTable(results)}`],
      verdicts: judge(soakBars, results),
      problems: errors > 0 ? [`${errors} errors`] : [],
      doubts: [],
    };
  },
};
