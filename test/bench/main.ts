/** `npm run bench -- NAME`: see README.md beside this file. */

import { failed } from './bars.ts';
import type { Benchmark } from './benchmark.ts';
import { openContext } from './context.ts';
import { fanout } from './fanout/fanout.ts';
import { inference } from './inference/inference.ts';
import { messaging } from './messaging/messaging.ts';
import { operator } from './operator/operator.ts';
import { type Options, parseOptions, UsageError, usage } from './options.ts';
import { killAll } from './process.ts';
import { commit, machine, store } from './results.ts';
import { routing } from './routing/routing.ts';
import { soak } from './soak.ts';
import { verdictTable } from './table.ts';
import { missingTools } from './wrk.ts';

const benchmarks = { fanout, inference, messaging, operator, routing, soak } satisfies Record<string, Benchmark>;

function isBenchmark(name: string): name is keyof typeof benchmarks {
  return Object.hasOwn(benchmarks, name);
}

async function run(name: keyof typeof benchmarks, options: Options): Promise<number> {
  const date = new Date();
  const about = { name, date: date.toISOString(), options, ...commit(), machine: machine() };
  console.error(`${name}, seed ${options.seed}${options.quick ? ', quick: figures mean little' : ''}`);
  const context = openContext();
  process.once('exit', () => {
    killAll();
    context.close();
  });
  const { results, tables, verdicts, problems, doubts } = await benchmarks[name].run(context, options);
  const valid = problems.length === 0;
  const file = store(name, date, { ...about, valid, problems, doubts, verdicts, results });
  console.log([`## ${name}`, ...tables, `### Bars\n\n${verdictTable(verdicts)}`].join('\n\n'));
  for (const doubt of doubts) console.log(`\nDoubtful: ${doubt}`);
  for (const problem of problems) console.log(`\nINVALID: ${problem}`);
  console.log(`\nSamples: ${file}`);
  return valid && !failed(verdicts) ? 0 : 1;
}

async function main(argv: readonly string[]): Promise<number> {
  if (argv.includes('--help')) {
    const names = Object.entries(benchmarks).map(([name, { summary }]) => `  ${name.padEnd(12)} ${summary}`);
    console.log([usage, '', 'NAME:', ...names].join('\n'));
    return 0;
  }
  try {
    const { name, options } = parseOptions(argv);
    if (!isBenchmark(name)) {
      throw new UsageError(`found ${name}; allowed: ${Object.keys(benchmarks).join(', ')}`);
    }
    const missing = missingTools();
    if (missing.length > 0) throw new UsageError(missing.join('\n'));
    return await run(name, options);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(`${error.message}\n\n--help says more`);
    return 2;
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
process.exit(await main(process.argv.slice(2)));
