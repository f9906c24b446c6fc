import { mkdtempSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KubeConfig } from '@kubernetes/client-node';
import { parse } from 'yaml';
import { type ControlPlane, kubeconfigOf, missingControlPlane, startControlPlane } from '../../../hack/cluster.ts';
import { eventPipelines, modelDeployments } from '../../../operator/drivers/kubernetes/types.ts';
import { KubeClient } from '../../../operator/engine/client.ts';
import { leases } from '../../../operator/engine/elector.ts';
import { kubeconfigAccess } from '../../../operator/engine/kubeconfig.ts';
import { pathOf, type StoredObject } from '../../../operator/engine/objects.ts';
import { CountingProxy } from '../../support/counting-proxy.ts';
import { type Bar, judge } from '../bars.ts';
import type { Benchmark } from '../benchmark.ts';
import { type Options, UsageError } from '../options.ts';
import { loadCore, runClient } from '../process.ts';
import { type Spread, spread } from '../statistics.ts';
import { figure, markdownTable } from '../table.ts';
import { StandInNode } from './node.ts';
import { inPod, OperatorProcess } from './process.ts';

const root = join(import.meta.dirname, '../../..');
const home = 'levada-bench';
const lease = `${home}/levada`;
/** Of the operator, and so of the loader. */
const workers = 16;

interface Round {
  readonly resources: number;
  readonly loader: { readonly writes: number; readonly ms: number };
  readonly operator: { readonly writes: number; readonly ms: number; readonly cpuMs: number };
}

interface Results {
  rounds: Round[];
  /** Of the operator with the resources of one round, the largest seen. */
  rssMiB?: number;
  converged?: { readonly seconds: number; readonly writes: number; readonly cpuPercent: number };
  resync?: { readonly resources: number; readonly ms: number; readonly rssMiB: number };
  failOver: {
    /** Milliseconds from the signal until another process leads. */
    term: number[];
    kill: number[];
    /** Writes of the one before after the first one of the next. */
    overlaps: number[];
  };
}

const exactly = (value: number): Spread => ({ median: value, min: value, max: value });
const each = (rounds: readonly Round[], value: (round: Round) => number) =>
  rounds.length === 0 ? undefined : spread(rounds.map(value));

const bars: readonly Bar<Results>[] = [
  {
    name: 'time of the operator ÷ time of a bare loader of the same writes',
    unit: '×',
    better: 'lower',
    goal: 1.6,
    figure: ({ rounds }) => each(rounds, ({ operator, loader }) => operator.ms / loader.ms),
  },
  {
    name: 'writes of the operator ÷ writes of the loader',
    unit: '×',
    better: 'lower',
    goal: 1,
    figure: ({ rounds }) => each(rounds, ({ operator, loader }) => operator.writes / loader.writes),
  },
  {
    name: 'resident memory with 1,000 resources, MiB',
    unit: '',
    better: 'lower',
    goal: 256,
    figure: ({ rssMiB }) => (rssMiB === undefined ? undefined : exactly(rssMiB)),
  },
  {
    name: 'converged: writes but for the Lease',
    unit: '',
    better: 'lower',
    goal: 0,
    fatal: 0,
    figure: ({ converged }) => converged && exactly(converged.writes),
  },
  {
    name: 'converged: CPU, % of a core',
    unit: '',
    better: 'lower',
    goal: 1,
    figure: ({ converged }) => converged && exactly(converged.cpuPercent),
  },
  {
    name: 'cold resync of 5,000 resources',
    unit: 'ms',
    better: 'lower',
    goal: 10_000,
    figure: ({ resync }) => resync && exactly(resync.ms),
  },
  {
    name: 'fail-over on SIGTERM',
    unit: 'ms',
    better: 'lower',
    goal: 2_000,
    figure: ({ failOver: { term } }) => (term.length === 0 ? undefined : spread(term)),
  },
  {
    name: 'fail-over on SIGKILL',
    unit: 'ms',
    better: 'lower',
    goal: 20_000,
    figure: ({ failOver: { kill } }) => (kill.length === 0 ? undefined : spread(kill)),
  },
  {
    name: 'writes of who led before, after the first one of the next',
    unit: '',
    better: 'lower',
    goal: 0,
    fatal: 0,
    figure: ({ failOver: { overlaps } }) => (overlaps.length === 0 ? undefined : spread(overlaps)),
  },
];

