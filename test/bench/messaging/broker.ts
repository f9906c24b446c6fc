import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type ChannelModel, connect } from 'amqplib';
import { type RabbitVersion, rabbitVersions } from '../../../hack/rabbitmq.ts';
import { UsageError } from '../options.ts';
import { loadCore, pinned, runClient, serverCore } from '../process.ts';
import { coreTimes } from '../procfs.ts';
import { node } from './launch.ts';

const brokerProcess = fileURLToPath(new URL('./broker-process.ts', import.meta.url));

export const queueTypes = ['quorum', 'classic'] as const;
export type QueueType = (typeof queueTypes)[number];

/** A real broker on one core, and what the benchmark does with it between the samples. */
export interface Broker {
  readonly uri: string;
  readonly version: string;
  readonly pid: number;
  /** A new queue of so many messages, and a broker that has nothing left to do. @returns its name */
  fill(type: QueueType, count: number): Promise<string>;
  declare(type: QueueType): Promise<string>;
  /** Messages that wait; asked again for a while, until there are as many as expected. */
  ready(queue: string, expected: number): Promise<number>;
  remove(queue: string): Promise<void>;
  stop(): Promise<void>;
}

export function knownVersion(version: string): RabbitVersion {
  const known = rabbitVersions.find((one) => one === version);
  if (known === undefined) throw new UsageError(`--broker: found ${version}; allowed: ${rabbitVersions.join(', ')}`);
  return known;
}

export async function startBroker(version: RabbitVersion): Promise<Broker> {
  const { command, args } = pinned({ command: process.execPath, args: [brokerProcess, version] }, serverCore);
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  });
  const uri = await new Promise<string | undefined>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('BROKER ')) resolve(line.slice('BROKER '.length));
    });
    void ended.then(() => resolve(undefined));
  });
  if (uri === undefined) throw new Error(`RabbitMQ ${version} did not start`);
  const stop = async () => {
    child.stdin.end();
    await ended;
  };
  try {
    const connection = await connect(uri, { noDelay: true });
    // Without a listener it would end the process; what is asked next says so.
    connection.on('error', (error: Error) => console.error(`the broker: ${error.message}`));
    return {
      ...{ uri, pid: child.pid ?? 0, ...queuesOf(uri, connection) },
      version: String((connection.connection.serverProperties as { version?: unknown }).version),
      async stop() {
        await connection.close().catch(() => {}); // it ends anyway
        await stop();
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function queuesOf(uri: string, connection: ChannelModel): Pick<Broker, 'fill' | 'declare' | 'ready' | 'remove'> {
  let made = 0;
  const use = async <T>(work: (channel: Awaited<ReturnType<ChannelModel['createChannel']>>) => Promise<T>) => {
    const channel = await connection.createChannel();
    channel.on('error', () => {}); // the call rejects
    const result = await work(channel);
    await channel.close();
    return result;
  };
  const declare = (type: QueueType) =>
    use(async (channel) => {
      const options = { durable: true, arguments: { 'x-queue-type': type } };
      return (await channel.assertQueue(`bench-${++made}`, options)).queue;
    });
  return {
    declare,
    async fill(type, count) {
      const queue = await declare(type);
      await runClient(node('fill', { uri, queue, count, outstanding: 2000 }), { core: loadCore, timeoutMs: 300_000 });
      await idle();
      return queue;
    },
    async ready(queue, expected) {
      // What a closed channel has sent may be under way inside the broker, and counts are kept aside.
      for (const deadline = performance.now() + 3_000; ; await sleep(50)) {
        const { messageCount } = await use((channel) => channel.checkQueue(queue));
        if (messageCount === expected || performance.now() > deadline) return messageCount;
      }
    },
    async remove(queue) {
      await use((channel) => channel.deleteQueue(queue));
    },
  };
}

/** What a broker still does for the queue before must not be in the next figure. Others' work is not waited for. */
async function idle(): Promise<void> {
  for (const deadline = performance.now() + 2_000; performance.now() < deadline; ) {
    const before = coreTimes(serverCore);
    await sleep(200);
    const after = coreTimes(serverCore);
    if (after.idleMicros - before.idleMicros > 0.9 * (after.totalMicros - before.totalMicros)) return;
  }
}
