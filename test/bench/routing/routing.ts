import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { request } from 'undici';
import type { ModelServerConfig } from '../../../api/contract/model-server.ts';
import { type RoutingTable, routingFiles } from '../../../api/contract/routing-table.ts';
import { freePort } from '../../../operator/drivers/local/ports.ts';
import { newSigningKey, publicKeyText, signRoutingTable } from '../../../operator/drivers/routing/signing.ts';
import { type Bar, judge } from '../bars.ts';
import type { Benchmark } from '../benchmark.ts';
import { type Context, root } from '../context.ts';
import { bodies, classNames, models } from '../iris.ts';
import type { Options } from '../options.ts';
import { loadCore, ready, type StartedProcess, serverCore, start } from '../process.ts';
import { usage } from '../procfs.ts';
import { generator, median, rotated, type Spread, shuffled, spread } from '../statistics.ts';
import { figure, markdownTable } from '../table.ts';
import { type LoadResult, runWrk, runWrkInTurns } from '../wrk.ts';
import { missingNginx, startNginx } from './nginx.ts';

/**
 * Percent that the candidate has; `none`: there is no routing table. `untold`: the process that is to split, before it has
 * one. Two processes of one program differ by a tenth and more all their life: each is compared with what it was itself.
 */
type Share = 'none' | 'untold' | 0 | 5 | 50;

/** Who splits: the stable version's pod, or nginx in front of both versions. */
interface Way {
  readonly by: 'levada' | 'nginx';
  readonly share: Share;
}

const waysOf = (by: Way['by'], shares: readonly Share[]): Way[] => shares.map((share) => ({ by, share }));
const first = waysOf('levada', ['none', 'untold']);
const ours = waysOf('levada', ['none', 0, 5, 50]);
const theirs = waysOf('nginx', [0, 5, 50]);

const connections = 64;
/** Few enough that a request's time is its own, not that of a queue. */
const fewConnections = 4;

/** Stretches of one round, each way once in each. Times at few connections make a bar and are wanted the more steady. */
const stretches = (count: number): number => (count === fewConnections ? 8 : 3);
/** Of one process's load in `Turn`s: short beside what the machine's speed takes to change. */
const sliceMs = 100;
/** Before each: who has just got a table, or has stood still, compiles anew and is no measure. */
const settleSeconds = 1;
/** A process takes some ten thousand requests to be as quick as it will be. */
const firstWarmUps = 4;

/** What one way has come to in one round. */
interface Sample extends Way {
  readonly connections: number;
  readonly round: number;
  readonly requests: number;
  readonly errors: number;
  /** Medians of the stretches. */
  readonly rate: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of the stable version's process, and of nginx where it splits. */
  readonly cpuMicrosPerRequest: number;
  /** More than the process without a table in the same stretch, the median of the differences. */
  readonly addedP99Ms: number;
}

/** Two new processes, one without a table and one that splits, each loaded for `sliceMs` in turn. */
interface Turn {
  readonly share: Share;
  readonly round: number;
  readonly cpuMicrosPerRequest: { readonly none: number; readonly splitting: number };
}

interface Results {
  readonly samples: Sample[];
  readonly turns: Turn[];
}

