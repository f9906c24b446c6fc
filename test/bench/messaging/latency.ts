import * as z from 'zod';
import type { Options } from '../options.ts';
import { loadCore, runClient } from '../process.ts';
import { median } from '../statistics.ts';
import { figure } from '../table.ts';
import type { Broker } from './broker.ts';
import { group } from './consumers.ts';
import { node } from './launch.ts';
import { newPipeline, type Publisher, publishers } from './publish.ts';

export interface LatencySample {
  client: Publisher;
  round: number;
  /** Messages a second. */
  rate: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

const latencies = z.object({
  ...{ count: z.int().positive(), p50Ms: z.number(), p99Ms: z.number(), maxMs: z.number() },
  queue: z.string().optional(),
});

/**
 * Half of what can go through: each message costs the broker's core its way in and its way out.
 *
 * @param published, drained messages a second, each alone
 */
export function halfLoad(published: readonly number[], drained: readonly number[]): number {
  const through = 1 / (1 / median(published) + 1 / median(drained));
  return Math.max(1, Math.round(through / 2));
}

/** From due to read, at one rate for both; who is first alternates. Adds to `samples` as it goes. */
export async function measureLatency(
  broker: Broker,
  { rounds, seconds }: Pick<Options, 'rounds' | 'seconds'>,
  rate: number,
  samples: LatencySample[],
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (const client of round % 2 === 0 ? publishers : publishers.toReversed()) {
      const { p50Ms, p99Ms, maxMs } = await passage(broker, client, rate, seconds);
      samples.push({ client, round, rate, p50Ms, p99Ms, maxMs });
      const text = `p50 ${figure(p50Ms)} ms, p99 ${figure(p99Ms)} ms at ${figure(rate)} msg/s`;
      console.error(`latency  round ${round + 1}/${rounds}  ${client}: ${text}`);
    }
  }
}

async function passage(broker: Broker, client: Publisher, rate: number, seconds: number) {
  const queue = client === 'levada' ? newPipeline() : await broker.declare('quorum');
  const shape = { rate, warmUp: rate, count: rate * seconds };
  const options = { uri: broker.uri, queue, prefetch: 200, group, ...shape };
  const launch = (role: 'consume' | 'publish') => node(`latency-${client}`, { ...options, role });
  const run = { core: loadCore, timeoutMs: (seconds + 30) * 1000 };
  const ready = Promise.withResolvers<void>();
  const consumer = runClient(launch('consume'), {
    ...run,
    onLine: (line) => {
      if (line === 'READY') ready.resolve();
    },
  });
  consumer.catch(ready.reject);
  await ready.promise;
  const [result] = await Promise.all([consumer, runClient(launch('publish'), run)]);
  const found = latencies.parse(result);
  await broker.remove(found.queue ?? queue);
  return found;
}
