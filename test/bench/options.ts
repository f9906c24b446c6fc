import { parseArgs } from 'node:util';

export interface Options {
  rounds: number;
  /** Length of one sample. */
  seconds: number;
  warmUpSeconds: number;
  coldStarts: number;
  /** Of the soak. */
  minutes: number;
  /** Length of one of the soak's "minutes". */
  minuteSeconds: number;
  quick: boolean;
  /** Empty: everything. */
  only: string[];
  /** Version of RabbitMQ. */
  broker: string;
  /** Decides the order in which servers are measured and rows are sent. */
  seed: number;
}

export const usage = `npm run bench -- NAME [--quick] [--rounds N] [--seconds N] [--minutes N] [--only a,b] [--broker V] [--seed N]

  --quick      two short rounds: shows that everything works, not how fast it is
  --rounds     samples of each server (default 5; --quick 2)
  --seconds    length of a sample (default 10; --quick 2)
  --minutes    length of the soak (default 30; --quick 6 "minutes" of 5 s)
  --only       servers and parts to measure, comma-separated (default all)
  --broker     version of RabbitMQ (default 4.3)
  --seed       repeats the order of an earlier run

Example: npm run bench -- inference --only throughput,levada,echo --rounds 3`;

export class UsageError extends Error {}

export function parseOptions(argv: readonly string[]): { name: string; options: Options } {
  const { values, positionals } = parse(argv);
  const [name] = positionals;
  if (name === undefined || positionals.length > 1) throw new UsageError('name one benchmark');
  const quick = values.quick ?? false;
  return {
    name,
    options: {
      quick,
      rounds: count('rounds', values.rounds, quick ? 2 : 5, 50),
      seconds: count('seconds', values.seconds, quick ? 2 : 10, 600),
      warmUpSeconds: quick ? 1 : 2,
      coldStarts: quick ? 5 : 20,
      minutes: count('minutes', values.minutes, quick ? 6 : 30, 24 * 60),
      minuteSeconds: quick ? 5 : 60,
      only: values.only?.split(',').filter((part) => part !== '') ?? [],
      broker: values.broker ?? '4.3',
      seed: count('seed', values.seed, 1 + Math.floor(Math.random() * 1e9), 1e9),
    },
  };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        quick: { type: 'boolean' },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        minutes: { type: 'string' },
        only: { type: 'string' },
        broker: { type: 'string' },
        seed: { type: 'string' },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function count(name: string, text: string | undefined, fallback: number, max: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > max) {
    throw new UsageError(`--${name}: found ${text}; allowed: a whole number from 1 to ${max}`);
  }
  return value;
}

/** Splits `--only` over the lists it may name; a list it names nothing of stands whole. */
export function select<A extends string, B extends string>(
  only: readonly string[],
  first: readonly A[],
  second: readonly B[],
): [A[], B[]] {
  const unknown = only.filter((part) => ![...first, ...second].some((name) => name === part));
  if (unknown.length > 0) {
    throw new UsageError(`--only: found ${unknown.join(', ')}; allowed: ${[...first, ...second].join(', ')}`);
  }
  const pick = <T extends string>(names: readonly T[]) => {
    const chosen = names.filter((name) => only.includes(name));
    return chosen.length > 0 ? chosen : [...names];
  };
  return [pick(first), pick(second)];
}
