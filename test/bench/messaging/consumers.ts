import { fileURLToPath } from 'node:url';
import * as z from 'zod';
import { messageOf } from '../../../api/errors.ts';
import { type Launch, loadCore, runClient, runToEnd } from '../process.ts';
import { usage } from '../procfs.ts';
import { node } from './launch.ts';
import { perfTest, python, rabbitmqClient } from './peers.ts';

const drainPy = fileURLToPath(new URL('./clients/drain.py', import.meta.url));

export const consumerNames = [
  'levada',
  'amqplib',
  'amqplib-each',
  'rabbitmq-client',
  'pika',
  'aio-pika',
  'perf-test',
] as const;
export type ConsumerName = (typeof consumerNames)[number];

/** A queue to be emptied. */
export interface Work {
  uri: string;
  queue: string;
  prefetch: number;
  warmUp: number;
  count: number;
}

const drained = z.object({
  /** After the warm-up. */
  count: z.int().positive(),
  seconds: z.number().positive(),
  cpu: z.number().nonnegative(),
  /** Of the process from its start to its end. */
  processCpu: z.number().nonnegative(),
});
export type Drained = z.output<typeof drained>;

export type Consumer = (work: Work) => Promise<Drained>;

const timeoutMs = 300_000;

/** Messages that one acknowledgement is for, of those who group. */
export const group = 20;

const client =
  (launch: (work: Work) => Launch): Consumer =>
  async (work) =>
    drained.parse(await runClient(launch(work), { core: loadCore, timeoutMs }));

/** Installs what a consumer needs. */
export const prepare: Record<ConsumerName, () => Promise<Consumer>> = {
  levada: async () => client((work) => node('drain-levada', { ...work })),
  amqplib: async () => client((work) => node('drain-amqplib', { ...work, group })),
  'amqplib-each': async () => client((work) => node('drain-amqplib', { ...work, group: 1 })),
  'rabbitmq-client': async () => {
    const packages = await rabbitmqClient();
    return client((work) => node('drain-rabbitmq-client', { ...work, packages }));
  },
  pika: async () => pythonConsumer('pika', await python()),
  'aio-pika': async () => pythonConsumer('aio-pika', await python()),
  'perf-test': async () => perfTestConsumer(await perfTest()),
};

const pythonConsumer = (name: string, command: string): Consumer =>
  client(({ uri, queue, prefetch, warmUp, count }) => ({
    command,
    args: [drainPy, name, uri, queue, ...[prefetch, warmUp, count].map(String)],
  }));

/** RabbitMQ's own measure. It does not parse, and its clock can be read each second only: its warm-up is whole seconds. */
function perfTestConsumer(classPath: string): Consumer {
  return async ({ uri, queue, prefetch, warmUp, count }) => {
    const total = warmUp + count;
    const size = Math.max(1, Math.min(group, Math.floor(prefetch / 2)));
    const options = {
      ...{ '--uri': uri, '--producers': 0, '--consumers': 1, '--queue': queue, '--qos': prefetch },
      ...{ '--multi-ack-every': size, '--cmessages': total, '--interval': 1, '--metrics-format': 'compact' },
    };
    const flags = Object.entries(options).flatMap(([name, value]) => [name, String(value)]);
    const args = ['-cp', classPath, 'com.rabbitmq.perf.PerfTest', '--predeclared', ...flags];
    const cpuAt: number[] = [];
    const output = await runToEnd(
      { command: 'java', args },
      {
        ...{ core: loadCore, timeoutMs },
        onLine: (line, pid) => {
          if (interval.test(line) || end.test(line)) cpuAt.push(usage(pid).cpuMicros / 1e6);
        },
      },
    );
    return { ...timingOf(output, { total, warmUp }, cpuAt), processCpu: cpuAt.at(-1) ?? 0 };
  };
}

const interval = /^([\d.]+)s\s+([\d,]+) msg\/s/;
const end = /^test stopped/;
const average = /^receiving rate avg: ([\d,]+) msg\/s/m;

/**
 * Of PerfTest's output, after the first seconds, in which it is compiled and takes at least the warm-up's messages. Of
 * all of it, when it was through by then, as it is in a quick run.
 *
 * @param cpuAt CPU seconds at each line of an interval and at the end
 */
export function timingOf(
  output: string,
  { total, warmUp }: { total: number; warmUp: number },
  cpuAt: readonly number[],
): Omit<Drained, 'processCpu'> {
  const number = (text: string | undefined) => Number(text?.replaceAll(',', ''));
  const seconds = total / number(average.exec(output)?.[1]);
  if (!(seconds > 0)) throw new Error(`PerfTest said no rate:\n${output.slice(-2000)}`);
  let taken = 0;
  let at = 0;
  let lines = 0;
  for (const line of output.split('\n')) {
    const found = interval.exec(line);
    if (!found || (lines > 0 && taken >= warmUp)) continue;
    taken += number(found[2]) * (number(found[1]) - at);
    at = number(found[1]);
    lines++;
  }
  const cpu = cpuAt.at(-1) ?? 0;
  if (seconds - at < shortest) return { count: total, seconds, cpu };
  return { count: Math.round(total - taken), seconds: seconds - at, cpu: cpu - (cpuAt[lines - 1] ?? 0) };
}

/** Seconds: a rate of less says nothing, and PerfTest's average is a whole number. */
const shortest = 0.2;

/** Those that can be had here, and why the others cannot. */
export async function prepareConsumers(
  names: readonly ConsumerName[],
): Promise<{ consumers: Map<ConsumerName, Consumer>; missing: string[] }> {
  const consumers = new Map<ConsumerName, Consumer>();
  const missing: string[] = [];
  for (const name of names) {
    try {
      consumers.set(name, await prepare[name]());
    } catch (error) {
      missing.push(`${name} is not measured: ${messageOf(error)}`);
    }
  }
  return { consumers, missing };
}
