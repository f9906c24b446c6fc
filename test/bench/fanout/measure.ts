import * as z from 'zod';
import { ensurePython } from '../../../cli/python.ts';
import type { Options } from '../options.ts';
import { percentile } from '../statistics.ts';
import { figure } from '../table.ts';
import { aiohttpClient, ourClient, runClient, type Upstream } from './run.ts';

const deadlineResult = z.object({ latencies: z.array(z.number()), incomplete: z.int() });
const rateResult = z.object({ requests: z.int(), wall: z.number().positive(), cpu: z.number().positive() });
const flatResult = z.object({
  samples: z.array(
    z.object({
      calls: z.int(),
      heap: z.number(),
      sockets: z.int(),
      kept: z.int(),
      resources: z.int(),
      listeners: z.int(),
    }),
  ),
  socketsAfterClose: z.int(),
});
const neighbourResult = z.object({
  rounds: z.array(z.object({ alone: z.array(z.number()), beside: z.array(z.number()), late: z.int() })),
});

export interface RateSample {
  client: 'levada' | 'aiohttp';
  calls: number;
  round: number;
  perSecond: number;
  perCpuSecond: number;
}

export interface FanoutResults {
  deadline?: { calls: number; p50: number; p99: number; max: number; incomplete: number };
  rates: RateSample[];
  flat?: z.output<typeof flatResult>;
  neighbour?: Array<{ alone: number; beside: number; late: number }>;
}

export async function measureDeadline({ quick }: Upstream, { quick: isQuick }: Options) {
  const calls = isQuick ? 200 : 1000;
  const result = await runClient(ourClient('deadline', { quick, calls, parallel: 20 }), 120_000);
  const { latencies, incomplete } = deadlineResult.parse(result);
  const [p50 = 0, p99 = 0, max = 0] = [0.5, 0.99, 1].map((fraction) => percentile(latencies, fraction));
  console.error(`deadline  p50 ${figure(p50)} ms, p99 ${figure(p99)} ms, ${incomplete} incomplete`);
  return { calls: latencies.length, p50, p99, max, incomplete };
}

/** Events that are under way at once. */
export const eventCounts = [1, 8] as const;

/** Adds to `samples` as it goes. Both clients in each round, close together; who is first alternates. */
export async function measureRates({ quick }: Upstream, options: Options, samples: RateSample[]): Promise<void> {
  const python = await ensurePython('aiohttp', { onProgress: (line) => console.error(line) });
  // A client is hot sooner than a server, and there are many samples.
  const seconds = Math.max(1, options.seconds / 4);
  for (let round = 0; round < options.rounds; round++) {
    for (const calls of eventCounts) {
      const launches = {
        levada: ourClient('rate', { quick, calls, warmUpSeconds: 1, seconds }),
        aiohttp: aiohttpClient(python, [quick, calls, 1, seconds]),
      };
      const order = ['levada', 'aiohttp'] as const;
      for (const client of round % 2 === 0 ? order : order.toReversed()) {
        const { requests, wall, cpu } = rateResult.parse(await runClient(launches[client], (seconds + 60) * 1000));
        const sample = { client, calls, round, perSecond: requests / wall, perCpuSecond: requests / cpu };
        samples.push(sample);
        const text = `${figure(sample.perSecond)} req/s, ${figure(sample.perCpuSecond)} a second of CPU`;
        console.error(`rate  round ${round + 1}/${options.rounds}  ${client}, ${calls} events: ${text}`);
      }
    }
  }
}

/** Events that are under way at once, of 20 URLs each. */
export const flatEvents = 50;

export async function measureFlat({ quick }: Upstream, { quick: isQuick }: Options) {
  const calls = isQuick ? 2000 : 10_000;
  const result = flatResult.parse(await runClient(ourClient('flat', { quick, calls, parallel: flatEvents }), 180_000));
  const last = result.samples.at(-1);
  console.error(
    `flat  ${last?.calls} calls: heap ${figure((last?.heap ?? 0) / 2 ** 20)} MiB, ${last?.sockets} sockets`,
  );
  return result;
}

export async function measureNeighbour({ quick, slow }: Upstream, options: Options) {
  const shape = { quick, slow, rounds: options.quick ? 3 : 8, seconds: 2, perSecond: 150 };
  const { rounds } = neighbourResult.parse(await runClient(ourClient('neighbour', shape), 180_000));
  return rounds.map(({ alone, beside, late }) => {
    const found = { alone: percentile(alone, 0.99), beside: percentile(beside, 0.99), late };
    console.error(`neighbour  p99 alone ${figure(found.alone)} ms, beside a slow origin ${figure(found.beside)} ms`);
    return found;
  });
}
