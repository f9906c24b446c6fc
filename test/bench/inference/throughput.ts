import type { Context } from '../context.ts';
import { bodies, type ModelName, modelNames } from '../iris.ts';
import type { Options } from '../options.ts';
import { loadCore, serverCore } from '../process.ts';
import { coreTimes, usage } from '../procfs.ts';
import { type ServerName, serverNames, servers, startServer } from '../servers.ts';
import { generator, median, rotated, type Spread, shuffled, spread } from '../statistics.ts';
import { figure, markdownTable } from '../table.ts';
import { type LoadResult, runWrk } from '../wrk.ts';

const connectionCounts = [1, 64] as const;

export interface Case {
  server: ServerName;
  /** `null`: an echo, which has none. */
  model: ModelName | null;
  connections: number;
}

export interface Sample extends Case, LoadResult {
  round: number;
  cpuMicrosPerRequest: number;
  rssMb: number;
  /** Shares of the sample's time on the server's core and the load generator's. */
  serverCoreForeign: number;
  loadCoreIdle: number;
  steal: number;
}

/** Adds to `samples` as it goes. */
export async function measureThroughput(
  context: Context,
  options: Options,
  names: readonly ServerName[],
  samples: Sample[],
): Promise<void> {
  const random = generator(options.seed);
  const cases = shuffled(allCases(names), random);
  const simple = context.file('simple.bodies', shuffled(await bodies('simple'), random).join('\n'));
  const oip = context.file('oip.bodies', shuffled(await bodies('oip'), random).join('\n'));
  for (let round = 0; round < options.rounds; round++) {
    for (const one of inOrder(cases, round, options.rounds)) {
      const file = servers[one.server].protocol === 'oip' ? oip : simple;
      const sample = await measure(context, options, one, round, file);
      samples.push(sample);
      const { server, model, connections, rate, p50Ms, errors } = sample;
      const text = `${figure(rate)} req/s, p50 ${figure(p50Ms)} ms, ${errors} errors`;
      console.error(`round ${round + 1}/${options.rounds}  ${server} ${model ?? ''} c=${connections}: ${text}`);
    }
  }
}

/**
 * What is compared stands close together in time: all of one number of connections, then all of the other. Each round
 * begins elsewhere, so that nobody is always first or late.
 */
function inOrder(cases: readonly Case[], round: number, rounds: number): Case[] {
  return rotated(connectionCounts, round % 2, 2).flatMap((count) =>
    rotated(
      cases.filter(({ connections }) => connections === count),
      round,
      rounds,
    ),
  );
}

function allCases(names: readonly ServerName[]): Case[] {
  return names.flatMap((server) =>
    (servers[server].echo ? [null] : modelNames).flatMap((model) =>
      connectionCounts.map((connections) => ({ server, model, connections })),
    ),
  );
}

/** One sample, of a process of its own: HTTP servers on Node slow down with age, so all are equally young. */
async function measure(context: Context, options: Options, one: Case, round: number, file: string): Promise<Sample> {
  const server = await startServer(context, one.server, one.model ?? 'lr', serverCore);
  const path = servers[one.server].protocol === 'oip' ? '/v2/models/iris/infer' : '/predict';
  const load = { url: server.url + path, bodies: file, connections: one.connections };
  try {
    await runWrk({ ...load, seconds: options.warmUpSeconds });
    const before = { usage: usage(server.pid), server: coreTimes(serverCore), load: coreTimes(loadCore) };
    const result = await runWrk({ ...load, seconds: options.seconds });
    const after = { usage: usage(server.pid), server: coreTimes(serverCore), load: coreTimes(loadCore) };
    const cpuMicros = after.usage.cpuMicros - before.usage.cpuMicros;
    const total = after.server.totalMicros - before.server.totalMicros;
    const foreign = after.server.processMicros - before.server.processMicros - cpuMicros;
    const loadTotal = after.load.totalMicros - before.load.totalMicros;
    const steal =
      after.server.stealMicros + after.load.stealMicros - before.server.stealMicros - before.load.stealMicros;
    if (server.exited()) throw new Error(`${one.server} ended under load:\n${server.log()}`);
    return {
      ...one,
      ...{ round, ...result },
      cpuMicrosPerRequest: cpuMicros / result.requests,
      rssMb: after.usage.rssBytes / 2 ** 20,
      serverCoreForeign: Math.max(0, foreign / total),
      loadCoreIdle: (after.load.idleMicros - before.load.idleMicros) / loadTotal,
      steal: steal / (total + loadTotal),
    };
  } finally {
    await server.stop();
  }
}

