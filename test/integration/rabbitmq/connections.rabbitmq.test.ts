/** docs/guides/rabbitmq.md: connections that end, and what is under way on them. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Link } from '../../../brokers/rabbitmq/link.ts';
import { settingsFromUri } from '../../../brokers/rabbitmq/settings.ts';
import { systemClock } from '../../../runtime/clock.ts';
import { MemoryDedupStore } from '../../../runtime/delivery/memory-store.ts';
import type { DeathCertificate } from '../../../runtime/events/message.ts';
import { Consumer } from '../../../runtime/pipeline/consumer.ts';
import { environment, handlerServer } from '../../../runtime/steps/testing.ts';
import { many, message } from '../../../runtime/transports/conformance/messages.ts';
import { startProxy } from '../../support/proxy.ts';
import { freshVhost, onEachRabbit } from '../../support/rabbitmq.ts';
import { root } from '../../support/up.ts';
import { until } from '../../support/wait.ts';
import { type Broker, endConnection, Others, openRig, Rig, rejection } from './harness.ts';

/** A transport behind a network that can fail, and somebody who is not behind it. */
async function distant(broker: Broker) {
  const resources = new AsyncDisposableStack();
  const { host, port } = broker.settings;
  const proxy = await startProxy(() => ({ host, port }));
  resources.defer(() => proxy.close());
  const near = settingsFromUri(await freshVhost(broker), 'the test');
  const others = resources.use(await Others.open(near));
  const rig = resources.use(await Rig.open({ ...near, host: '127.0.0.1', port: proxy.port }));
  return { rig, proxy, others, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

/** A connection over such a network. */
async function distantLink({ settings }: Broker) {
  const resources = new AsyncDisposableStack();
  const { host, port } = settings;
  const proxy = await startProxy(() => ({ host, port }));
  resources.defer(() => proxy.close());
  const link = new Link({ ...settings, host: '127.0.0.1', port: proxy.port }, { name: 'a test' });
  resources.defer(() => link.close());
  return { proxy, link, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

onEachRabbit((broker) => {
  test('F16: a connection that has fallen silent is noticed, and what was in hand comes again', async () => {
    await using both = await distant(broker);
    await using answers = await distant(broker);
    const inboxes = await Promise.all(
      [both, answers].map(async ({ rig }) => {
        await rig.apply(rig.queue('a', 'order'));
        await rig.publish(...many(4));
        const inbox = await rig.consume('a', 2);
        await inbox.has(2);
        return inbox;
      }),
    );
    both.proxy.silence();
    answers.proxy.silence('answers');
    for (const { rig } of [both, answers]) {
      const failure = await until('it is noticed', () => rig.state.broker.connection, { timeoutMs: 25_000 });
      expect(failure).toMatchObject({ code: 'BrokerUnavailable' });
    }
    for (const [i, { rig, proxy }] of [both, answers].entries()) {
      proxy.heal();
      const inbox = inboxes[i]!;
      for (const delivery of (await inbox.has(4)).slice(2)) {
        expect(delivery.redelivered).toBe(true);
        await delivery.settle({ kind: 'done', emits: [] });
      }
      await inbox.has(6);
      expect(inbox.ids.slice(4).sort()).toEqual(['2', '3']);
      // The connection that publishes is another one, and may notice later.
      await until('it is taken', () => rig.publish(message('4')).then(() => true));
      await until('it is connected', () => rig.state.broker.connection === undefined);
    }
  });

  test('F16: a connection that falls silent as soon as it is open is noticed as well', async () => {
    await using distance = await distantLink(broker);
    const { proxy, link } = distance;
    await new Promise<void>((resolve) => {
      const end = link.listen({
        up: () => {
          // Its first question is under way: the answer never comes.
          proxy.silence();
          setImmediate(() => end());
          resolve();
        },
      });
    });
    const failure = await until('it is noticed', () => link.failure, { timeoutMs: 25_000 });
    expect(failure).toMatchObject({ code: 'BrokerUnavailable' });
    proxy.heal();
    await until('another one is there', () => link.connection !== undefined, { timeoutMs: 25_000 });
  });

  test('F16: a connection that ends before the broker has confirmed the end of a channel holds nobody up', async () => {
    await using distance = await distantLink(broker);
    const { proxy, link } = distance;
    const used = link.use('nothing', async () => {
      proxy.silence();
      // Its end is asked for right after this, and is never answered.
      setImmediate(() => proxy.cut());
    });
    await used;
    proxy.heal();
    await link.ready(10_000);
    proxy.silence();
    await link.close();
  });

  test('F23: what has been done is said when the connection that publishes is back', async () => {
    await using run = await distant(broker);
    const { rig, proxy } = run;
    const gate = Promise.withResolvers<void>();
    await using server = await handlerServer((res) => {
      const answer = () => void res.writeHead(200, { 'content-type': 'application/json' }).end('{}');
      gate.promise.then(answer, answer);
    });
    await rig.apply(rig.queue('a', 'order'), rig.queue('b', 'scored'));
    const ends: string[] = [];
    const consumer = await Consumer.start(
      {
        kind: 'consumer',
        pipeline: rig.pipeline,
        name: 'a',
        action: { kind: 'http', url: server.url, timeoutMs: 60_000 },
        emits: [{ type: 'scored' }],
        retry: { maxAttempts: 3, initialMs: 1_000, factor: 2, maxMs: 60_000 },
        concurrency: 2,
      },
      {
        transport: rig.rabbit,
        environment,
        dedup: new MemoryDedupStore(),
        clock: systemClock,
        date: () => new Date(),
        random: randomBytes,
        ended: ({ end }) => ends.push(end),
        changed: () => {},
        log: (_, text) => rig.log.push(text),
      },
    );
    await rig.publish(message('1'), message('2'));
    await until('both are in hand', () => server.requests.length === 2);
    proxy.refuse();
    await endConnection(broker, rig.settings.vhost, 'a test publishes');
    gate.resolve();
    // What is published later than that is refused: so was what they emit.
    for (const id of ['x', 'y']) {
      expect((await rejection(rig.publish(message(id, { type: 'other' })))).code).toBe('BrokerUnavailable');
    }
    await run.others.channel.checkQueue(rig.nameOf('b')).then(({ messageCount }) => expect(messageCount).toBe(0));
    expect(ends).toEqual([]);
    proxy.heal();
    await rig.depthIs('b', { ready: 2 });
    await rig.depthIs('a', {});
    expect(ends).toEqual(['done', 'done']);
    expect(server.requests).toHaveLength(2);
    await consumer.close(0);
  });

  test('F18: a message that outlives no consumer becomes a dead letter', async () => {
    await using run = await distant(broker);
    const { rig, proxy } = run;
    await rig.applyWith({ deliveryLimit: 2 }, rig.queue('a', 'order'));
    await rig.publish(message('poison', { subject: 'kept' }));
    const inbox = await rig.consume('a');
    for (let kills = 1; kills <= 3; kills++) {
      await inbox.has(kills);
      proxy.cut();
    }
    await rig.depthIs('a', { dead: 1 });
    expect(inbox.ids).toHaveLength(3);
    let found: DeathCertificate | undefined;
    await rig.visitDead('a', ({ id, subject, delivery }) => {
      expect([id, subject]).toEqual(['poison', 'kept']);
      found = delivery.dead;
      return { replay: message('poison', { delivery: { attempt: 1, replay: 'r' } }) };
    });
    expect(found).toMatchObject({ reason: 'DeliveryLimitReached', step: 'a', attempt: 1 });
    expect((await inbox.has(4))[3]?.message.delivery).toEqual({ attempt: 1, replay: 'r' });
  });

  test('F22: a connection that is cut comes back, and with it its consumers', async () => {
    await using run = await distant(broker);
    const { rig, proxy } = run;
    await rig.apply(rig.queue('a', 'order'));
    const inbox = await rig.consume('a');
    inbox.each((delivery) => delivery.settle({ kind: 'done', emits: [] }));
    const ids = Array.from({ length: 300 }, (_, i) => `${i}`);
    await Promise.all(
      ids.map(async (id, index) => {
        if (index % 100 === 50) proxy.cut();
        await until(`${id} is taken`, () => rig.publish(message(id)).then(() => true));
      }),
    );
    await until('all are handled', () => new Set(inbox.ids).size === ids.length);
    await rig.depthIs('a', {});
  });

  test('P3: what is given back counts against the limit before 4.3, and never after', async () => {
    await using rig = await openRig(broker);
    await rig.applyWith({ deliveryLimit: 2 }, rig.queue('a', 'order'));
    await rig.publish(message('1'));
    const inbox = await rig.consume('a', 1);
    inbox.each((delivery) => (inbox.ids.length < 7 ? delivery.settle({ kind: 'release' }) : Promise.resolve()));
    if (broker.name === '3.10') {
      await rig.depthIs('a', { dead: 1 });
      expect(inbox.ids).toHaveLength(3);
    } else {
      await inbox.has(7);
      await rig.depthIs('a', { unsettled: 1 });
    }
    expect(inbox.failures).toEqual([]);
  });

  test('P8: a consumer that dies has no more in hand than its limit, and nobody else is charged', async () => {
    await using run = await distant(broker);
    const { rig, proxy } = run;
    await rig.apply(rig.queue('a', 'order'));
    await rig.publish(...many(20));
    const inbox = await rig.consume('a', 3);
    await inbox.has(3);
    proxy.cut();
    const again = (await inbox.has(6)).slice(3);
    expect(again.map(({ redelivered }) => redelivered)).toEqual([true, true, true]);
    inbox.each((delivery) => delivery.settle({ kind: 'done', emits: [] }));
    for (const delivery of again) await delivery.settle({ kind: 'done', emits: [] });
    const all = await inbox.has(23);
    expect(all.slice(6).filter(({ redelivered }) => redelivered)).toEqual([]);
    expect(inbox.ids).toHaveLength(23);
  });

  test('P13: an error of one channel leaves the connection, its consumers and its publishers alone', async () => {
    await using run = await distant(broker);
    const { rig, proxy } = run;
    await rig.apply(rig.queue('a', 'order'));
    await rig.publish(...many(3));
    const inbox = await rig.consume('a');
    const inHand = await inbox.has(3);
    for (let i = 0; i < 5; i++) {
      const target = { exchange: 'missing', routingKey: 'x' };
      const error = await rejection(rig.rabbit.publishTo(target, { message: message('x'), format: 'json' }));
      expect(error.code).toBe('QueueNotFound');
      await rig.publish(message(`after ${i}`));
    }
    for (const delivery of inHand) await delivery.settle({ kind: 'done', emits: [] });
    const later = (await inbox.has(8)).slice(3);
    expect(later.filter(({ redelivered }) => redelivered)).toEqual([]);
    expect(proxy.accepted).toBe(2);
  });

  test('P14: a channel that the broker has ended is opened again on the same connection', async () => {
    await using run = await distant(broker);
    const { rig, proxy, others } = run;
    await rig.apply(rig.queue('a', 'order'));
    await rig.publish(message('1'));
    await others.channel.deleteExchange(`levada.${rig.pipeline.replace('/', '.')}`);
    expect((await rejection(rig.publish(message('2')))).code).toBe('BrokerUnavailable');
    await rig.rabbit.broker.mend(rig.pipeline);
    await until('it is published', () => rig.publish(message('2')).then(() => true));
    await rig.depthIs('a', { ready: 2 });
    expect(proxy.accepted).toBe(2);
  });

  test('P16: a delivery of a channel that has gone cannot be settled, and comes again', async () => {
    await using run = await distant(broker);
    const { rig, proxy } = run;
    await rig.apply(rig.queue('a', 'order'), rig.queue('b', 'scored'));
    await rig.publish(...many(4));
    const inbox = await rig.consume('a');
    const old = await inbox.has(4).then((all) => [...all]);
    proxy.cut();
    const fresh = (await inbox.has(8)).slice(4);
    for (const delivery of old) {
      const error = await rejection(delivery.settle({ kind: 'done', emits: [] }));
      expect(error.code).toBe('BrokerUnavailable');
      expect(error.message).toContain('it delivers again');
    }
    // Tags count anew on each channel: none of those that were refused has settled one of these.
    await rig.depthIs('a', { unsettled: 4 });
    for (const delivery of fresh) {
      expect(delivery.redelivered).toBe(true);
      await delivery.settle({ kind: 'done', emits: [message(delivery.message.id, { type: 'scored' })] });
    }
    await rig.depthIs('a', {});
    await rig.depthIs('b', { ready: 4 });
  });

  test('P17: what was not confirmed when the connection died rejects, and may be there', async () => {
    await using run = await distant(broker);
    const { rig, proxy } = run;
    await rig.apply(rig.queue('a', 'order'));
    await rig.publish(message('warm'));
    proxy.silence('answers');
    const published = rejection(rig.publish(message('1')));
    await until('the broker has it', async () => {
      const { messageCount } = await run.others.channel.checkQueue(rig.nameOf('a'));
      return messageCount === 2;
    });
    proxy.heal();
    proxy.cut();
    expect((await published).code).toBe('BrokerUnavailable');
    await until('it is taken', () => rig.publish(message('1')).then(() => true));
    const inbox = await rig.consume('a');
    await inbox.has(3);
    expect(inbox.ids).toEqual(['warm', '1', '1']);
  });

  test('P19: a process that was busy does not take its broker for gone', async () => {
    await using run = await distant(broker);
    const { rig, proxy } = run;
    await rig.apply(rig.queue('a', 'order'));
    const inbox = await rig.consume('a');
    // Both connections have asked, and the answer is on its way while the process is busy for longer than it may take.
    proxy.hold();
    await until('it asks', () => proxy.held > 0);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 11_000);
    await new Promise(setImmediate);
    proxy.release();
    await rig.publish(message('1'));
    await inbox.has(1);
    expect(rig.log).toEqual([]);
    expect(proxy.accepted).toBe(2);
  });

  test('P21: after cuts there is one consumer, with its prefetch', async () => {
    await using run = await distant(broker);
    const { rig, proxy, others } = run;
    await rig.apply(rig.queue('a', 'order'));
    const inbox = await rig.consume('a', 2);
    await rig.publish(...many(10));
    for (let cuts = 1; cuts <= 3; cuts++) {
      await inbox.has(2 * cuts);
      proxy.cut();
    }
    await inbox.has(8);
    await until('eight wait', async () => {
      const { consumerCount, messageCount } = await others.channel.checkQueue(rig.nameOf('a'));
      return consumerCount === 1 && messageCount === 8;
    });
    await rig.depthIs('a', { ready: 8, unsettled: 2 });
  });

  test('P25: the client of both versions is 2.3 or later', async () => {
    const path = join(root, 'node_modules/amqplib/package.json');
    const { version } = JSON.parse(await readFile(path, 'utf8')) as { version: string };
    const [major = 0, minor = 0] = version.split('.').map(Number);
    expect(major > 2 || (major === 2 && minor >= 3)).toBe(true);
    await using rig = await openRig(broker);
    await rig.apply(rig.queue('a', 'order'));
    expect(rig.state.broker.version).toMatch(new RegExp(`^${broker.name.replace('.', '\\.')}`));
  });
});
