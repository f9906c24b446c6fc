import * as z from 'zod';
import type { Options } from '../options.ts';
import { loadCore, runClient } from '../process.ts';
import { figure } from '../table.ts';
import type { Broker } from './broker.ts';
import { node } from './launch.ts';

export const publishers = ['levada', 'amqplib'] as const;
export type Publisher = (typeof publishers)[number];

export interface PublishSample {
  client: Publisher;
  round: number;
  /** Confirmed. */
  perSecond: number;
  perCpuSecond: number;
}

const published = z.object({
  ...{ count: z.int().positive(), seconds: z.number().positive(), cpu: z.number().positive() },
  queue: z.string().optional(),
});

/** Messages that wait for their confirmation at once. */
export const outstanding = 500;

/** Both in each round, to a quorum queue each; who is first alternates. Adds to `samples` as it goes. */
export async function measurePublishing(
  broker: Broker,
  { rounds, quick }: Pick<Options, 'rounds' | 'quick'>,
  samples: PublishSample[],
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (const client of round % 2 === 0 ? publishers : publishers.toReversed()) {
      const sample = { client, round, ...(await publish(broker, client, quick)) };
      samples.push(sample);
      console.error(`publish  round ${round + 1}/${rounds}  ${client}: ${figure(sample.perSecond)} msg/s confirmed`);
    }
  }
}

let pipelines = 0;
/** Names of pipelines that nobody has used. */
export const newPipeline = (): string => `bench/messaging-${++pipelines}`;

async function publish(broker: Broker, client: Publisher, quick: boolean) {
  const amount = quick ? { warmUp: 5_000, count: 20_000 } : { warmUp: 20_000, count: 100_000 };
  const ours = client === 'levada';
  const queue = ours ? newPipeline() : await broker.declare('quorum');
  const options = { uri: broker.uri, queue, outstanding, ...amount };
  const launch = node(ours ? 'publish-levada' : 'fill', options);
  const found = published.parse(await runClient(launch, { core: loadCore, timeoutMs: 120_000 }));
  const filled = found.queue ?? queue;
  const safe = await broker.ready(filled, amount.warmUp + amount.count);
  await broker.remove(filled);
  if (safe !== amount.warmUp + amount.count) {
    throw new Error(`${client}: of ${amount.warmUp + amount.count} confirmed messages ${safe} are there`);
  }
  return { perSecond: found.count / found.seconds, perCpuSecond: found.count / found.cpu };
}
