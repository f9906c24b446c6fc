/** docs/guides/rabbitmq.md: what is in messages, and where they go. */
import { randomBytes } from 'node:crypto';
import type { ConfirmChannel } from 'amqplib';
import { expect, test } from 'vitest';
import { retryKey, rungName, topRung } from '../../../brokers/rabbitmq/names.ts';
import type { Message } from '../../../runtime/events/message.ts';
import { certified, many, message } from '../../../runtime/transports/conformance/messages.ts';
import { FakeClock } from '../../../runtime/transports/memory/testing.ts';
import { encode } from '../../../runtime/transports/rabbitmq/codec.ts';
import { onEachRabbit } from '../../support/rabbitmq.ts';
import { until } from '../../support/wait.ts';
import { Others, openRig, Rig, rejection, userOf } from './harness.ts';
import { adopting } from './hosting.ts';

const plain = { format: 'json' } as const;

/** Publishes events with longer and longer extensions. @returns the last one that was taken */
async function widest(rig: Rig): Promise<Message> {
  let taken: Message | undefined;
  for (let kib = 40; kib <= 64; kib++) {
    const wide = message(`wide ${kib}`, { extensions: { text: 'é'.repeat(kib * 512) } });
    const error = await rig.publish(wide).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (error) {
      expect(error).toMatchObject({ code: 'MessageTooLarge' });
      break;
    }
    taken = wide;
  }
  if (!taken) throw new Error('none was taken');
  return taken;
}

let counted: { most: number } | undefined;

/**
 * Counts what each channel of this process has sent and the broker has not confirmed, from now on. The brokers' tests run beside
 * each other: of all channels, the most that one has had.
 *
 * @param channel any one of them
 */
function countUnconfirmed(channel: ConfirmChannel): { readonly most: number } {
  if (counted) return counted;
  const found = { most: 0 };
  counted = found;
  const prototype = Object.getPrototypeOf(channel) as ConfirmChannel;
  const { publish } = prototype;
  const counts = new WeakMap<ConfirmChannel, number>();
  prototype.publish = function (exchange, key, content, options, confirmed) {
    const add = (step: number): number => {
      const count = (counts.get(this) ?? 0) + step;
      counts.set(this, count);
      return count;
    };
    found.most = Math.max(found.most, add(1));
    return publish.call(this, exchange, key, content, options, (...told) => {
      add(-1);
      confirmed?.(...told);
    });
  };
  return found;
}