/** An operator whose writes pass a proxy. */
interface Waiting {
  readonly operator: OperatorProcess;
  readonly proxy: CountingProxy;
  /** Monotonic milliseconds. */
  readonly writtenAt: readonly number[];
}

async function inParallel(count: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: 32 }, async () => {
      while (next < count) await work(next++);
    }),
  );
}

class Bench {
  readonly #plane: ControlPlane;
  readonly #client: KubeClient;
  readonly #options: Options;
  readonly results: Results = { rounds: [], failOver: { term: [], kill: [], overlaps: [] } };
  /** Of those that have converged once: how many resources each has. */
  readonly #namespaces = new Map<string, number>();
  readonly #access: Record<string, string>;
  #node!: StandInNode;

  constructor(plane: ControlPlane, options: Options) {
    this.#plane = plane;
    this.#options = options;
    this.#access = inPod(plane);
    const config = new KubeConfig();
    config.loadFromFile(plane.kubeconfig);
    this.#client = new KubeClient(kubeconfigAccess(config));
  }

  async prepare(failed: (error: unknown) => void): Promise<void> {
    for (const { plural } of [modelDeployments, eventPipelines]) {
      const text = await readFile(join(root, `crds/levada.dev_${plural}.yaml`), 'utf8');
      const path = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
      await this.#client.call({ method: 'POST', path, body: parse(text) });
    }
    await this.#namespace(home);
    const { apiVersion, kind } = leases;
    const body = { apiVersion, kind, metadata: { name: 'levada', namespace: home } };
    await this.#client.call({ method: 'POST', path: pathOf(leases, { namespace: home }), body });
    for (;;) {
      const lists = [modelDeployments, eventPipelines].map((type) =>
        this.#client.call({ method: 'GET', path: pathOf(type) }),
      );
      const isServed = (await Promise.allSettled(lists)).every(({ status }) => status === 'fulfilled');
      if (isServed) break;
      await sleep(100);
    }
    this.#node = await StandInNode.start(this.#client, failed);
  }

  /** The same resources for both, in turn: whoever is first has the smaller database. */
  async measureWrites(count: number): Promise<void> {
    for (let round = 0; round < this.#options.rounds; round++) {
      const names = [`loader-${round}`, `operator-${round}`];
      for (const name of names) await this.#resources(name, count);
      const order = round % 2 === 0 ? names : names.toReversed();
      const samples: Record<string, unknown> = {};
      for (const name of order) {
        samples[name] = name.startsWith('loader') ? await this.#load(name) : await this.#operate(name, count);
      }
      const loader = samples[`loader-${round}`] as Round['loader'];
      const operator = samples[`operator-${round}`] as Round['operator'];
      this.results.rounds.push({ resources: count, loader, operator });
      const [a, b] = [operator, loader].map(({ ms }) => figure(ms / 1000));
      console.error(`round ${round + 1}/${this.#options.rounds}  operator ${a} s, loader ${b} s`);
    }
  }

  /** Converged, and then two that take over from each other. */
  async measureRest(count: number, idleSeconds: number): Promise<void> {
    const names = await this.#enough('rest', count);
    const operator = await this.#converge(names, count);
    await sleep(5_000);
    await this.#converged(operator, idleSeconds);
    await operator.stop();
    await this.#failOver(names);
  }

