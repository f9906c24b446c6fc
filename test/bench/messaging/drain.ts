import { messageOf } from '../../../api/errors.ts';
import type { Options } from '../options.ts';
import { loadCore, serverCore } from '../process.ts';
import { coreTimes, usage } from '../procfs.ts';
import { generator, rotated, shuffled } from '../statistics.ts';
import { figure } from '../table.ts';
import { type Broker, type QueueType, queueTypes } from './broker.ts';
import type { Consumer, ConsumerName } from './consumers.ts';

export const prefetches = [50, 200, 1] as const;
export type Prefetch = (typeof prefetches)[number];

export interface DrainSample {
  consumer: ConsumerName;
  type: QueueType;
  prefetch: Prefetch;
  round: number;
  perSecond: number;
  /** Messages a second of the consumer's CPU. */
  perCpuSecond: number;
  /**
   * Messages that are in the queue afterwards. A quorum queue's channel keeps acknowledgements back that come too
   * quickly one by one, and forgets them when it is closed at once: up to the prefetch comes back, whoever consumes.
   */
  left: number;
  /** Shares of the two cores that neither the broker nor the consumer used. */
  foreign: { broker: number; consumer: number };
}

/** With one message under way, each is a round trip: there are fewer of them. */
export function amounts(prefetch: number, quick: boolean): { warmUp: number; count: number } {
  if (prefetch === 1) return quick ? { warmUp: 500, count: 2_000 } : { warmUp: 1_000, count: 10_000 };
  return quick ? { warmUp: 5_000, count: 60_000 } : { warmUp: 20_000, count: 200_000 };
}

/**
 * Each consumer empties a queue of its own, filled for it, in a process of its own; they take turns. Adds to `samples`
 * as it goes. A consumer that fails is a problem, and the others go on.
 */
export async function measureDrains(
  broker: Broker,
  consumers: ReadonlyMap<ConsumerName, Consumer>,
  { rounds, quick, seed }: Pick<Options, 'rounds' | 'quick' | 'seed'>,
  samples: DrainSample[],
  problems: string[],
): Promise<void> {
  const order = shuffled([...consumers], generator(seed));
  for (let round = 0; round < rounds; round++) {
    for (const type of queueTypes) {
      for (const prefetch of prefetches) {
        for (const [name, consumer] of rotated(order, round, rounds)) {
          const label = `${name}, ${type} queue, prefetch ${prefetch}`;
          try {
            const sample = {
              consumer: name,
              type,
              prefetch,
              round,
              ...(await drain(broker, consumer, type, prefetch, quick)),
            };
            samples.push(sample);
            console.error(`drain  round ${round + 1}/${rounds}  ${label}: ${figure(sample.perSecond)} msg/s`);
          } catch (error) {
            problems.push(`drain: ${label}, round ${round + 1}: ${messageOf(error)}`);
          }
        }
      }
    }
  }
}

export async function drain(broker: Broker, consumer: Consumer, type: QueueType, prefetch: Prefetch, quick: boolean) {
  const { warmUp, count } = amounts(prefetch, quick);
  const queue = await broker.fill(type, warmUp + count);
  try {
    const look = () => ({
      broker: usage(broker.pid).cpuMicros,
      server: coreTimes(serverCore),
      load: coreTimes(loadCore),
    });
    const before = look();
    const found = await consumer({ uri: broker.uri, queue, prefetch, warmUp, count });
    const after = look();
    const left = await broker.ready(queue, 0);
    if (left > prefetch) throw new Error(`it has left ${left} messages of ${warmUp + count}`);
    const share = (core: 'server' | 'load', ours: number) => {
      const others = after[core].processMicros - before[core].processMicros - ours;
      return Math.max(0, others / (after[core].totalMicros - before[core].totalMicros));
    };
    return {
      perSecond: found.count / found.seconds,
      perCpuSecond: found.count / found.cpu,
      left,
      foreign: {
        broker: share('server', after.broker - before.broker),
        consumer: share('load', found.processCpu * 1e6),
      },
    };
  } finally {
    await broker.remove(queue);
  }
}