/** Of each case, its samples in the order of the rounds. */
function samplesOf(samples: readonly Sample[], one: Case): Sample[] {
  return samples.filter(
    ({ server, model, connections }) => server === one.server && model === one.model && connections === one.connections,
  );
}

/**
 * `ours` over `theirs`, round by round: what slows the machine for a while slows both of a pair. `undefined` when one
 * of them was not measured.
 */
export function ratio(samples: readonly Sample[], of: 'rate' | 'p50Ms', ours: Case, theirs: Case): Spread | undefined {
  const others = samplesOf(samples, theirs);
  const ratios = samplesOf(samples, ours).flatMap((sample) => {
    const other = others.find(({ round }) => round === sample.round);
    return other ? [sample[of] / other[of]] : [];
  });
  return ratios.length === 0 ? undefined : spread(ratios);
}

export function throughputTable(samples: readonly Sample[]): string {
  const sorted = samples.toSorted(
    (a, b) =>
      a.connections - b.connections ||
      serverNames.indexOf(a.server) - serverNames.indexOf(b.server) ||
      (a.model ?? '').localeCompare(b.model ?? ''),
  );
  const groups = Map.groupBy(sorted, ({ server, model, connections }) => `${server} ${model ?? '–'} ${connections}`);
  const rows = [...groups].map(([name, group]) => {
    const rate = spread(group.map((sample) => sample.rate));
    const middle = (of: (sample: Sample) => number) => figure(median(group.map(of)));
    return [
      ...name.split(' '),
      figure(rate.median),
      `${figure(rate.min)} – ${figure(rate.max)}`,
      middle((sample) => sample.p50Ms),
      middle((sample) => sample.p99Ms),
      middle((sample) => sample.cpuMicrosPerRequest),
      middle((sample) => sample.rssMb),
      String(group.reduce((sum, sample) => sum + sample.errors, 0)),
    ];
  });
  const header = ['server', 'model', 'c', 'req/s', 'min – max', 'p50 ms', 'p99 ms', 'CPU µs/req', 'RSS MB', 'errors'];
  return markdownTable(header, rows);
}

/** What makes the run invalid, and what makes its figures doubtful. */
export function throughputProblems(samples: readonly Sample[]): { problems: string[]; doubts: string[] } {
  const name = ({ server, model, connections, round }: Sample) =>
    `${server} ${model ?? ''} c=${connections} round ${round + 1}`.replace('  ', ' ');
  const problems = samples
    .filter(({ errors, requests }) => errors > 0 || requests === 0)
    .map((sample) => `${name(sample)}: ${sample.errors} errors in ${sample.requests} requests`);
  const doubt = (what: string, share: (sample: Sample) => number, limit: number) => {
    const count = samples.filter((sample) => share(sample) > limit).length;
    const worst = Math.round(Math.max(...samples.map(share)) * 100);
    return count === 0 ? [] : [`${what} in ${count} of ${samples.length} samples, up to ${worst} % of the time`];
  };
  const loadBound = ({ connections, loadCoreIdle }: Sample) => (connections > 1 ? 1 - loadCoreIdle : 0);
  const doubts = [
    ...doubt("other processes took the server's core", ({ serverCoreForeign }) => serverCoreForeign, 0.05),
    ...doubt('the hypervisor took the cores', ({ steal }) => steal, 0.02),
    ...doubt("the load generator's core was full, so the rate may be its own limit,", loadBound, 0.95),
  ];
  return { problems, doubts };
}