/** What a candidate costs the pods of the stable version. */
export const routing: Benchmark = {
  summary: 'what a candidate costs the stable version’s process, by its share',
  async run(context, options) {
    const results: Results = { samples: [], turns: [] };
    const missing = missingNginx();
    const ways = missing === undefined ? [...ours, ...theirs] : ours;
    const key = newSigningKey();
    const candidate = await startVersion(context, 'v2', [publicKeyText(key)], loadCore);
    try {
      const requests = context.file('oip.bodies', shuffled(await bodies('oip'), generator(options.seed)).join('\n'));
      for (let round = 0; round < options.rounds; round++) {
        const started: StartedProcess[] = [];
        const own = async (version: Promise<Version>) => {
          started.push(await version);
          return version;
        };
        try {
          const stable = () => own(startVersion(context, 'v1', [publicKeyText(key)], serverCore));
          const [one, other] = [await stable(), await stable()];
          const give = (share: number, nth: number) => tell(other, signRoutingTable(table(share, candidate, nth), key));
          results.turns.push(
            ...(await takeTurns(options, { plain: one, splitting: other }, { round, requests, give })),
          );
          for (const process of started.splice(0)) await process.stop();
          // Others, for one that has a table never is without one again.
          const [plain, splitting] = [await stable(), await stable()];
          let generation = 0;
          const setups = new Map<Way, Setup>();
          for (const way of ways) {
            if (way.by === 'nginx') {
              const servers = { stable: plain.url, candidate: candidate.url };
              const nginx = await startNginx(context, Number(way.share), servers);
              started.unshift(nginx);
              setups.set(way, { url: nginx.url, counted: [nginx, plain] });
            } else if (typeof way.share === 'string') {
              setups.set(way, as(plain));
            } else {
              const weight = way.share;
              const prepare = () => tell(splitting, signRoutingTable(table(weight, candidate, ++generation), key));
              setups.set(way, { url: splitting.url, counted: [splitting], prepare });
            }
          }
          const untold = new Map(first.map((way) => [way, as(way.share === 'none' ? plain : splitting)]));
          const all = [untold, setups].flatMap((some) =>
            [connections, fewConnections].map((count) => ({ some, count })),
          );
          for (const { some, count } of all) {
            const warmUps = some === untold ? firstWarmUps : 1;
            const samples = await measure(options, some, { round, connections: count, requests }, warmUps);
            for (const sample of samples) {
              if (some === setups || sample.share === 'untold') results.samples.push(sample);
              const text = `${figure(sample.rate)} req/s, ${figure(sample.cpuMicrosPerRequest)} µs of CPU, p99 ${figure(sample.p99Ms)} ms`;
              console.error(
                `round ${round + 1}/${options.rounds}  ${sample.by}, share ${sample.share} c=${count}: ${text}`,
              );
            }
          }
        } finally {
          for (const one of started) await one.stop();
        }
      }
    } finally {
      await candidate.stop();
    }
    const problems = results.samples
      .filter(({ errors, requests }) => errors > 0 || requests === 0)
      .map(({ by, share, round, errors }) => `${by}, share ${share}, round ${round + 1}: ${errors} errors`);
    return {
      results,
      tables: [`### Stable process, and nginx where it splits\n\n${tableOf(results.samples)}`],
      verdicts: judge(bars, results),
      problems,
      doubts: ['the candidate shares its core with the load generator', ...(missing === undefined ? [] : [missing])],
    };
  },
};

/** How one way is measured in one round. */
interface Setup {
  readonly url: string;
  /** Whose processor time counts. */
  readonly counted: readonly StartedProcess[];
  /** Before each stretch. */
  prepare?(): Promise<void>;
}

/** A process as it is. */
const as = (version: Version): Setup => ({ url: version.url, counted: [version] });

interface Version extends StartedProcess {
  readonly url: string;
  readonly admin: string;
  readonly internal: number;
}

let starts = 0;

async function startVersion(context: Context, version: string, keys: string[], core: number): Promise<Version> {
  const [serving, admin, internal] = [await freePort(), await freePort(), await freePort()];
  const label = `${version}-${++starts}`;
  writeFileSync(join(context.dir, routingFiles.keys), JSON.stringify(keys));
  const config: ModelServerConfig = {
    kind: 'model-server',
    ...{ model: 'iris', version, path: models.lr.onnx, classNames },
    batching: { maxBatchSize: 64, maxDelayMs: 0 },
    routing: { resource: 'default/iris', folder: context.dir },
    listen: { host: '127.0.0.1', serving, admin, internal },
  };
  const path = context.file(`${label}.unit.json`, JSON.stringify(config));
  const args = [join(root, 'runtime/main.ts'), '--config', path, '--linger-ms', '0'];
  const started = start({ command: process.execPath, args }, { logPath: join(context.dir, `${label}.log`), core });
  const url = `http://127.0.0.1:${serving}`;
  await ready(started, `${url}/v2/health/ready`);
  return { ...started, url, admin: `http://127.0.0.1:${admin}`, internal };
}

