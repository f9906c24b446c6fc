/**
 * `npm run prove -- NAME`: everything that a capability claims, at full length. Figures stand beside their bars, and go
 * with seed, commit and machine to test/bench/results.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { commit, machine, store } from '../test/bench/results.ts';
import { type ChaosReport, chaos } from '../test/chaos/rabbitmq.ts';
import { rabbitVersions } from './rabbitmq.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

interface Proof {
  readonly summary: string;
  /** @returns whether every bar holds */
  run(options: Options): Promise<boolean>;
}

interface Options {
  /** Of each chaos run. */
  readonly seconds: number;
  readonly seed: number;
}

/** Runs a script of this project to its end. @returns whether it succeeded */
function runScript(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
    child.on('error', (error) => {
      console.error(error.message);
      resolve(false);
    });
    child.on('exit', (code) => resolve(code === 0));
  });
}

function holds({ lost, repeated, repeatedAtMost, accepted }: ChaosReport): boolean {
  return accepted > 0 && lost.length === 0 && repeated <= repeatedAtMost;
}

async function rabbitmq({ seconds, seed }: Options): Promise<boolean> {
  const date = new Date();
  const about = { name: 'chaos-rabbitmq', date: date.toISOString(), seed, ...commit(), machine: machine() };
  const reports: ChaosReport[] = [];
  for (const version of rabbitVersions) {
    const report = await chaos({ version, seconds, seed, perSecond: 100, log: (text) => console.log(text) });
    reports.push(report);
    const { accepted, posted, lost, duplicates, repeated, repeatedAtMost, deadLetters, faults } = report;
    const done = Object.entries(faults).map(([name, count]) => `${name} ${count}`);
    console.log(
      `\nRabbitMQ ${version}, ${seconds} s (${done.join(', ')})\n` +
        `  accepted    ${accepted} of ${posted}\n  lost        ${lost.length} (bar: 0)\n` +
        `  repeated    ${repeated} deliveries (bar: ${repeatedAtMost})\n` +
        `  duplicates  ${duplicates}\n  dead        ${deadLetters}\n`,
    );
  }
  console.log(`Stored: ${store('chaos-rabbitmq', date, { ...about, reports })}`);
  const env = { LEVADA_PROVE: 'true' };
  const tests = await runScript(['node_modules/vitest/vitest.mjs', 'run', '--project', 'rabbitmq'], env);
  const bench = await runScript(['test/bench/main.ts', 'messaging']);
  console.log(`chaos ${reports.every(holds)}, tests ${tests}, benchmark ${bench}`);
  return reports.every(holds) && tests && bench;
}

/** The whole cluster with its faults, then operators that are killed after each write, then the benchmark. */
async function operator(): Promise<boolean> {
  const cluster = await runScript(['hack/test.ts', '--project=e2e']);
  const faults = await runScript(['node_modules/vitest/vitest.mjs', 'run', '--project', 'cluster'], {
    LEVADA_PROVE: 'true',
  });
  const files = ['pipelines', 'pipelines-killed', 'pipeline-pods'].map((name) => `operator/${name}.rabbitmq.test.ts`);
  const pipelines = await runScript(['node_modules/vitest/vitest.mjs', 'run', ...files], { LEVADA_PROVE: 'true' });
  const bench = await runScript(['test/bench/main.ts', 'operator']);
  console.log(`cluster ${cluster}, faults ${faults}, pipelines ${pipelines}, benchmark ${bench}`);
  return cluster && faults && pipelines && bench;
}

/** What is claimed of `levada up`, under load: at full length what `npm test` has a part of. */
const local = (): Promise<boolean> => {
  const files = ['ledger', 'live-edits', 'switch'].map((name) => `test/integration/${name}.test.ts`);
  return runScript(['node_modules/vitest/vitest.mjs', 'run', ...files], { LEVADA_PROVE: 'true' });
};

/** What is claimed of rollouts: by simulation, under load on this machine and on a cluster, and what sharing requests out costs. */
async function rollout({ seed }: Options): Promise<boolean> {
  const sim = await runScript(['test/sim/main.ts', '--seed', String(1 + (seed % 1_000_000_000))]);
  const files = ['rollout-load', 'rollout', 'split'].map((name) => `test/integration/${name}.test.ts`);
  const tests = await runScript(['node_modules/vitest/vitest.mjs', 'run', '--project', 'levada', ...files], {
    LEVADA_PROVE: 'true',
  });
  const cluster = await runScript(['hack/test.ts', '--project=e2e', 'test/e2e/rollout.e2e.test.ts']);
  const bench = await runScript(['test/bench/main.ts', 'routing']);
  console.log(`simulation ${sim}, tests ${tests}, cluster ${cluster}, benchmark ${bench}`);
  return sim && tests && cluster && bench;
}

const proofs: Readonly<Record<string, Proof>> = {
  local: {
    summary: 'ten thousand orders with kills, fifty live edits, fifty switches of a model under load',
    run: local,
  },
  rabbitmq: { summary: 'chaos on each version, faults and pitfalls, the messaging benchmark', run: rabbitmq },
  operator: { summary: 'a whole cluster (needs root), its faults, the benchmark of the operator', run: operator },
  rollout: {
    summary:
      'the simulation, bad models and changed splits under load, rollouts on a cluster (needs root), the routing benchmark',
    run: rollout,
  },
};

async function main([name = '', ...flags]: string[]): Promise<number> {
  const proof = Object.hasOwn(proofs, name) ? proofs[name] : undefined;
  const wrong = flags.find((flag) => !/^--(seconds|seed)=\d+$/.test(flag));
  if (!proof || wrong !== undefined) {
    const names = Object.entries(proofs).map(([one, { summary }]) => `  ${one}  ${summary}`);
    console.error(`npm run prove -- NAME [--seconds=300] [--seed=N]\n\n${names.join('\n')}`);
    return name === '--help' ? 0 : 2;
  }
  const number = (flag: string) => Number(flags.find((one) => one.startsWith(`--${flag}=`))?.split('=')[1]);
  const options = { seconds: number('seconds') || 300, seed: number('seed') || Math.floor(Math.random() * 2 ** 31) };
  console.log(`seed ${options.seed}`);
  return (await proof.run(options)) ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