  async measureResync(count: number): Promise<void> {
    const names = await this.#enough('resync', count);
    await (await this.#converge(names, count)).stop();
    const began = performance.now();
    const again = await OperatorProcess.start(this.#access, lease, names);
    const ended = await again.until('all were looked at', ({ reconciles }) => reconciles >= count);
    this.results.resync = { resources: count, ms: ended - began, rssMiB: again.usage.rssBytes / 2 ** 20 };
    await again.stop();
  }

  async close(): Promise<void> {
    await this.#node.close();
    await this.#client.close();
  }

  /** Namespaces with as many resources; `name` is made for what is missing. */
  async #enough(name: string, count: number): Promise<string[]> {
    const names: string[] = [];
    let missing = count;
    for (const [other, has] of this.#namespaces) {
      if (has > missing) continue;
      names.push(other);
      missing -= has;
    }
    if (missing === 0) return names;
    await this.#resources(name, missing);
    this.#namespaces.set(name, missing);
    return [...names, name];
  }

  async #converge(namespaces: readonly string[], count: number): Promise<OperatorProcess> {
    const operator = await OperatorProcess.start(this.#access, lease, namespaces);
    const ready = () => namespaces.reduce((sum, name) => sum + this.#node.ready(name), 0);
    await operator.until('all serve', ({ leads, isIdle }) => leads && isIdle && ready() === count, 900_000);
    return operator;
  }

  async #converged(operator: OperatorProcess, seconds: number): Promise<void> {
    const before = { figures: await operator.figures(), usage: operator.usage };
    await sleep(seconds * 1_000);
    const after = { figures: await operator.figures(), usage: operator.usage };
    this.results.converged = {
      seconds,
      writes: (after.figures?.writes ?? Number.NaN) - (before.figures?.writes ?? 0),
      cpuPercent: (after.usage.cpuMicros - before.usage.cpuMicros) / seconds / 1e4,
    };
  }

  /** Under edits, so that whoever leads has something to write. */
  async #failOver(namespaces: readonly string[]): Promise<void> {
    const edits = this.#edit(namespaces[0] ?? '');
    const started: Waiting[] = [];
    try {
      let leader = await this.#waiting(namespaces, started);
      await leader.operator.until('it leads', ({ leads }) => leads);
      const times = this.#options.quick ? 1 : 3;
      for (const signal of ['term', 'kill'] as const) {
        for (let i = 0; i < times; i++) {
          const next = await this.#waiting(namespaces, started);
          await next.operator.until('it has its copies', ({ isReady }) => isReady);
          await sleep(4_000); // it looks for the Lease
          const asked = performance.now();
          const ended = signal === 'term' ? leader.operator.stop() : leader.operator.kill();
          const at = await next.operator.until('it leads', ({ leads }) => leads);
          await ended;
          this.results.failOver[signal].push(at - asked);
          await next.operator.until('it writes', () => next.writtenAt.length > 0);
          const [first = 0] = next.writtenAt;
          this.results.failOver.overlaps.push(leader.writtenAt.filter((time) => time > first).length);
          leader = next;
        }
      }
    } finally {
      await edits.stop();
      for (const { operator, proxy } of started) {
        await operator.stop();
        await proxy[Symbol.asyncDispose]();
      }
    }
  }