const table = (weight: number, { internal }: Version, generation: number): RoutingTable => ({
  resource: 'default/iris',
  generation,
  stable: { version: 'v1' },
  candidate: { version: 'v2', weight },
  addresses: { v2: [`tcp://127.0.0.1:${internal}`] },
  salt: 'v1/v2',
});

async function tell({ admin }: Version, signed: object): Promise<void> {
  const { statusCode, body } = await request(`${admin}/routing`, { method: 'PUT', body: JSON.stringify(signed) });
  const text = await body.text();
  if (statusCode !== 200) throw new Error(`the routing table was refused: ${statusCode} ${text}`);
}

interface Stretch {
  readonly result: LoadResult;
  readonly cpuMicros: number;
}

/** All shares of one round, each right after the other, so that both processes have had the same requests all their life. */
async function takeTurns(
  options: Options,
  processes: { readonly plain: Version; readonly splitting: Version },
  about: {
    readonly round: number;
    readonly requests: string;
    /** Gives the process that splits its n-th table. */
    readonly give: (share: number, nth: number) => Promise<void>;
  },
): Promise<Turn[]> {
  const { round, requests, give } = about;
  const turns: Turn[] = [];
  for (let i = 0; i < firstWarmUps; i++) await inTurns(options.warmUpSeconds, processes, requests);
  for (const [nth, share] of (['untold', 0, 5, 50] as const).entries()) {
    if (share !== 'untold') await give(share, nth);
    await inTurns(settleSeconds, processes, requests);
    const cpuMicrosPerRequest = await inTurns(options.seconds, processes, requests);
    turns.push({ share, round, cpuMicrosPerRequest });
    const [mine, none] = [cpuMicrosPerRequest.splitting, cpuMicrosPerRequest.none].map(figure);
    console.error(
      `round ${round + 1}/${options.rounds}  share ${share}, in turns: ${mine} µs of CPU, ${none} without a table`,
    );
  }
  return turns;
}

/**
 * Microseconds of CPU a request of each process, under as many requests as they can take, in turn.
 *
 * @throws Error one of them has ended, or a request was not answered well
 */
async function inTurns(
  seconds: number,
  processes: { readonly plain: Version; readonly splitting: Version },
  bodies: string,
): Promise<Turn['cpuMicrosPerRequest']> {
  const both = [processes.plain, processes.splitting];
  const before = both.map(({ pid }) => usage(pid).cpuMicros);
  const loads = both.map(({ url }) => ({ url: `${url}/v2/models/iris/infer`, bodies, connections, seconds }));
  const loaded = await runWrkInTurns(loads, sliceMs);
  const [none = Number.NaN, splitting = Number.NaN] = both.map((server, i) => {
    if (server.exited()) throw new Error(`it ended under load:\n${server.log()}`);
    const { requests = 0, errors = 0 } = loaded[i] ?? {};
    if (errors > 0 || requests === 0) throw new Error(`${errors} errors of ${requests} requests:\n${server.log()}`);
    return (usage(server.pid).cpuMicros - (before[i] ?? 0)) / requests;
  });
  return { none, splitting };
}

