/**
 * `npm run sim`: rollouts of good and bad models with a fake clock and seeded traffic, under our rules and those of others. Prints what
 * became of them beside the bars; exits 1 when one is missed.
 */
import { parseArgs } from 'node:util';
import { messageOf } from '../../api/errors.ts';
import { cases } from './cases.ts';
import { alphaTable, casesTable, checkAlpha, type Result, runCase } from './sim.ts';

const usage = `npm run sim -- [--seeds N] [--seed N] [--only TEXT]

  --seeds   rollouts a case (default 5000)
  --seed    repeats an earlier run
  --only    cases whose name has this text

Example: npm run sim -- --seeds 500 --only errors`;

function number(name: string, text: string | undefined, fallback: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1e9) {
    throw new Error(`--${name}: found ${text}; allowed: a whole number from 1 to 1000000000`);
  }
  return value;
}

function options(args: string[]) {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({ args, options: { seeds: text, seed: text, only: text, help: { type: 'boolean' } } });
  const chosen = cases.filter(({ name }) => name.includes(values.only ?? ''));
  if (chosen.length === 0) {
    throw new Error(`--only: found ${values.only}; allowed: a part of ${cases.map(({ name }) => name).join(', ')}`);
  }
  return {
    help: values.help ?? false,
    chosen,
    seeds: number('seeds', values.seeds, 5_000),
    seed: number('seed', values.seed, 1 + Math.floor(Math.random() * 1e9)),
  };
}

function run({ chosen, seeds, seed }: ReturnType<typeof options>): number {
  console.error(`${seeds} seeds a case, from ${seed}`);
  const results: Result[] = [];
  for (const one of chosen) {
    const start = performance.now();
    results.push(...runCase(one, seeds, seed));
    console.error(`  ${one.name}: ${((performance.now() - start) / 1_000).toFixed(1)} s`);
  }
  const alphas = checkAlpha(seeds, seed);
  console.log(`${seeds} rollouts a case at 50 requests/s, seed ${seed}. "most weight", "seconds" to the end and requests "harmed"
(the candidate failed, was too slow or said something else) are median / p99. Under Levada the stable side
answers what the candidate fails at: its callers see no error of it, under the others they see each.\n`);
  console.log(`${casesTable(results)}\n\n${alphaTable(alphas)}`);
  return [...results, ...alphas].every(({ holds }) => holds !== false) ? 0 : 1;
}

try {
  const parsed = options(process.argv.slice(2));
  if (parsed.help) console.log(usage);
  else process.exitCode = run(parsed);
} catch (error) {
  console.error(`${messageOf(error)}\n\n${usage}`);
  process.exitCode = 2;
}
