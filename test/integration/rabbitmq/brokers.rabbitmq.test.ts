/** docs/guides/rabbitmq.md: what happens to the broker itself, and to clocks. Each version has a broker of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Rabbit, type RabbitVersion, startRabbit } from '../../../hack/rabbitmq.ts';
import type { Inbox } from '../../../runtime/transports/conformance/inbox.ts';
import { many, message } from '../../../runtime/transports/conformance/messages.ts';
import { onEachRabbit } from '../../support/rabbitmq.ts';
import { until } from '../../support/wait.ts';
import { Rig, rejection } from './harness.ts';

/** How long the broker is away. `npm run prove` takes the minute that the guide speaks of. */
const awayMs = process.env['LEVADA_PROVE'] ? 60_000 : 5_000;
const faketime = '/usr/bin/faketime';

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const settleAll = (inbox: Inbox) =>
  inbox.each((delivery) => delivery.settle({ kind: 'done', emits: [] }).catch(() => {})); // delivered again

onEachRabbit(({ name, settings: shared }) => {
  let rabbit: Rabbit;
  beforeAll(async () => {
    rabbit = await startRabbit(name as RabbitVersion);
  });
  afterAll(() => rabbit?.remove());
  const settings = () => ({ ...shared, host: rabbit.address, port: rabbit.ports.amqp });

  for (const [number, alarm] of [
    ['F13', '{resource_limit, disk, node()}'],
    ['F14', '{resource_limit, memory, node()}'],
  ] as const) {
    test(`${number}: an alarm of ${alarm.split(' ')[1]?.slice(0, -1)} refuses what is published, while consumers go on`, async () => {
      await using rig = await Rig.open(settings());
      await rig.apply(rig.queue('a', 'order'), rig.queue('b', 'scored'));
      await rig.publish(...many(5));
      await rabbit.ctl('eval', `rabbit_alarm:set_alarm({${alarm}, []}).`);
      try {
        // The broker says so to those that publish: what has made it say so is not confirmed until the alarm is over.
        const first = rejection(rig.publish(message('first')));
        const error = await until('it is refused', () =>
          Promise.race([rejection(rig.publish(message('refused'))), pause(200).then(() => undefined)]),
        );
        expect(error.code).toBe('BrokerFull');
        expect(error.message).toContain('it accepts no messages');
        expect(rig.state.broker.blocked).toMatchObject({ code: 'BrokerFull' });
        expect(rig.state.broker.connection).toBeUndefined();
        // Whoever has sent it need not wait for the end of the alarm.
        expect((await first).code).toBe('BrokerUnavailable');
        // Who looks is told, and a change waits without holding anybody up.
        const change = rejection(rig.applyWith({ deliveryLimit: 7 }, rig.queue('a', 'order')));
        expect((await change).code).toBe('BrokerFull');
        const inbox = await rig.consume('a');
        const inHand = await inbox.has(5);
        await inHand[0]?.settle({ kind: 'done', emits: [] });
        const emits = [message('emitted', { type: 'scored' })];
        expect((await rejection(inHand[1]!.settle({ kind: 'done', emits }))).code).toBe('BrokerFull');
        await rig.depthIs('a', { unsettled: 4 });
        await rabbit.ctl('eval', `rabbit_alarm:clear_alarm(${alarm}).`);
        await until('it is taken', () => inHand[1]!.settle({ kind: 'done', emits }).then(() => true));
        await rig.depthIs('b', { ready: 1 });
        await until('all of it is there', () => inbox.ids.includes('first'));
      } finally {
        await rabbit.ctl('eval', `rabbit_alarm:clear_alarm(${alarm}).`);
      }
    });
  }

  test('F13: whoever ends while the broker takes no messages, ends', { timeout: 60_000 }, async () => {
    const rig = await Rig.open(settings());
    await rig.apply(rig.queue('a', 'order'));
    await rabbit.ctl('eval', 'rabbit_alarm:set_alarm({{resource_limit, disk, node()}, []}).');
    try {
      const published = rejection(rig.publish(message('1')));
      await until('it is blocked', () => rig.state.broker.blocked !== undefined);
      await rig[Symbol.asyncDispose]();
      expect((await published).code).toBe('BrokerUnavailable');
    } finally {
      await rabbit.ctl('eval', 'rabbit_alarm:clear_alarm({resource_limit, disk, node()}).');
    }
  });

  test('P22: a message above what the broker is told to take is refused, and nobody else is', async () => {
    // 3.10 reads the one, 4.3 the other.
    const takes = (bytes: number) =>
      rabbit.ctl(
        'eval',
        `application:set_env(rabbit, max_message_size, ${bytes}), persistent_term:put(max_message_size, ${bytes}).`,
      );
    await takes(100_000);
    await using resources = new AsyncDisposableStack();
    resources.defer(async () => {
      await takes(16_777_216);
    });
    const rig = resources.use(await Rig.open(settings()));
    await rig.apply(rig.queue('a', 'order'));
    for (let i = 0; i < 3; i++) {
      const large = message('large', { data: new Uint8Array(100_001) });
      const refused = rejection(rig.publish(large));
      // It may have been on its way on the channel that ends by the other one, and is sent again then.
      await until('it is taken', () => rig.publish(message(`${i}`)).then(() => true));
      expect(await refused).toMatchObject({ code: 'MessageTooLarge', params: { found: 100_001, limit: 100_000 } });
    }
    const inbox = await rig.consume('a');
    await until('all are there', () => new Set(inbox.ids).size === 3);
  });

  test('F17: a message that takes longer than the broker allows comes again, and the step goes on', async () => {
    await rabbit.ctl('eval', 'application:set_env(rabbit, consumer_timeout, 2000).');
    // Before 4.3 a channel looks at its own; then a queue does.
    await rabbit.ctl('eval', 'application:set_env(rabbit, channel_tick_interval, 1000).');
    await using resources = new AsyncDisposableStack();
    resources.defer(async () => {
      await rabbit.ctl('eval', 'application:set_env(rabbit, consumer_timeout, 1800000).');
      await rabbit.ctl('eval', 'application:set_env(rabbit, channel_tick_interval, 60000).');
    });
    const rig = resources.use(await Rig.open(settings()));
    await rig.apply(rig.queue('a', 'order'));
    const inbox = await rig.consume('a', 1);
    await rig.publish(message('slow'), message('next'));
    const [slow] = await inbox.has(1);
    // Its handler has not ended when the broker takes it back: it is either given to this consumer again, or waits.
    await until(
      'it is taken back',
      async () => {
        if (inbox.ids.length > 1) return true;
        return (await rig.depth('a'))?.ready === 2;
      },
      { timeoutMs: 90_000 },
    );
    await slow?.settle({ kind: 'done', emits: [] }).catch(() => {});
    settleAll(inbox);
    for (const delivery of (await inbox.has(2)).slice(1))
      await delivery.settle({ kind: 'done', emits: [] }).catch(() => {});
    await until(
      'both are handled',
      () => inbox.ids.filter((id) => id === 'slow').length >= 2 && inbox.ids.includes('next'),
    );
    await rig.depthIs('a', {});
    expect(inbox.consumer.failure).toBeUndefined();
    await rig.publish(message('later'));
    await until('it goes on', () => inbox.ids.includes('later'));
  });

  test('F15: a broker that is stopped and started again has everything, and its consumers come back', async () => {
    await using rig = await Rig.open(settings());
    await rig.apply(rig.queue('a', 'order'), rig.queue('idle', 'order'));
    const inbox = await rig.consume('a', 10);
    const taken: string[] = [];
    const inHand = rig.publish(...many(20)).then(() => taken.push(...many(20).map(({ id }) => id)));
    await inbox.has(10);
    await inHand;
    for (const end of ['stop', 'kill'] as const) {
      await rabbit[end]();
      const failure = await until('it is noticed', () => rig.state.broker.connection);
      expect(['BrokerUnavailable', 'BrokerRefused']).toContain(failure.code);
      expect((await rejection(rig.publish(message('away')))).code).toBe('BrokerUnavailable');
      await pause(end === 'stop' ? awayMs : 0);
      await rabbit.start();
      await until(`${end}: it is taken`, () => rig.publish(message(end)).then(() => true), { timeoutMs: 60_000 });
      taken.push(end);
      await until(`${end}: both connections are back`, () => rig.state.broker.connection === undefined);
      await until(`${end}: everything is there`, async () => {
        // What had no answer when the connection ended may be there twice.
        return ((await rig.depth('idle'))?.ready ?? 0) >= taken.length;
      });
    }
    const before = inbox.ids.length;
    await inbox.has(before);
    settleAll(inbox);
    inbox.consumer.limit(0);
    inbox.consumer.limit(100);
    for (const delivery of await inbox.has(before)) await delivery.settle({ kind: 'done', emits: [] }).catch(() => {});
    await until('all are handled', () => taken.every((id) => inbox.ids.includes(id)), { seen: () => inbox.ids.join() });
    await rig.depthIs('a', {});
    expect(await rig.rabbit.broker.mend(rig.pipeline)).toBe(false);
  });

  const withoutFaketime = !existsSync(faketime) && process.env['CI'] !== 'true';
  test.skipIf(withoutFaketime)(
    `F19: retries, leases and what is done do not follow a clock that jumps${withoutFaketime ? ' (skipped: faketime is not installed)' : ''}`,
    async () => {
      await using resources = new AsyncDisposableStack();
      const folder = await mkdtemp(join(tmpdir(), 'levada-clock-'));
      resources.defer(() => rm(folder, { recursive: true }));
      const clock = join(folder, 'clock');
      await writeFile(clock, '+0');
      const rig = resources.use(await Rig.open(settings()));
      await rig.apply(rig.queue('work', 'order'), rig.queue('out', 'done'));
      const env = {
        ...process.env,
        FAKETIME_TIMESTAMP_FILE: clock,
        FAKETIME_NO_CACHE: '1',
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
      };
      const { FAKETIME: _, ...own } = env as NodeJS.ProcessEnv;
      const script = join(import.meta.dirname, 'clocked.ts');
      // The file says what the time is; the one of the command line is for the moment before it is read.
      const command = ['-f', '+0', 'env', '-u', 'FAKETIME', process.execPath, script, rig.pipeline];
      // faketime stays beside what it starts: both are ended as a group.
      const child = spawn(faketime, command, { env: own, stdio: ['pipe', 'pipe', 'inherit'], detached: true });
      const ended = once(child, 'close');
      const kill = async () => {
        try {
          if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // it has ended
        }
        await ended;
        // Its semaphore is named by process id, and may have been taken when it was killed: the next of the id would wait for ever.
        for (const name of ['faketime_shm_', 'sem.faketime_sem_']) {
          await rm(`/dev/shm/${name}${child.pid}`, { force: true });
        }
      };
      resources.defer(kill);
      const said: Array<Record<string, unknown>> = [];
      createInterface({ input: child.stdout }).on('line', (line) =>
        said.push(JSON.parse(line) as Record<string, unknown>),
      );
      child.stdin.end(JSON.stringify(rig.settings));
      const seen = () => JSON.stringify(said);
      await until('it consumes', () => said.length === 1, { seen });
      const year = 365 * 86_400_000;
      const ends = (id: string) => said.filter((line) => line['id'] === id).map(({ end }) => end);
      const apart = () => Number(said.at(-1)?.['now']) - Date.now();

      await rig.publish(message('1', { subject: 'fail once' }));
      await until('the first attempt has ended', () => ends('1').length === 1, { seen });
      await writeFile(clock, '+365d');
      await until('the other one is made', () => ends('1').length === 2, { seen });
      expect(ends('1'), seen()).toEqual(['retry', 'done']);
      const [first, second] = said.filter(({ id }) => id === '1');
      expect(Number(second?.['handled']) - Number(first?.['handled'])).toBeGreaterThan(900);
      await rig.publish(message('1'));
      await until('it is known', () => ends('1').length === 3, { seen });
      expect(ends('1')).toEqual(['retry', 'done', 'duplicate']);
      expect(Math.abs(apart() - year)).toBeLessThan(86_400_000);

      await rig.publish(message('2', { subject: 'fail once' }));
      await until('the first attempt has ended', () => ends('2').length === 1, { seen });
      await writeFile(clock, '-365d');
      await rig.publish(message('3'));
      await until('the others are made', () => ends('2').length === 2 && ends('3').length === 1, { seen });
      expect([ends('2'), ends('3')]).toEqual([['retry', 'done'], ['done']]);
      expect(Math.abs(apart() + year)).toBeLessThan(86_400_000);
      await rig.depthIs('out', { ready: 3 });
      await kill();
      await rig.depthIs('work', {});
    },
  );
});
