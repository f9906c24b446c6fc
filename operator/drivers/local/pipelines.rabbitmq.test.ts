/** Pipelines on a broker that come, go and come back, while the broker does as well. */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import type { ConsumerConfig } from '../../../api/contract/pipeline.ts';
import { LevadaError } from '../../../api/errors.ts';
import { settingsFromUri } from '../../../brokers/rabbitmq/settings.ts';
import { type RabbitVersion, startRabbit } from '../../../hack/rabbitmq.ts';
import { Others, userOf } from '../../../test/integration/rabbitmq/harness.ts';
import { freshVhost, onEachRabbit } from '../../../test/support/rabbitmq.ts';
import { until } from '../../../test/support/wait.ts';
import type { UnitPlan } from '../../plan/units.ts';
import { LocalPipelines } from './pipelines.ts';

const theirs = 'order_created_events';
const gone: UnitPlan = { units: [], fronts: [] };
const retry = { maxAttempts: 3, initialMs: 1_000, factor: 2, maxMs: 5_000 } as const;

/** Takes what is in somebody else's queue, and puts it into another one's. */
function planOf(pipeline: string, secret?: string): UnitPlan {
  const consumers: ConsumerConfig[] = [
    {
      kind: 'consumer',
      pipeline,
      name: 'legacy',
      action: { kind: 'adopt' },
      emits: [{ type: 'order' }],
      retry,
      concurrency: 2,
    },
    {
      kind: 'consumer',
      pipeline,
      name: 'mail',
      action: { kind: 'publish', exchange: '', routingKey: 'mail', format: 'json' },
      emits: [],
      retry,
      concurrency: 2,
    },
  ];
  const queues = [
    { name: 'legacy', bindings: [], adopts: theirs },
    { name: 'mail', bindings: [{ pipeline, type: 'order' }] },
  ];
  return {
    ...gone,
    pipeline: {
      topology: { pipeline, queues },
      sources: [],
      consumers,
      containers: [],
      ...(secret !== undefined && { broker: { kind: 'rabbitmq' as const, secret } }),
    },
  };
}

class Run implements AsyncDisposable {
  readonly name = `test/${randomUUID().slice(0, 8)}`;
  readonly owner = `EventPipeline/${this.name}`;
  readonly log: string[] = [];
  readonly secrets = new Map<string, Readonly<Record<string, string>>>();
  readonly pipelines: LocalPipelines;

  constructor(uri?: string) {
    this.pipelines = new LocalPipelines({
      environment: () => ({
        resolve: (url) => url,
        publish: () => Promise.reject(new LevadaError('BrokerUnavailable', { detail: 'steps run elsewhere' })),
      }),
      waitsFor: () => undefined,
      port: () => ({ port: 0, fixed: false }),
      pollMs: 100,
      ...(uri !== undefined && { broker: settingsFromUri(uri, 'the test') }),
      secret: (name) => this.secrets.get(name),
      secretNames: () => [...this.secrets.keys()],
      names: () => ({ local: {}, services: {} }),
      env: process.env,
      log: (part, text, error) => void this.log.push(`${part} ${text} ${error ?? ''}`),
      note: (text) => void this.log.push(text),
    });
  }

  apply(plan: UnitPlan): Promise<boolean> {
    return this.pipelines.apply(this.owner, plan);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pipelines.close();
  }
}

/** What has been put into theirs comes out of the mail queue. */
async function passes(others: Others, id: string): Promise<void> {
  await others.send(theirs, Buffer.from(`{"n":"${id}"}`), { messageId: id });
  await until(`${id} passes`, async () => {
    const found = await others.channel.get('mail', { noAck: true });
    return found !== false && found.content.toString().includes(id);
  });
}

async function prepare(uri: string): Promise<Others> {
  const others = await Others.open(settingsFromUri(uri, 'the test'));
  for (const queue of [theirs, 'mail']) await others.channel.assertQueue(queue, { durable: true });
  return others;
}

onEachRabbit((broker) => {
  test('one that is removed and comes back at once runs', { timeout: 120_000 }, async () => {
    const uri = await freshVhost(broker);
    await using others = await prepare(uri);
    await using run = new Run(uri);
    await run.apply(planOf(run.name));
    await passes(others, 'first');
    // At any moment of its being forgotten.
    for (const pauseMs of [0, 120, 400, 1_100, 2_300]) {
      await run.apply(gone);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      await run.apply(planOf(run.name));
      await passes(others, `after ${pauseMs} ms`);
    }
    expect(run.log.filter((line) => line.includes('could not'))).toEqual([]);
  });

  test('with another password it goes on, and the connections of the old one end', { timeout: 60_000 }, async () => {
    const uri = await freshVhost(broker);
    const settings = settingsFromUri(uri, 'the test');
    await using others = await prepare(uri);
    const all = { configure: '.*', write: '.*', read: '.*' };
    const users = [await userOf(broker, settings, all), await userOf(broker, settings, all)];
    const [old, next] = users.map(({ username, password, host, port, vhost }) => ({
      uri: `amqp://${username}:${password}@${host}:${port}/${vhost}`,
    }));
    await using run = new Run();
    run.secrets.set('test/rabbitmq', old!);
    await run.apply(planOf(run.name, 'test/rabbitmq'));
    await passes(others, 'old');
    run.secrets.set('test/rabbitmq', next!);
    await run.pipelines.reread();
    await passes(others, 'next');
    await until('who is not used any more has no connection', async () => {
      const authorization = `Basic ${Buffer.from('guest:guest').toString('base64')}`;
      const response = await fetch(`${broker.management}/api/vhosts/${settings.vhost}/connections`, {
        headers: { authorization },
      });
      const connections = (await response.json()) as Array<{ user: string }>;
      const named = connections.map(({ user }) => user);
      return named.includes(users[1]!.username) && !named.includes(users[0]!.username);
    });
  });

  test('one that is removed while its broker is away goes when it is back', { timeout: 180_000 }, async () => {
    const rabbit = await startRabbit(broker.name as RabbitVersion);
    try {
      await using run = new Run(rabbit.uri);
      {
        await using others = await prepare(rabbit.uri);
        await run.apply(planOf(run.name));
        await passes(others, 'first');
      }
      await rabbit.stop();
      await run.apply(gone);
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      await rabbit.start();
      await using others = await Others.open(settingsFromUri(rabbit.uri, 'the test'));
      const left = () => rabbit.ctl('list_queues', 'name', '--silent');
      await until('its queues are gone', async () => !(await left()).includes(`levada.${run.name.replace('/', '.')}`), {
        timeoutMs: 60_000,
        seen: () => run.log.join('\n'),
      });
      await run.apply(planOf(run.name));
      await passes(others, 'again');
    } finally {
      await rabbit.remove();
    }
  });
});