/** All ways in one round, in stretches that take turns. */
async function measure(
  options: Options,
  setups: ReadonlyMap<Way, Setup>,
  about: { readonly round: number; readonly connections: number; readonly requests: string },
  warmUps: number,
): Promise<Sample[]> {
  const { requests: file, ...rest } = about;
  const seen = new Map<Way, Stretch[]>();
  const count = stretches(about.connections);
  const seconds = Math.max(1, Math.round(options.seconds / stretches(fewConnections)));
  for (let stretch = -warmUps; stretch < count; stretch++) {
    for (const [way, setup] of rotated([...setups], Math.max(0, stretch), count)) {
      await setup.prepare?.();
      const load = { url: `${setup.url}/v2/models/iris/infer`, bodies: file, connections: about.connections };
      if (stretch >= 0) await runWrk({ ...load, seconds: settleSeconds });
      const cpu = () => setup.counted.reduce((sum, { pid }) => sum + usage(pid).cpuMicros, 0);
      const before = cpu();
      const result = await runWrk({ ...load, seconds: stretch < 0 ? options.warmUpSeconds : seconds });
      const ended = setup.counted.find((server) => server.exited());
      if (ended) throw new Error(`it ended under load:\n${ended.log()}`);
      if (stretch >= 0) seen.set(way, [...(seen.get(way) ?? []), { result, cpuMicros: cpu() - before }]);
    }
  }
  const none = [...seen].find(([{ by, share }]) => by === 'levada' && share === 'none')?.[1] ?? [];
  return [...seen].map(([way, all]) => {
    const sum = (value: (one: (typeof all)[number]) => number) => all.reduce((total, one) => total + value(one), 0);
    const middle = (value: (result: LoadResult) => number) => median(all.map(({ result }) => value(result)));
    const requests = sum(({ result }) => result.requests);
    return {
      ...way,
      ...rest,
      requests,
      errors: sum(({ result }) => result.errors),
      rate: middle(({ rate }) => rate),
      p50Ms: middle(({ p50Ms }) => p50Ms),
      p99Ms: middle(({ p99Ms }) => p99Ms),
      cpuMicrosPerRequest: sum(({ cpuMicros }) => cpuMicros) / requests,
      addedP99Ms: median(all.map(({ result }, i) => result.p99Ms - (none[i]?.result.p99Ms ?? Number.NaN))),
    };
  });
}

const of = (samples: readonly Sample[], { by, share }: Way, count: number) =>
  samples.filter((sample) => sample.by === by && sample.share === share && sample.connections === count);

/** `value` of `share` beside what it was before the process had a table, round by round. */
function paired<T extends { readonly round: number; readonly share: Share }>(
  some: readonly T[],
  share: Share,
  value: (one: T, before: T) => number,
): Spread | undefined {
  const values = some.flatMap((one) => {
    const before = some.find((other) => other.share === 'untold' && other.round === one.round);
    return one.share === share && before ? [value(one, before)] : [];
  });
  return values.length === 0 ? undefined : spread(values);
}

const against = ({ cpuMicrosPerRequest: { none, splitting } }: Turn): number => splitting / none;

const cpuBar = (share: Share, goal: number): Bar<Results> => ({
  name: `CPU a request of the stable process, candidate at ${share} %, against none`,
  ...{ unit: '×', better: 'lower', goal },
  figure: ({ turns }) => paired(turns, share, (one, before) => against(one) / against(before)),
});

const bars: readonly Bar<Results>[] = [
  cpuBar(0, 1.05),
  cpuBar(5, 1.15),
  cpuBar(50, 1.5),
  {
    name: `p99 that a candidate at 5 % adds, ${fewConnections} connections`,
    ...{ unit: 'ms', better: 'lower', goal: 1 },
    figure: ({ samples }) => {
      const few = samples.filter(({ by, connections: count }) => by === 'levada' && count === fewConnections);
      return paired(few, 5, (one, before) => one.addedP99Ms - before.addedP99Ms);
    },
  },
];

function tableOf(samples: readonly Sample[]): string {
  const rows = [connections, fewConnections].flatMap((count) =>
    [...first.slice(1), ...ours, ...theirs].flatMap((way) => {
      const group = of(samples, way, count);
      if (group.length === 0) return [];
      const middle = (value: (sample: Sample) => number) => figure(median(group.map(value)));
      const row = [
        way.by,
        String(way.share),
        String(count),
        middle(({ rate }) => rate),
        middle(({ p50Ms }) => p50Ms),
        middle(({ p99Ms }) => p99Ms),
        middle(({ cpuMicrosPerRequest }) => cpuMicrosPerRequest),
      ];
      return [row];
    }),
  );
  return markdownTable(['split by', 'candidate %', 'c', 'req/s', 'p50 ms', 'p99 ms', 'CPU µs/req'], rows);
}