  /** An operator whose writes are timed. */
  async #waiting(namespaces: readonly string[], started: Waiting[]): Promise<Waiting> {
    const proxy = await CountingProxy.start(this.#plane);
    const path = join(mkdtempSync(join(tmpdir(), 'levada-bench-proxied-')), 'kubeconfig');
    writeFileSync(path, JSON.stringify(kubeconfigOf(this.#plane, this.#plane.admin, proxy.url)), { mode: 0o600 });
    const writtenAt: number[] = [];
    proxy.written = () => writtenAt.push(performance.now());
    const one = { operator: await OperatorProcess.start({ KUBECONFIG: path }, lease, namespaces), proxy, writtenAt };
    started.push(one);
    return one;
  }

  /** Fifty edits a second, each of another resource than the one before. */
  #edit(namespace: string): { stop(): Promise<void> } {
    let stopped = false;
    const run = async () => {
      for (let index = 0; !stopped; index++) {
        const path = pathOf(modelDeployments, { namespace, name: `model-${index % 40}` });
        const body = { spec: { replicas: 1 + (Math.floor(index / 40) % 2) } };
        await this.#client.call({ method: 'PATCH', path, body, contentType: 'application/merge-patch+json' });
        await sleep(20);
      }
    };
    const running = run();
    running.catch(() => {}); // told by stop()
    return {
      stop() {
        stopped = true;
        return running;
      },
    };
  }

  async #load(namespace: string): Promise<Round['loader']> {
    const args = [join(import.meta.dirname, 'loader.ts'), this.#plane.kubeconfig, namespace, String(workers)];
    const launch = { command: process.execPath, args };
    return (await runClient(launch, { core: loadCore, timeoutMs: 600_000 })) as Round['loader'];
  }

  async #operate(name: string, count: number): Promise<Round['operator']> {
    this.#namespaces.set(name, count);
    const operator = await OperatorProcess.start(this.#access, lease, [name]);
    const began = await operator.until('it leads', ({ leads }) => leads);
    const before = operator.usage;
    const ended = await operator.until('all serve', ({ isIdle }) => isIdle && this.#node.ready(name) === count);
    const after = operator.usage;
    const { writes = Number.NaN } = (await operator.figures()) ?? {};
    this.results.rssMiB = Math.max(this.results.rssMiB ?? 0, after.rssBytes / 2 ** 20);
    await operator.stop();
    return { writes, ms: ended - began, cpuMs: (after.cpuMicros - before.cpuMicros) / 1_000 };
  }

  async #resources(namespace: string, count: number): Promise<void> {
    await this.#namespace(namespace);
    const spec = { versions: [{ name: 'v1', uri: 'file:///models/1' }] };
    await inParallel(count, (index) => {
      const object = { metadata: { namespace, name: `model-${index}` }, spec } as StoredObject;
      return this.#client.apply(modelDeployments, object, { fieldManager: 'kubectl' });
    });
  }

  async #namespace(name: string): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'Namespace', metadata: { name } };
    await this.#client.call({ method: 'POST', path: '/api/v1/namespaces', body });
  }
}

function tableOf({ rounds, rssMiB, converged, resync, failOver }: Results): string {
  const seconds = (values: readonly number[]) => values.map((value) => figure(value / 1_000)).join(', ');
  const rows = [
    ...rounds.map(({ resources, operator, loader }, i) => [
      `round ${i + 1}: ${resources} resources`,
      `operator ${seconds([operator.ms])} s, loader ${seconds([loader.ms])} s`,
      `${figure(operator.writes / resources)} and ${figure(loader.writes / resources)} writes a resource, ` +
        `${figure(operator.cpuMs / 1_000 / resources)} CPU-seconds a resource`,
    ]),
    ...(rssMiB === undefined ? [] : [['resident memory of a round', `${figure(rssMiB)} MiB`, 'the largest seen']]),
    ...(converged
      ? [
          [
            `converged, ${converged.seconds} s`,
            `${converged.writes} writes`,
            `${figure(converged.cpuPercent)} % of a core`,
          ],
        ]
      : []),
    ...(resync
      ? [
          [
            `cold resync of ${resync.resources}`,
            `${seconds([resync.ms])} s`,
            `from the start of the process to the last look; ${figure(resync.rssMiB)} MiB`,
          ],
        ]
      : []),
    ...(failOver.term.length === 0
      ? []
      : [['fail-over under edits', `SIGTERM ${seconds(failOver.term)} s`, `SIGKILL ${seconds(failOver.kill)} s`]]),
  ];
  return `### Operator\n\n${markdownTable(['', '', ''], rows)}`;
}

const parts = ['writes', 'rest', 'resync'] as const;

export const operator: Benchmark = {
  summary: 'ModelDeployments on a real API server: writes, memory, rest, resync and fail-over of the operator',
  async run(_, options) {
    const unknown = options.only.find((name) => !(parts as readonly string[]).includes(name));
    if (unknown !== undefined) throw new UsageError(`--only: found ${unknown}; allowed: ${parts.join(', ')}`);
    const missing = await missingControlPlane();
    if (missing !== undefined) throw new UsageError(missing);
    const plane = await startControlPlane();
    try {
      const bench = new Bench(plane, options);
      const problems = new Set<string>();
      await bench.prepare((error) => problems.add(`the stand-in for nodes: ${String(error)}`));
      const chosen = parts.filter((part) => options.only.length === 0 || options.only.includes(part));
      if (chosen.includes('writes')) await bench.measureWrites(options.quick ? 50 : 1_000);
      if (chosen.includes('rest'))
        await bench.measureRest(options.quick ? 50 : 1_000, options.quick ? 5 : Math.min(options.minutes, 10) * 60);
      if (chosen.includes('resync')) await bench.measureResync(options.quick ? 200 : 5_000);
      await bench.close();
      const { results } = bench;
      const tables = [tableOf(results)];
      return { results, tables, verdicts: judge(bars, results), problems: [...problems], doubts: [] };
    } finally {
      await plane.remove();
    }
  },
};
