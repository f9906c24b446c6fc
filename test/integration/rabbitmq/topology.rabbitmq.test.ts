/** docs/guides/rabbitmq.md: queues, bindings and settings that come, go and change. */
import { expect, test } from 'vitest';
import { lostAtOnce } from '../../../brokers/rabbitmq/lost.ts';
import {
  deadExchange,
  deadQueueName,
  lostQueue,
  retryExchange,
  retryKey,
  rungName,
} from '../../../brokers/rabbitmq/names.ts';
import { many, message } from '../../../runtime/transports/conformance/messages.ts';
import { encode } from '../../../runtime/transports/rabbitmq/codec.ts';
import { startProxy } from '../../support/proxy.ts';
import { onEachRabbit } from '../../support/rabbitmq.ts';
import { until } from '../../support/wait.ts';
import { ask, Others, openRig, Rig, rejection } from './harness.ts';
import { adopting } from './hosting.ts';

onEachRabbit((broker) => {
  test('F11: a queue that is deleted under its consumer is made anew and consumed, and the loss is said', async () => {
    await using rig = await openRig(broker);
    await using others = await Others.open(rig.settings);
    await rig.apply(rig.queue('a', 'order'));
    await rig.publish(...many(3));
    const inbox = await rig.consume('a', 1);
    const [inHand] = await inbox.has(1);
    const name = rig.nameOf('a');
    expect(rig.state.lostAt).toEqual({});
    await others.channel.deleteQueue(name);
    const at = await until('it is noticed', () => rig.state.lostAt['a']);
    expect(Date.parse(at)).toBeGreaterThan(0);
    expect(rig.log.join()).toContain(`the queue ${name} was gone, and is made anew; what it held is lost`);
    // What was in hand has no queue to come back to: how it ended is said as ever.
    await inHand?.settle({ kind: 'done', emits: [] });
    await until('it is taken', () => rig.publish(message('new')).then(() => true));
    await inbox.has(2);
    expect(inbox.ids).toEqual(['0', 'new']);
    expect(inbox.consumer.failure).toBeUndefined();
    expect(rig.nameOf('a')).toBe(name);
  });

  test('F11: what comes while a queue is gone is lost to its step alone, and the gap is told', async () => {
    await using rig = await openRig(broker, { mends: false });
    await using others = await Others.open(rig.settings);
    await rig.apply(rig.queue('a', 'order'), rig.queue('b', 'order'));
    await others.channel.deleteQueue(rig.nameOf('a'));
    // The broker returns what reaches no queue, and this one reaches that of the other step.
    await rig.publish(message('meanwhile'));
    await rig.rabbit.broker.mend(rig.pipeline);
    await rig.publish(message('later'));
    await rig.depthIs('a', { ready: 1 });
    await rig.depthIs('b', { ready: 2 });
    expect(Object.keys(rig.state.lostAt)).toEqual(['a']);
  });

  test('F11: a queue that goes after the look, while the rest is made, is said to be lost all the same', async () => {
    await using rig = await openRig(broker, { mends: false });
    await using others = await Others.open(rig.settings);
    await rig.apply(rig.queue('a', 'order'), rig.queue('b', 'order'));
    await others.channel.deleteQueue(rig.nameOf('a'));
    // Makes everything, and looks at nothing before.
    await rig.apply(rig.queue('a', 'order'), rig.queue('b', 'order'));
    expect(Object.keys(rig.state.lostAt)).toEqual(['a']);
    await rig.publish(message('later'));
    await rig.depthIs('a', { ready: 1 });
  });

  test('F21: an adopted queue that is not there is waited for, and is never made', async () => {
    await using source = await adopting(broker, { exists: false });
    const { rig, host, queue, others } = source;
    const state = () => host.stateOf(rig.pipeline, 'legacy');
    await until('it says so', () => state()?.message === `the broker has no queue ${queue}`);
    expect(state()?.running).toBe(false);
    const names = (await ask<Array<{ name: string }>>(broker, 'GET', `queues/${rig.settings.vhost}`)).map(
      (q) => q.name,
    );
    expect(names).not.toContain(queue);
    await others.channel.assertQueue(queue, { durable: true });
    await others.send(queue, Buffer.from('{"n":1}'), { messageId: '1' });
    await source.hasEmitted(1);
    await until('it runs', () => state()?.running === true && state()?.message === undefined);
    // It goes, and comes back.
    await others.channel.deleteQueue(queue);
    await until('it says so again', () => state()?.running === false);
    await others.channel.assertQueue(queue, { durable: true });
    await others.send(queue, Buffer.from('{"n":2}'), { messageId: '2' });
    await source.hasEmitted(2);
  });

  test('P4: dead letters that are looked at thirty times are still there', async () => {
    await using rig = await openRig(broker);
    await rig.apply(rig.queue('a', 'order'));
    await rig.bury('a', '1', '2', '3');
    for (let visits = 0; visits < 30; visits++) expect(await rig.deadIds('a')).toEqual(['1', '2', '3']);
    await rig.depthIs('a', { dead: 3 });
    // The record is read by each one that comes.
    for (let reads = 0; reads < 25; reads++) {
      await using next = await Rig.open(rig.settings);
      next.pipeline = rig.pipeline;
      await next.apply(next.queue('a', 'order'));
      await next.depthIs('a', { dead: 3 });
    }
  });

  test('P6: what comes back to no queue is kept, and holds nobody up', async () => {
    await using rig = await openRig(broker);
    await using others = await Others.open(rig.settings);
    await rig.applyWith({ deliveryLimit: 1 }, rig.queue('a', 'order'), rig.queue('b', 'order'));
    await rig.publish(message('1'));
    for (const name of ['a', 'b']) {
      const inbox = await rig.consume(name);
      const again = message('1', { delivery: { attempt: 2 }, subject: name });
      await (await inbox.has(1))[0]?.settle({ kind: 'retry', message: again, delayMs: 2_000 });
      if (name === 'a') await inbox.consumer.close();
    }
    // The queue of `a` goes before its message is back; that of `b`, behind it on the same rung, is there.
    await others.channel.unbindQueue(rig.nameOf('a'), retryExchange, `${rig.pipeline}/a`);
    const lost = await until('it is kept', () => others.channel.get(lostQueue));
    expect(lost.properties.headers).toMatchObject({ 'cloudEvents:subject': 'a', 'levada-attempt': 2 });
    expect(lost.fields.routingKey).toBe(`${rig.pipeline}/a`);
    others.channel.nack(lost, false, true);
    await rig.depthIs('b', { unsettled: 1 });
    expect(await others.channel.checkQueue(rungName(2_000))).toMatchObject({ messageCount: 0 });
    // The same for dead letters.
    await others.channel.unbindQueue(deadQueueName(rig.pipeline, 'a'), deadExchange, `${rig.pipeline}/a`);
    others.channel.publish(deadExchange, `${rig.pipeline}/a`, Buffer.from('dead'));
    await others.channel.waitForConfirms();
    await until('both are kept', async () => (await others.channel.checkQueue(lostQueue)).messageCount === 2);
  });

  test('P10: settings that cannot change make another queue, while everything goes on', async () => {
    await using rig = await openRig(broker);
    await rig.applyWith({ deliveryLimit: 5 }, rig.queue('a', 'order'));
    const names = [rig.nameOf('a')];
    const inbox = await rig.consume('a', 5);
    const done: string[] = [];
    inbox.each(async (delivery) => {
      await new Promise(setImmediate);
      await delivery.settle({ kind: 'done', emits: [] });
      done.push(delivery.message.id);
    });
    const ids: string[] = [];
    let publishing = true;
    const published = (async () => {
      while (publishing) {
        const id = `${ids.length}`;
        ids.push(id);
        await rig.publish(message(id));
      }
    })();
    for (let limit = 6; limit < 16; limit++) {
      await rig.applyWith({ deliveryLimit: limit }, rig.queue('a', 'order'));
      const now = rig.namesOf('a');
      names.push(...now.filter((name) => !names.includes(name)));
    }
    publishing = false;
    await published;
    // What is published while both are bound is in both.
    await until('all are handled', () => new Set(done).size >= ids.length);
    expect(inbox.failures).toEqual([]);
    expect(names).toHaveLength(11);
    const left = await until('the old ones are gone', async () => {
      await rig.depth('a');
      const found = await ask<Array<{ name: string }>>(broker, 'GET', `queues/${rig.settings.vhost}`);
      const mine = found.map(({ name }) => name).filter((name) => names.includes(name));
      return mine.length === 1 && mine;
    });
    expect(left).toEqual([names.at(-1)]);
    expect(inbox.failures).toEqual([]);
    expect(rig.state.broker.topology).toBeUndefined();
  });

  test('P10: of a step that is gone, the queue that retries come back to goes last, and not while it has one', async () => {
    await using rig = await openRig(broker);
    await using others = await Others.open(rig.settings);
    const stays = rig.queue('b', 'other');
    await rig.applyWith({ maxLength: 5 }, rig.queue('a', 'order'), stays, rig.queue('idle', 'none'));
    const names = rig.namesOf('a');
    const idle = rig.namesOf('idle');
    const isForRetries = (name: string) => name.startsWith(`levada.${rig.pipeline.replace('/', '.')}.a.retry.`);
    expect(names.map(isForRetries).sort()).toEqual([false, true]);
    const retries = names.find(isForRetries) ?? '';
    const dead = deadQueueName(rig.pipeline, 'a');
    const left = async (of = [...names, dead]) => {
      await rig.depth('a'); // a look, as the operator has
      const found = await ask<Array<{ name: string }>>(broker, 'GET', `queues/${rig.settings.vhost}`);
      return found.map(({ name }) => name).filter((name) => of.includes(name));
    };
    await rig.publish(message('1'));
    const inbox = await rig.consume('a', 1);
    const [inHand] = await inbox.has(1);
    await rig.applyWith({ maxLength: 5 }, stays);
    // Both of a step that holds nothing go meanwhile. Here the message in hand may have to come back to an empty one.
    await until('those of the other are gone', async () => (await left(idle)).length === 0);
    expect(await left()).toHaveLength(3);
    const again = message('1', { delivery: { attempt: 2 } });
    await inHand?.settle({ kind: 'retry', message: again, delayMs: 2_000 });
    await inbox.consumer.close(); // nobody takes it when it is back
    await until('it is back', async () => (await others.channel.checkQueue(retries)).messageCount === 1);
    await until('that of events is gone', async () => (await left()).length === 2);
    expect((await left()).sort()).toEqual([dead, retries].sort());
    const late = await rig.consume('a', 1);
    const [returned] = await late.has(1);
    expect(returned?.message).toMatchObject({ id: '1', delivery: { attempt: 2 } });
    await returned?.settle({ kind: 'done', emits: [] });
    await until('all are gone', async () => (await left()).length === 0);
    expect([...inbox.failures, ...late.failures]).toEqual([]);
  });

  test('P11: with a policy, settings change in place and rule', async () => {
    await using owner = await openRig(broker);
    await using rig = await Rig.open({ ...owner.settings, managementUri: broker.management });
    const { vhost } = rig.settings;
    const fills = async () => {
      let taken = 0;
      for (; taken < 50; taken++) {
        const full = await rig.publish(message(`${taken}`)).then(
          () => false,
          () => true,
        );
        if (full) break;
      }
      return taken;
    };
    await rig.applyWith({ maxLength: 2 }, rig.queue('a', 'order'));
    expect(rig.state.broker.settings).toBe('Policies');
    // Of events, and of what is tried again.
    const names = rig.namesOf('a');
    expect(names).toHaveLength(2);
    const [name = ''] = names;
    const few = await fills();
    expect(few).toBeLessThan(20);
    await rig.applyWith({ maxLength: 1_000 }, rig.queue('a', 'order'));
    expect(rig.namesOf('a')).toEqual(names);
    expect(await fills()).toBe(50);
    // The management database lags behind.
    await until('the policy is shown', async () => {
      const path = `queues/${vhost}/${name}`;
      const { effective_policy_definition: found } = await ask<{
        effective_policy_definition?: Record<string, unknown>;
      }>(broker, 'GET', path);
      return found?.['max-length'] === 1_000 && found['delivery-limit'] === 20;
    });
    // One that outranks it rules: Levada does not pretend.
    const theirs = { pattern: '.*', definition: { 'max-length': 7 }, priority: 2_000, 'apply-to': 'queues' };
    await ask(broker, 'PUT', `policies/${vhost}/theirs`, theirs);
    await rig.applyWith({ maxLength: 2_000 }, rig.queue('a', 'order'));
    expect(rig.state.broker.settings).toBe('Arguments');
    expect(rig.log.join()).toContain('another policy rules');
    const inbox = await rig.consume('a');
    inbox.each((delivery) => delivery.settle({ kind: 'done', emits: [] }));
    await inbox.has(few + 50);
    await until('the old one is gone', async () => (await rig.depth('a')) && rig.namesOf('a').length === 2);
    for (const old of names) expect(rig.namesOf('a')).not.toContain(old);
    await rig.apply();
    await until('policies go with their queues', async () => {
      await rig.depth('a');
      const policies = await ask<Array<{ name: string }>>(broker, 'GET', `policies/${vhost}`);
      return policies.length === 1;
    });
  });

  test('P11: where another policy rules from the beginning, nothing is left of what was made to find that out', async () => {
    await using owner = await openRig(broker);
    await using rig = await Rig.open({ ...owner.settings, managementUri: broker.management });
    const { vhost } = rig.settings;
    const theirs = { pattern: '.*', definition: { 'max-length': 7 }, priority: 2_000, 'apply-to': 'queues' };
    await ask(broker, 'PUT', `policies/${vhost}/theirs`, theirs);
    await rig.applyWith({ maxLength: 10 }, rig.queue('a', 'order'));
    expect(rig.state.broker.settings).toBe('Arguments');
    const names = rig.namesOf('a');
    const of = names[0]?.replace(/[^.]+$/, '') ?? '';
    await until('only these are there', async () => {
      const found = await ask<{ name: string }[]>(broker, 'GET', `queues/${vhost}`);
      const ours = found.map(({ name }) => name).filter((name) => name.startsWith(of));
      return ours.sort().join() === [...names, `${of}dead`].sort().join();
    });
    const policies = await ask<{ name: string }[]>(broker, 'GET', `policies/${vhost}`);
    expect(policies.map(({ name }) => name)).toEqual(['theirs']);
  });

  test('P11: while the management API is away, what was made with policies goes on and is mended', async () => {
    const { hostname, port } = new URL(broker.management);
    await using resources = new AsyncDisposableStack();
    const proxy = await startProxy(() => ({ host: hostname, port: Number(port) }));
    resources.defer(() => proxy.close());
    await using owner = await openRig(broker);
    await using others = await Others.open(owner.settings);
    const settings = { ...owner.settings, managementUri: `http://127.0.0.1:${proxy.port}` };
    await using rig = await Rig.open(settings);
    await rig.applyWith({ maxLength: 10 }, rig.queue('a', 'order'));
    expect(rig.state.broker.settings).toBe('Policies');
    proxy.cut();
    proxy.refuse();
    const names = rig.namesOf('a');
    const [name = ''] = names;
    await others.channel.deleteQueue(name);
    expect(await rig.rabbit.broker.mend(rig.pipeline)).toBe(true);
    await rig.publish(message('1'));
    expect(rig.state.broker.topology).toMatchObject({ code: 'BrokerUnavailable' });
    expect(rig.state.broker.topology?.message).toContain('the management API of');
    // Whoever begins meanwhile finds the same queue.
    await using next = await Rig.open(settings);
    next.pipeline = rig.pipeline;
    await next.applyWith({ maxLength: 10 }, next.queue('a', 'order'));
    expect(next.namesOf('a')).toEqual(names);
    proxy.heal();
    await rig.rabbit.broker.mend(rig.pipeline);
    expect(rig.state.broker.topology).toBeUndefined();
    await rig.depthIs('a', { ready: 1 });
  });

  test('P15: a consumer whose queue is gone says so, and goes on when it is there again', async () => {
    await using rig = await openRig(broker, { mends: false });
    await using others = await Others.open(rig.settings);
    await rig.apply(rig.queue('a', 'order'), rig.queue('b', 'other'));
    const inbox = await rig.consume('a');
    const other = await rig.consume('b');
    await rig.publish(message('1', { type: 'other' }));
    const [inHand] = await other.has(1);
    const name = rig.nameOf('a');
    await others.channel.deleteQueue(name);
    await until('it says so', () => inbox.consumer.failure?.message === `the broker has no queue ${name}`);
    expect(other.consumer.failure).toBeUndefined();
    await inHand?.settle({ kind: 'done', emits: [] });
    expect(await rig.rabbit.broker.mend(rig.pipeline)).toBe(true);
    await until('it is consumed', () => inbox.consumer.failure === undefined);
    await rig.publish(message('2'));
    await inbox.has(1);
    expect(other.ids).toEqual(['1']);
  });

  test('P20: exchanges, bindings and what all share are made again', async () => {
    await using rig = await openRig(broker);
    await using others = await Others.open(rig.settings);
    await rig.apply(rig.queue('a', 'order'));
    const exchange = `levada.${rig.pipeline.replace('/', '.')}`;
    const inbox = await rig.consume('a');
    const again = (id: string) => message(id, { delivery: { attempt: 2 } });
    const works = async (id: string) => {
      await until('it is taken', () => rig.publish(message(id)).then(() => true));
      const first = await until('it comes', async () => (await inbox.has(1)).find((one) => one.message.id === id));
      await first.settle({ kind: 'retry', message: again(id), delayMs: 1_000 });
      await until('it comes again', () => inbox.ids.filter((one) => one === id).length === 2);
    };
    await works('1');
    await others.channel.unbindQueue(rig.nameOf('a'), exchange, 'order');
    expect(await rig.rabbit.broker.mend(rig.pipeline)).toBe(false);
    await works('2');
    // A publish that finds no exchange mends by itself.
    await others.channel.deleteExchange(exchange);
    expect((await rejection(rig.publish(message('3')))).code).toBe('BrokerUnavailable');
    await works('3');
    // Nobody is mending still.
    await rig.rabbit.broker.mend(rig.pipeline);
    for (const name of [retryExchange, deadExchange, rungName(1_000)]) await others.channel.deleteExchange(name);
    await others.channel.deleteQueue(rungName(1_000));
    expect(await rig.rabbit.broker.mend(rig.pipeline)).toBe(true);
    await works('4');
    const { mended } = rig.state.broker;
    const rung = rungName(1_000);
    const gone = [retryExchange, deadExchange, rung].map((name) => `exchange ${name}`);
    expect(mended?.what).toEqual([...gone, `queue ${rung}`]);
    expect(Date.parse(mended?.at ?? '')).toBeGreaterThan(0);
    expect(rig.log.join()).toContain(`there was no ${gone.join(', no ')}`);
    // A queue of a step is what `lostAt` tells of.
    expect(rig.state.lostAt).toEqual({});
  });

  test('P20: a binding that somebody has removed is told where the management API can be asked', async () => {
    await using owner = await openRig(broker);
    await using others = await Others.open(owner.settings);
    await using rig = await Rig.open({ ...owner.settings, managementUri: broker.management });
    await rig.apply(rig.queue('a', 'order'));
    expect(await rig.rabbit.broker.mend(rig.pipeline)).toBe(false);
    const name = rig.nameOf('a');
    await others.channel.unbindQueue(name, `levada.${rig.pipeline.replace('/', '.')}`, 'order');
    await until('it is noticed', () => rig.rabbit.broker.mend(rig.pipeline));
    expect(rig.state.broker.mended?.what).toEqual([`binding of ${name} to order`]);
    await rig.publish(message('1'));
    await rig.depthIs('a', { ready: 1 });
  });

  test('P20: a record that somebody has in hand is not taken for an empty one', async () => {
    await using rig = await openRig(broker);
    await using others = await Others.open(rig.settings);
    await rig.apply(rig.queue('a', 'order'), rig.queue('b', 'order'));
    const held = await others.channel.get(`levada.${rig.pipeline.replace('/', '.')}.record`);
    await using next = await Rig.open(rig.settings);
    next.pipeline = rig.pipeline;
    const error = await rejection(next.apply(next.queue('a', 'order')));
    expect(error.code).toBe('BrokerUnavailable');
    expect(error.message).toContain('is being read by somebody else');
    if (held) others.channel.nack(held);
    await until('it is free', () => next.apply(next.queue('a', 'order')).then(() => true));
    const left = await next.rabbit.depths(next.pipeline);
    expect(Object.keys(left)).toContain('b');
  });

  test('P6: what comes back late is found behind a thousand that nobody wants', { timeout: 60_000 }, async () => {
    await using rig = await openRig(broker);
    await using others = await Others.open(rig.settings);
    await rig.apply(rig.queue('a', 'order'));
    const lose = async (key: string, headers: object) => {
      others.channel.publish(retryExchange, key, Buffer.from('{}'), { persistent: true, headers });
    };
    for (let i = 0; i < lostAtOnce; i++) await lose('test/nobody/a', {});
    await others.channel.waitForConfirms();
    await others.channel.unbindQueue(rig.nameOf('a'), retryExchange, retryKey(rig.pipeline, 'a'));
    await lose(retryKey(rig.pipeline, 'a'), encode(message('late')).options.headers);
    await others.channel.waitForConfirms();
    await until('all are kept', async () => {
      const { messageCount } = await others.channel.checkQueue(lostQueue);
      return messageCount === lostAtOnce + 1;
    });
    const inbox = await rig.consume('a');
    await until('it is back', async () => {
      await rig.rabbit.broker.mend(rig.pipeline);
      return inbox.ids.length > 0;
    });
    expect(inbox.ids).toEqual(['late']);
    await until('the others are kept', async () => {
      const { messageCount } = await others.channel.checkQueue(lostQueue);
      return messageCount === lostAtOnce;
    });
  });

  test('P4: dead letters that somebody is looking at keep their queue', async () => {
    await using rig = await openRig(broker);
    await using others = await Others.open(rig.settings);
    await rig.apply(rig.queue('a', 'order'), rig.queue('b', 'order'));
    await rig.bury('a', '1');
    const dead = deadQueueName(rig.pipeline, 'a');
    // As `levada dlq` does, maybe of a run that has fallen silent.
    const held = await until('it is there', () => others.channel.get(dead));
    const looks = async (ms: number) => {
      for (const end = performance.now() + ms; performance.now() < end; ) {
        await rig.rabbit.depths(rig.pipeline);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    };
    await rig.apply(rig.queue('b', 'order'));
    await looks(3_000);
    await rig.apply();
    await looks(500);
    others.channel.nack(held);
    await until('it is back', async () => (await others.channel.checkQueue(dead)).messageCount === 1);
    const again = await until('it is there still', () => others.channel.get(dead));
    others.channel.ack(again);
    await until('its queue goes when it is gone', async () => {
      await rig.rabbit.depths(rig.pipeline);
      const found = await ask<Array<{ name: string }>>(broker, 'GET', `queues/${rig.settings.vhost}`);
      return !found.some(({ name }) => name === dead);
    });
  });

  test('P20: a record that is deleted is written again', async () => {
    await using rig = await openRig(broker);
    await using others = await Others.open(rig.settings);
    await rig.apply(rig.queue('a', 'order'), rig.queue('b', 'order'));
    const record = `levada.${rig.pipeline.replace('/', '.')}.record`;
    await others.channel.deleteQueue(record);
    expect(await rig.rabbit.broker.mend(rig.pipeline)).toBe(true);
    // Whoever comes next knows of the queue that is not wanted any more.
    await using next = await Rig.open(rig.settings);
    next.pipeline = rig.pipeline;
    await next.apply(next.queue('a', 'order'));
    await until('it is gone', async () => {
      await next.depth('a');
      const found = await ask<Array<{ name: string }>>(broker, 'GET', `queues/${rig.settings.vhost}`);
      return !found.some(({ name }) => name === rig.nameOf('b'));
    });
  });
});
