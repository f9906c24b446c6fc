import { parseArgs } from 'node:util';

/** What every client is told: `--name value`. A number that is not given is 0. */
export interface ClientOptions {
  uri: string;
  queue: string;
  /** Where packages are that this project does not depend on. */
  packages: string;
  /** `publish` or `consume`, of those that do either. */
  role: string;
  prefetch: number;
  /** Messages that one acknowledgement is for. */
  group: number;
  /** Messages before the ones that are timed. */
  warmUp: number;
  count: number;
  /** Messages that wait for their confirmation at once. */
  outstanding: number;
  /** Messages a second. */
  rate: number;
}

const texts = ['uri', 'queue', 'packages', 'role'] as const;
const numbers = ['prefetch', 'group', 'warmUp', 'count', 'outstanding', 'rate'] as const;

export function clientOptions(): ClientOptions {
  const options = Object.fromEntries([...texts, ...numbers].map((name) => [name, { type: 'string' as const }]));
  const { values } = parseArgs({ options });
  return Object.fromEntries([
    ...texts.map((name) => [name, values[name] ?? '']),
    ...numbers.map((name) => [name, Number(values[name] ?? 0)]),
  ]) as ClientOptions;
}

/** The client's last words. */
export function printResult(result: object): void {
  process.stdout.write(`RESULT ${JSON.stringify(result)}\n`, () => process.exit(0));
}
