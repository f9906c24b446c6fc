/** Pipelines on a broker that come, go and come back, while the broker does as well. */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import type { ConsumerConfig } from '../../../api/contract/pipeline.ts';
import { LevadaError } from '../../../api/errors.ts';
import { exchangeName } from '../../../brokers/rabbitmq/names.ts';
import { settingsFromUri } from '../../../brokers/rabbitmq/settings.ts';
import { type RabbitVersion, startRabbit } from '../../../hack/rabbitmq.ts';
import { handlerServer } from '../../../runtime/steps/testing.ts';
import { message } from '../../../runtime/transports/conformance/messages.ts';
import { encode } from '../../../runtime/transports/rabbitmq/codec.ts';
import { Others, userOf } from '../../../test/integration/rabbitmq/harness.ts';
import { freshVhost, onNewestRabbit } from '../../../test/support/rabbitmq.ts';
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

/** A handler, and behind it a step that puts what comes of it into the mail queue. */
function twoSteps(pipeline: string, url: string, secret?: string): UnitPlan {
  const { pipeline: plan } = planOf(pipeline, secret) as { pipeline: NonNullable<UnitPlan['pipeline']> };
  const [, mail] = plan.consumers as [ConsumerConfig, ConsumerConfig];
  const handler: ConsumerConfig = {
    ...mail,
    name: 'handler',
    action: { kind: 'http', url, timeoutMs: 60_000 },
    emits: [{ type: 'order' }],
  };
  const [, toMail] = plan.topology.queues;
  const queues = [{ name: 'handler', bindings: [{ pipeline, type: 'posted' }] }, toMail!];
  return { ...gone, pipeline: { ...plan, topology: { pipeline, queues }, consumers: [handler, mail] } };
}

/** As a source does. */
async function post(others: Others, pipeline: string, ...ids: string[]): Promise<void> {
  for (const id of ids) {
    const { content, options } = encode(message(id, { type: 'posted' }));
    others.channel.publish(exchangeName(pipeline), 'posted', content, { ...options, mandatory: true });
  }
  await others.channel.waitForConfirms();
}

/** Takes all mails. @returns their ids as they come */
async function mails(others: Others): Promise<string[]> {
  const ids: string[] = [];
  const take = (found: { content: Buffer } | null) => ids.push((JSON.parse(`${found?.content}`) as { id: string }).id);
  await others.channel.consume('mail', take, { noAck: true });
  return ids;
}

/** Answers with its event's data when it is opened. */
async function gatedHandler() {
  const gate = Promise.withResolvers<void>();
  const server = await handlerServer((res, { body }) => {
    const answer = () => void res.writeHead(200, { 'content-type': 'application/json' }).end(body);
    gate.promise.then(answer, answer);
  });
  return { ...server, open: () => gate.resolve() };
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

onNewestRabbit((broker) => {
  test('one that is removed and comes back at once runs', { timeout: 300_000 }, async () => {
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

  test('one that is removed hands on what its steps emit until all of it is handled', { timeout: 90_000 }, async () => {
    const uri = await freshVhost(broker);
    await using others = await prepare(uri);
    await using handler = await gatedHandler();
    await using run = new Run(uri);
    await run.apply(twoSteps(run.name, handler.url));
    const ids = await mails(others);
    await post(others, run.name, 'a', 'b', 'c', 'd', 'e');
    await until('two are in hand', () => handler.requests.length === 2);
    await run.apply(gone);
    handler.open();
    await until('all come out', () => ids.length === 5, { seen: () => `${ids} of ${handler.requests.length}` });
    expect(ids.sort()).toEqual(['a', 'b', 'c', 'd', 'e']);
    const left = async () => {
      const authorization = `Basic ${Buffer.from('guest:guest').toString('base64')}`;
      const { vhost } = settingsFromUri(uri, 'the test');
      const response = await fetch(`${broker.management}/api/queues/${vhost}`, { headers: { authorization } });
      return (await response.json()) as Array<{ name: string }>;
    };
    await until('its queues go', async () => !(await left()).some(({ name }) => name.includes('.handler.')));
  });

  test('with another broker it goes on there, and all that the one before holds stays', {
    timeout: 90_000,
  }, async () => {
    const [old, next] = [await freshVhost(broker), await freshVhost(broker)];
    await using oldOthers = await prepare(old);
    await using nextOthers = await prepare(next);
    await using handler = await gatedHandler();
    await using run = new Run();
    run.secrets.set('test/rabbitmq', { uri: old });
    await run.apply(twoSteps(run.name, handler.url, 'test/rabbitmq'));
    const ids = { old: await mails(oldOthers), next: await mails(nextOthers) };
    await post(oldOthers, run.name, 'a', 'b', 'c', 'd', 'e');
    await until('two are in hand', () => handler.requests.length === 2);
    run.secrets.set('test/rabbitmq', { uri: next });
    // What is in hand there is finished there, and holds nobody up here.
    await run.pipelines.reread();
    await until('it runs there', async () => {
      const { pipeline } = await run.pipelines.observe(run.owner);
      return pipeline?.queues['handler']?.running;
    });
    await post(nextOthers, run.name, 'x');
    handler.open();
    await until('it is handled', () => ids.next.includes('x'));
    await until('what was in hand is finished', () => handler.requests.length >= 3);
    run.secrets.set('test/rabbitmq', { uri: old });
    await run.pipelines.reread();
    await until('the rest is handled', () => ids.old.length === 5, { seen: () => JSON.stringify(ids) });
    expect(ids.old.sort()).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(ids.next).toEqual(['x']);
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
