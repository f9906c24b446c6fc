/** docs/guides/rabbitmq.md: who may do what, and what is there already. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { type RabbitVersion, startRabbit } from '../../../hack/rabbitmq.ts';
import { message } from '../../../runtime/transports/conformance/messages.ts';
import { onEachRabbit } from '../../support/rabbitmq.ts';
import { until } from '../../support/wait.ts';
import { ask, Others, openRig, Rig, rejection, userOf } from './harness.ts';

const run = promisify(execFile);

onEachRabbit((broker) => {
  test('F1: a wrong password is refused, and nothing of it is shown', async () => {
    await using rig = await Rig.open({ ...broker.settings, password: 'wr0ng-s3cret' });
    const error = await until('it is refused', () => rig.state.broker.connection);
    expect(error).toMatchObject({ code: 'BrokerRefused' });
    const calls = [rig.apply(rig.queue('a', 'order')), rig.publish(message('1'))];
    const codes = (await Promise.all(calls.map(rejection))).map(({ code }) => code);
    expect(codes).toEqual(['BrokerRefused', 'BrokerRefused']);
    expect(JSON.stringify([error, rig.log])).not.toContain('wr0ng-s3cret');
  });

  test('F2: a vhost that is missing is refused, and is used when it is there', async () => {
    const vhost = `late-${crypto.randomUUID()}`;
    await using rig = await Rig.open({ ...broker.settings, vhost });
    const error = await until('it is refused', () => rig.state.broker.connection);
    expect(error.code).toBe('BrokerRefused');
    expect(error.message).toContain(`/${vhost}: there is no such vhost, or the user may not use it`);
    await ask(broker, 'PUT', `vhosts/${vhost}`, {});
    await ask(broker, 'PUT', `permissions/${vhost}/guest`, { configure: '.*', write: '.*', read: '.*' });
    await until('it is connected', () => rig.apply(rig.queue('a', 'order')).then(() => true));
    expect(rig.state.broker.connection).toBeUndefined();
  });

  test('F3: a user who may not configure is told so, and may again when it is allowed', async () => {
    await using owner = await openRig(broker);
    const settings = await userOf(broker, owner.settings, { configure: '^$' });
    await using rig = await Rig.open(settings);
    const error = await rejection(rig.apply(rig.queue('a', 'order')));
    expect(error.code).toBe('BrokerForbidden');
    expect(error.message).toMatch(/levada\./);
    expect(rig.state.broker.topology).toMatchObject({ code: 'BrokerForbidden' });
    expect(await ask(broker, 'GET', `queues/${settings.vhost}`)).toEqual([]);
    const all = { configure: '^levada\\.', write: '^levada\\.', read: '^levada\\.' };
    await ask(broker, 'PUT', `permissions/${settings.vhost}/${settings.username}`, all);
    await until('it is allowed', () => rig.apply(rig.queue('a', 'order')).then(() => true));
    expect(rig.state.broker.topology).toBeUndefined();
    // These permissions are enough for all of it.
    await rig.bury('a', '1');
    expect(await rig.deadIds('a', () => 'drop')).toEqual(['1']);
    await rig.apply();
    await until('it is gone', async () => (await rig.depth('a')) === undefined);
  });

  test('F4: a user who may not set policies has settings as arguments of queues', async () => {
    await using owner = await openRig(broker);
    for (const tags of ['', 'management']) {
      const settings = await userOf(broker, owner.settings, { tags });
      await using rig = await Rig.open({ ...settings, managementUri: broker.management });
      await rig.applyWith({ maxLength: 5, deliveryLimit: 3 }, rig.queue('a', 'order'));
      expect(rig.state.broker.settings).toBe('Arguments');
      const found = await ask<{ arguments: object }>(broker, 'GET', `queues/${settings.vhost}/${rig.nameOf('a')}`);
      expect(found.arguments).toMatchObject({ 'x-max-length': 5, 'x-delivery-limit': 3 });
      expect(await ask(broker, 'GET', `policies/${settings.vhost}`)).toEqual([]);
    }
  });

  test('F12: a queue of that name with other arguments is named, and stays as it is', async () => {
    await using first = await openRig(broker);
    await first.apply(first.queue('a', 'order'));
    const name = first.nameOf('a');
    await using others = await Others.open(first.settings);
    await others.channel.deleteQueue(name);
    await others.channel.assertQueue(name, { durable: true, arguments: { 'x-queue-type': 'classic' } });
    await others.send(name, Buffer.from('theirs'));
    await using rig = await Rig.open(first.settings);
    const spec = { name: 'a', bindings: [{ pipeline: first.pipeline, type: 'order' }] };
    const error = await rejection(rig.rabbit.apply({ pipeline: first.pipeline, queues: [spec] }));
    expect(error.code).toBe('QueueConflict');
    expect(error.message).toContain(name);
    expect(error.message).toMatch(/x-queue-type|x-dead-letter|x-overflow|x-delivery-limit/);
    expect(rig.rabbit.broker.state(first.pipeline).broker.topology).toMatchObject({ code: 'QueueConflict' });
    expect(await others.channel.checkQueue(name)).toMatchObject({ messageCount: 1 });
    // Whoever made it takes it away: it goes on.
    await others.channel.deleteQueue(name);
    await rig.rabbit.apply({ pipeline: first.pipeline, queues: [spec] });
    expect(rig.rabbit.broker.state(first.pipeline).broker.topology).toBeUndefined();
  });

  test('P12: all is durable and quorum, on every version', async () => {
    await using rig = await openRig(broker);
    await rig.apply(rig.queue('a', 'order'));
    await rig.publish(message('1'));
    const { vhost } = rig.settings;
    const queues = await until('the broker lists them', async () => {
      const found = await ask<Array<{ name: string; durable: boolean; type: string }>>(
        broker,
        'GET',
        `queues/${vhost}`,
      );
      return found.length === 13 && found;
    });
    for (const { name, durable, type } of queues) expect([name, durable, type]).toEqual([name, true, 'quorum']);
    const exchanges = await ask<Array<{ name: string; durable: boolean }>>(broker, 'GET', `exchanges/${vhost}`);
    const own = exchanges.filter(({ name }) => name.startsWith('levada.'));
    expect(own).toHaveLength(13);
    for (const { name, durable } of own) expect([name, durable]).toEqual([name, true]);
    await using others = await Others.open(rig.settings);
    const found = await others.channel.get(rig.nameOf('a'));
    expect(found ? found.properties.deliveryMode : found).toBe(2);
  });

  test('P1: a limit of deliveries is always set', async () => {
    await using rig = await openRig(broker);
    await rig.apply(rig.queue('a', 'order'));
    const found = await ask<{ arguments: object }>(broker, 'GET', `queues/${rig.settings.vhost}/${rig.nameOf('a')}`);
    expect(found.arguments).toMatchObject({ 'x-delivery-limit': 20 });
  });

  test('P7: whatever dead-letters does so at least once, and refuses instead of dropping', async () => {
    await using rig = await openRig(broker);
    await rig.apply(rig.queue('a', 'order'));
    const queues = await ask<Array<{ name: string; arguments: Record<string, unknown> }>>(
      broker,
      'GET',
      `queues/${rig.settings.vhost}`,
    );
    const deadLetter = queues.filter((one) => one.arguments['x-dead-letter-exchange'] !== undefined);
    expect(deadLetter).toHaveLength(10);
    for (const one of deadLetter) {
      expect(one.arguments).toMatchObject({
        'x-dead-letter-strategy': 'at-least-once',
        'x-overflow': 'reject-publish',
      });
    }
  });

  test('P24: two vhosts of one broker know nothing of each other', async () => {
    await using one = await openRig(broker);
    await using two = await openRig(broker);
    two.pipeline = one.pipeline;
    await one.apply(one.queue('a', 'order'));
    await two.apply(two.queue('a', 'order'));
    await one.publish(message('1'));
    await one.depthIs('a', { ready: 1 });
    await two.depthIs('a', {});
    const inbox = await one.consume('a');
    const again = message('1', { delivery: { attempt: 2 } });
    await (await inbox.has(1))[0]?.settle({ kind: 'retry', message: again, delayMs: 1_000 });
    expect((await inbox.has(2))[1]?.message.delivery.attempt).toBe(2);
    await two.depthIs('a', {});
    await two.apply();
    await until('it is gone', async () => (await two.depth('a')) === undefined);
    await one.depthIs('a', { unsettled: 1 });
  });

  test('P23: TLS with a CA of its own and a client certificate; anything else is refused', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'levada-tls-'));
    await using resources = new AsyncDisposableStack();
    resources.defer(() => rm(folder, { recursive: true }));
    const path = (name: string) => join(folder, name);
    const text = (name: string) => readFile(path(name), 'utf8');
    const openssl = (...args: string[]) => run('openssl', args, { cwd: folder });
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    for (const ca of ['ca', 'other']) {
      await openssl('req', '-x509', ...key, '-keyout', `${ca}.key`, '-out', `${ca}.pem`, '-subj', `/CN=${ca}`);
    }
    await writeFile(path('names'), 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
    for (const [name, subject] of [
      ['server', '/CN=localhost'],
      ['client', '/CN=levada'],
    ] as const) {
      await openssl('req', ...key.slice(0, 5), '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', subject);
      const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'names'];
      await openssl('x509', '-req', '-in', `${name}.csr`, '-out', `${name}.pem`, ...signed);
    }
    const tls = { ca: path('ca.pem'), cert: path('server.pem'), key: path('server.key') };
    const rabbit = await startRabbit(broker.name as RabbitVersion, { tls });
    resources.defer(() => rabbit.remove());
    const settings = { ...broker.settings, host: 'localhost', port: rabbit.ports.tls, tls: true, vhost: '/' };
    const client = { cert: await text('client.pem'), key: await text('client.key') };
    await using rig = await Rig.open({ ...settings, ca: await text('ca.pem'), ...client });
    await rig.apply(rig.queue('a', 'order'));
    await rig.publish(message('1'));
    await (await rig.consume('a')).has(1);
    // The management API behind the same CA, which asks for the same certificate.
    const server = { cert: await text('server.pem'), key: await text('server.key'), ca: await text('ca.pem') };
    const front = createServer({ ...server, requestCert: true, rejectUnauthorized: true }, (near) => {
      const far = connect(rabbit.ports.management, '127.0.0.1');
      for (const socket of [near, far]) socket.on('error', () => {}); // the other one ends as well
      near.pipe(far).pipe(near);
    });
    front.listen(0, '127.0.0.1');
    await once(front, 'listening');
    resources.defer(() => void front.close());
    const managementUri = `https://localhost:${(front.address() as AddressInfo).port}`;
    await using managed = await Rig.open({ ...settings, ca: await text('ca.pem'), ...client, managementUri });
    await managed.applyWith({ maxLength: 5 }, managed.queue('a', 'order'));
    expect(managed.state.broker.settings).toBe('Policies');
    for (const wrong of [{ ca: await text('other.pem'), ...client }, client, { ca: await text('ca.pem') }]) {
      await using refused = await Rig.open({ ...settings, ...wrong });
      const failure = await until('it is refused', () => refused.state.broker.connection);
      expect(failure.code, failure.message).toBe('BrokerRefused');
      expect(failure.message).not.toContain('PRIVATE');
    }
  });
});