onEachRabbit((broker) => {
  test('F5: an event whose queue has gone is not taken, until the queue is there again', async () => {
    await using rig = await openRig(broker);
    await using others = await Others.open(rig.settings);
    await rig.apply(rig.queue('a', 'order'));
    await others.channel.deleteQueue(rig.nameOf('a'));
    const error = await rejection(rig.publish(message('1')));
    expect(error.code).toBe('BrokerUnavailable');
    expect(error.message).toContain('are gone, and are being made anew');
    await until('it is taken', () => rig.publish(message('1')).then(() => true));
    await rig.depthIs('a', { ready: 1 });
    expect(rig.state.lostAt).toHaveProperty('a');
    // What nobody consumes goes nowhere, and that is right.
    await rig.publish(message('2', { type: 'nobody.wants' }));
  });

  test('F6: what is put where nothing is bound comes back', async () => {
    await using rig = await openRig(broker);
    await using others = await Others.open(rig.settings);
    await others.channel.assertExchange('theirs', 'topic', { durable: true });
    const unroutable = await rejection(
      rig.rabbit.publishTo({ exchange: 'theirs', routingKey: 'eu' }, { message: message('1'), ...plain }),
    );
    expect(unroutable.code).toBe('PublishUnroutable');
    expect(unroutable.message).toContain('theirs with the key eu');
    const noQueue = { exchange: '', routingKey: 'missing' };
    expect((await rejection(rig.rabbit.publishTo(noQueue, { message: message('1'), ...plain }))).code).toBe(
      'PublishUnroutable',
    );
    const noExchange = { exchange: 'missing', routingKey: 'eu' };
    const missing = await rejection(rig.rabbit.publishTo(noExchange, { message: message('1'), ...plain }));
    expect(missing.code).toBe('QueueNotFound');
    expect(missing.message).toContain('exchange missing');
    await others.channel.assertQueue('mail', { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    await others.channel.bindQueue('mail', 'theirs', '#');
    await rig.rabbit.publishTo({ exchange: 'theirs', routingKey: 'eu' }, { message: message('1'), ...plain });
    expect(await others.channel.checkQueue('mail')).toMatchObject({ messageCount: 1 });
  });

  test('F7: a message of 20 MB is refused before it is sent', async () => {
    await using rig = await openRig(broker);
    await rig.apply(rig.queue('a', 'order'));
    const large = message('large', { data: new Uint8Array(20_000_000) });
    expect(await rejection(rig.publish(message('1'), large))).toMatchObject({
      code: 'MessageTooLarge',
      params: { found: 20_000_000, limit: 16_777_216 },
    });
    const target = { exchange: '', routingKey: rig.nameOf('a') };
    expect((await rejection(rig.rabbit.publishTo(target, { message: large, ...plain }))).code).toBe('MessageTooLarge');
    // What just fits goes through.
    await rig.publish(message('fits', { data: new Uint8Array(16_777_216) }));
    const [delivery] = await (await rig.consume('a')).has(1);
    expect(delivery?.message).toMatchObject({ id: 'fits', data: { byteLength: 16_777_216 } });
  });

  test('F8: 20 MB in an adopted queue become a dead letter, where the broker takes them', async () => {
    await using source = await adopting(broker);
    const { rig, others, queue } = source;
    const content = Buffer.from(JSON.stringify('x'.repeat(20_000_000)));
    const taken = await others.send(queue, content, { messageId: 'large' }).then(
      () => true,
      () => false,
    );
    expect(taken).toBe(broker.name === '3.10');
    await using again = await Others.open(rig.settings);
    await again.send(queue, Buffer.from('{"n":1}'), { messageId: 'small' });
    await source.hasEmitted(1);
    expect(source.emitted.map(({ id }) => id)).toEqual(['small']);
    await rig.depthIs('legacy', { dead: taken ? 1 : 0 });
    if (!taken) return;
    const [dead] = await source.deadLetters();
    expect(dead).toMatchObject({ id: 'large', delivery: { dead: { reason: 'MessageTooLarge', step: 'legacy' } } });
    expect(Buffer.compare(dead?.data ?? Buffer.of(), content)).toBe(0);
  });

  for (const [number, what, bytes] of [
    ['F9', 'broken UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d])],
    ['F10', 'broken JSON', Buffer.from('{"order_id": 7,')],
  ] as const) {
    test(`${number}: ${what} in an adopted queue becomes a dead letter with its bytes`, async () => {
      await using source = await adopting(broker);
      await source.others.send(source.queue, bytes, { messageId: 'broken' });
      await source.others.send(source.queue, Buffer.from('{"n":1}'), { messageId: 'whole' });
      await source.hasEmitted(1);
      await source.rig.depthIs('legacy', { dead: 1 });
      const [dead] = await source.deadLetters();
      expect(dead).toMatchObject({ id: 'broken', delivery: { dead: { reason: 'MessageInvalid' } } });
      expect([...(dead?.data ?? [])]).toEqual([...bytes]);
      expect(source.emitted.map(({ id }) => id)).toEqual(['whole']);
    });
  }

  test('F20: a queue that is full refuses, while retries and dead letters go on', async () => {
    await using rig = await openRig(broker);
    await rig.applyWith({ maxLength: 3 }, rig.queue('a', 'order'));
    const full = await until('it is full', () =>
      rig.publish(message(crypto.randomUUID())).then(
        () => false,
        (error: unknown) => error,
      ),
    );
    expect(full).toMatchObject({ code: 'BrokerFull' });
    const inbox = await rig.consume('a', 2);
    const [first, second] = await inbox.has(2);
    const again = { ...first!.message, delivery: { attempt: 2 } };
    await first?.settle({ kind: 'retry', message: again, delayMs: 1_000 });
    await second?.settle({ kind: 'dead', message: certified(second.message) });
    inbox.each((delivery) => delivery.settle({ kind: 'done', emits: [] }));
    for (const delivery of (await inbox.has(3)).slice(2))
      await delivery.settle({ kind: 'done', emits: [] }).catch(() => {});
    await until('the other attempt is made', () => inbox.ids.filter((id) => id === first?.message.id).length === 2);
    await rig.depthIs('a', { dead: 1 });
    await rig.publish(message('again'));
  });

  test('P2: what a message of somebody else says of attempts and deaths is not believed', async () => {
    await using rig = await openRig(broker);
    await using others = await Others.open(rig.settings);
    await others.channel.assertQueue('theirs', { durable: true });
    const dead = JSON.stringify({ reason: 'HandlerRejected', step: 'a', attempt: 9, error: '', time: '' });
    const headers = {
      'levada-attempt': 9,
      'levada-dead': dead,
      'levada-delay-left': 3_600_000,
      'levada-replay': 'r',
      'x-death': [{ count: 9, reason: 'rejected', queue: 'x', exchange: '', 'routing-keys': ['x'] }],
      'x-delivery-count': 9,
    };
    await others.send('theirs', Buffer.from('{}'), { messageId: '1', headers });
    await rig.apply({ name: 'legacy', bindings: [], adopts: 'theirs' });
    const [delivery] = await (await rig.consume('legacy')).has(1);
    expect(delivery?.message).toMatchObject({ id: '1', delivery: { attempt: 1 } });
    expect(Object.keys(delivery?.message.delivery ?? {})).toEqual(['attempt']);
  });

  test('P5: a retry waits on a rung and comes back to its own queue alone; behind it nobody waits', async () => {
    await using rig = await openRig(broker);
    await rig.apply(rig.queue('a', 'order'), rig.queue('b', 'order'));
    await rig.publish(message('slow'), message('fast'));
    const inbox = await rig.consume('a');
    const deliveries = await inbox.has(2);
    const again = (id: string) => message(id, { delivery: { attempt: 2 } });
    await deliveries[0]?.settle({ kind: 'retry', message: again('slow'), delayMs: 3_600_000 });
    await deliveries[1]?.settle({ kind: 'retry', message: again('fast'), delayMs: 1_000 });
    expect((await inbox.has(3))[2]?.message).toMatchObject({ id: 'fast', delivery: { attempt: 2 } });
    await rig.depthIs('b', { ready: 2 });
    await rig.depthIs('a', { delayed: 1, unsettled: 1 });
  });

  test('P5: a delay beyond the longest rung climbs the ladder again', async () => {
    const clock = new FakeClock();
    await using rig = await openRig(broker, { clock });
    await using others = await Others.open(rig.settings);
    await rig.apply(rig.queue('a', 'order'));
    const inbox = await rig.consume('a');
    // As it leaves the longest rung with two seconds left to wait.
    const { content, options } = encode(message('1', { delivery: { attempt: 2 } }), 2_000);
    others.channel.publish(rungName(1_000), retryKey(rig.pipeline, 'a'), content, options);
    await others.channel.waitForConfirms();
    await until('it waits on the rung of two seconds', async () => {
      const { messageCount } = await others.channel.checkQueue(rungName(2_000));
      return messageCount === 1;
    });
    expect(inbox.ids).toEqual([]);
    expect((await inbox.has(1))[0]?.message.delivery).toEqual({ attempt: 2 });
    // And as it begins to: what the top rung does not wait is written on it.
    const [delivery] = await inbox.has(1);
    await delivery?.settle({ kind: 'retry', message: message('1'), delayMs: topRung + 5_000 });
    const waiting = await others.channel.get(rungName(topRung));
    expect(waiting ? waiting.properties.headers : waiting).toMatchObject({ 'levada-delay-left': 5_000 });
    clock.advance(2_000); // of the one before
    await rig.depthIs('a', { delayed: 1 });
    // Whoever sends it up again counts it anew.
    clock.advance(topRung - 2_000);
    await rig.depthIs('a', { delayed: 0 });
  });

  test('P9: what is confirmed has been routed, where somebody consumes it', async () => {
    await using rig = await openRig(broker, { mends: false });
    await using others = await Others.open(rig.settings);
    await rig.apply(rig.queue('a', 'order'));
    // The broker confirms this one all the same.
    others.channel.publish(`levada.${rig.pipeline.replace('/', '.')}`, 'nobody', Buffer.of());
    await others.channel.waitForConfirms();
    await others.channel.deleteQueue(rig.nameOf('a'));
    expect((await rejection(rig.publish(message('1')))).code).toBe('BrokerUnavailable');
    const target = { exchange: '', routingKey: rig.nameOf('a') };
    const error = await rejection(rig.rabbit.publishTo(target, { message: message('1'), ...plain }));
    expect(error.code).toBe('PublishUnroutable');
  });

  test('F20: what a full queue has sent to wait comes back, and holds up no other pipeline on its rung', async () => {
    await using rig = await openRig(broker);
    await using other = await Rig.open(rig.settings);
    await rig.applyWith({ maxLength: 50 }, rig.queue('a', 'order'));
    await other.apply(other.queue('b', 'order'));
    // More than the 32 that the broker sends on from a rung before it must have an answer.
    await rig.publish(...many(40));
    const inbox = await rig.consume('a', 40);
    const failed = await inbox.has(40);
    inbox.consumer.limit(0); // as an open breaker does
    for (const { message: first, settle } of failed) {
      await settle({ kind: 'retry', message: { ...first, delivery: { attempt: 2 } }, delayMs: 2_000 });
    }
    let taken = 0;
    const full = await until('it is full', () =>
      rig.publish(message(`more ${taken}`)).then(
        () => void taken++,
        (error: unknown) => error,
      ),
    );
    expect(full).toMatchObject({ code: 'BrokerFull' });
    await rig.depthIs('a', { ready: taken + 40 });
    await other.publish(message('1'));
    const theirs = await other.consume('b', 1);
    const [first] = await theirs.has(1);
    await first?.settle({ kind: 'retry', message: message('1', { delivery: { attempt: 2 } }), delayMs: 2_000 });
    expect((await theirs.has(2))[1]?.message).toMatchObject({ id: '1', delivery: { attempt: 2 } });
    // It is full still, and takes what is tried again at once as well.
    expect((await rejection(rig.publish(message('refused')))).code).toBe('BrokerFull');
    inbox.each((delivery) => delivery.settle({ kind: 'done', emits: [] }));
    inbox.consumer.limit(40);
    const all = await inbox.has(taken + 80);
    const again = all.filter(({ message: { delivery } }) => delivery.attempt === 2).map(({ message: { id } }) => id);
    expect(again.sort()).toEqual(
      many(40)
        .map(({ id }) => id)
        .sort(),
    );
    await rig.depthIs('a', {});
    expect(inbox.failures).toEqual([]);
  });

  test('P18: 100,000 messages at once are published, never more than 2,000 of them unconfirmed', async () => {
    await using rig = await openRig(broker);
    await rig.apply(rig.queue('a', 'order'));
    const data = Buffer.from('{}');
    const batches = 100;
    await using others = await Others.open(rig.settings);
    const unconfirmed = countUnconfirmed(others.channel);
    let refused = 0;
    const publish = async (batch: number): Promise<void> => {
      const all = Array.from({ length: 1_000 }, (_, i) => message(`${batch}-${i}`, { data }));
      const failed = await rig.publish(...all).then(
        () => false,
        (error: unknown) => error,
      );
      if (failed === false) return;
      expect(failed).toMatchObject({ code: 'BrokerFull' });
      refused++;
    };
    await Promise.all(Array.from({ length: batches }, (_, batch) => publish(batch)));
    // It uses all that it may, and no more.
    expect(unconfirmed.most).toBe(2_000);
    // More than it has room for are refused at once, and none of the others is lost.
    expect(refused).toBeGreaterThan(0);
    expect(refused).toBeLessThan(batches);
    const ready = await until('all of the others are there', async () => {
      const found = (await rig.depth('a'))?.ready ?? 0;
      return found >= (batches - refused) * 1_000 && found;
    });
    expect(ready).toBeLessThanOrEqual(batches * 1_000);
  });

  test('P22: headers that do not fit a frame are refused, and errors are cut', async () => {
    await using rig = await openRig(broker);
    await rig.apply(rig.queue('a', 'order'));
    const inbox = await rig.consume('a', 300);
    await rig.publish(message('1'));
    const [delivery] = await inbox.has(1);
    const bystanders = Promise.all(Array.from({ length: 200 }, (_, i) => rig.publish(message(`b${i}`))));
    const text = randomBytes(100_000).toString('hex');
    expect((await rejection(rig.publish(message('wide', { extensions: { text } })))).code).toBe('MessageTooLarge');
    await bystanders;
    const dead = certified(delivery!.message);
    const error = text.repeat(10);
    const certificate = { ...dead.delivery.dead!, error };
    await delivery?.settle({ kind: 'dead', message: { ...dead, delivery: { attempt: 1, dead: certificate } } });
    await inbox.has(201);
    expect(await rig.deadIds('a')).toEqual(['1']);
    // What just fits can still be tried again, and become a dead letter.
    const wide = await widest(rig);
    const ofWide = (count: number) =>
      until(`${count} of ${wide.id}`, async () => {
        const found = (await inbox.has(0)).filter((one) => one.message.id === wide.id);
        return found.length === count && found.at(-1);
      });
    const last = await ofWide(1);
    await last?.settle({ kind: 'retry', message: { ...wide, delivery: { attempt: 2 } }, delayMs: 1_000 });
    const again = await ofWide(2);
    expect(again?.message).toMatchObject({ id: wide.id, extensions: wide.extensions, delivery: { attempt: 2 } });
    const why = { ...certificate, error: '\u0007'.repeat(100_000) };
    await again?.settle({ kind: 'dead', message: { ...again.message, delivery: { attempt: 2, dead: why } } });
    expect(await rig.deadIds('a')).toEqual(['1', wide.id]);
  });

  test('P13: an exchange that refuses, and a message that the broker refuses, are told to whoever sent it', async () => {
    await using owner = await openRig(broker);
    await using others = await Others.open(owner.settings);
    await others.channel.assertExchange('theirs', 'topic', { durable: true });
    await others.channel.assertExchange('ours', 'fanout', { durable: true });
    await others.channel.assertQueue('mail', { durable: true });
    await others.channel.bindQueue('mail', 'ours', '');
    await using rig = await Rig.open(await userOf(broker, owner.settings, { write: '^(levada\\.|ours$)' }));
    await rig.apply(rig.queue('a', 'order'));
    const send = (exchange: string, id: string) =>
      rig.rabbit.publishTo(
        { exchange, routingKey: exchange === '' ? 'mail' : 'x' },
        { message: message(id), ...plain },
      );
    for (let i = 0; i < 5; i++) {
      const refused = [rejection(send('', 'x')), rejection(send('theirs', 'x'))];
      await Promise.all([send('ours', `${i}`), rig.publish(message(`own ${i}`))]);
      for (const { code } of await Promise.all(refused)) expect(code).toBe('BrokerForbidden');
    }
    expect(await others.channel.checkQueue('mail')).toMatchObject({ messageCount: 5 });
    await rig.depthIs('a', { ready: 5 });
  });
});
