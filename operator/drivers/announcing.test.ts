/** Pipelines are told of rollouts: until they have it, and once as long as nobody is restarted. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Announcement } from '../../api/contract/model-events.ts';
import { LevadaError } from '../../api/errors.ts';
import { systemClock } from '../../runtime/clock.ts';
import { type Inbox, openInbox } from '../../runtime/transports/conformance/inbox.ts';
import { MemoryTransport } from '../../runtime/transports/memory/transport.ts';
import { until } from '../../test/support/wait.ts';
import { nothing, type UnitPlan } from '../plan/units.ts';
import { Announcing, type Publish } from './announcing.ts';
import { memoryDriver } from './memory/driver.ts';

const owner = 'ModelDeployment/team/iris';
const entry: Announcement = {
  type: 'model.rolledback',
  rollout: 'v2-a-0',
  version: 'v2',
  from: 'v1',
  time: '2030-01-01T12:00:00.000Z',
  gate: 'errorRate',
  observed: 0.5,
  limit: 0.01,
  n: 20,
  to: ['orders'],
};
const plan = (...announce: Announcement[]): UnitPlan => ({ ...nothing, announce });
const bound = (pipeline: string) => ({
  pipeline,
  queues: [{ name: 'news', bindings: [{ pipeline, type: 'model.rolledback@iris' }] }],
});

let transport: MemoryTransport;
const drivers: Announcing[] = [];
const lines: string[] = [];
let changed: string[];

const publish: Publish = (pipeline, message, key) => transport.publish(pipeline, [message], key);

function driver(by: Publish = publish): Announcing {
  const retry = { firstMs: 5, maxMs: 20 };
  const made = new Announcing(
    memoryDriver(() => undefined),
    { publish: by, retry, log: (text) => lines.push(text) },
  );
  made.watch((key) => changed.push(key));
  drivers.push(made);
  return made;
}

const hasTold = (one: Announcing, count: number) =>
  until(`${count} are told`, async () => ((await one.observe(owner)).announced?.length ?? 0) === count);
const inboxOf = (pipeline: string): Promise<Inbox> => openInbox(transport, pipeline, 'news', 100);

beforeEach(() => {
  transport = new MemoryTransport({ clock: systemClock });
  lines.length = 0;
  changed = [];
});
afterEach(async () => {
  await Promise.all(drivers.splice(0).map((one) => one.close()));
  await transport.close();
});

it('an event, once, however often it is asked for', async () => {
  await transport.apply(bound('team/orders'));
  const inbox = await inboxOf('team/orders');
  const one = driver();
  await one.apply(owner, plan(entry));
  await one.apply(owner, plan(entry));
  await hasTold(one, 1);
  expect((await one.observe(owner)).announced).toEqual([{ id: 'v2-a-0/model.rolledback', pipeline: 'orders' }]);
  await one.apply(owner, plan(entry));
  const [delivery] = await inbox.has(1);
  const { data, ...attributes } = delivery?.message ?? { data: new Uint8Array() };
  expect(attributes).toEqual({
    id: 'v2-a-0/model.rolledback',
    source: '/team/iris/rollout',
    type: 'model.rolledback',
    subject: 'v2',
    time: '2030-01-01T12:00:00.000Z',
    datacontenttype: 'application/json',
    extensions: {},
    delivery: { attempt: 1 },
  });
  expect(JSON.parse(Buffer.from(data).toString())).toEqual({
    model: 'iris',
    namespace: 'team',
    version: 'v2',
    from: 'v1',
    rollout: 'v2-a-0',
    gate: 'errorRate',
    observed: 0.5,
    limit: 0.01,
    n: 20,
  });
  await one.apply(owner, plan());
  expect(await one.observe(owner)).not.toHaveProperty('announced');
  expect(inbox.ids).toHaveLength(1);
  expect(changed).toContain(owner);
});

it('again and again where it does not arrive, and the others do not wait for that', async () => {
  await transport.apply(bound('team/shop'));
  const one = driver();
  await one.apply(owner, plan({ ...entry, to: ['orders', 'shop'] }));
  await hasTold(one, 1);
  expect(await (await inboxOf('team/shop')).has(1)).toHaveLength(1);
  expect(lines).toEqual([
    'team/orders could not be told of v2-a-0/model.rolledback: the broker cannot be used: nothing of team/orders is bound to model.rolledback@iris yet',
  ]);
  await transport.apply(bound('team/orders'));
  await hasTold(one, 2);
  expect(await (await inboxOf('team/orders')).has(1)).toHaveLength(1);
});

it('by whoever comes next, under the same id, where nobody knows whether it has been told', async () => {
  await transport.apply(bound('team/orders'));
  const inbox = await inboxOf('team/orders');
  const first = driver();
  await first.apply(owner, plan(entry));
  await hasTold(first, 1);
  await first.close();
  const second = driver();
  await second.apply(owner, plan(entry));
  await hasTold(second, 1);
  expect((await inbox.has(2)).map(({ message }) => message.id)).toEqual([inbox.ids[0], inbox.ids[0]]);
});

it('also of a model of which something cannot be made', async () => {
  await transport.apply(bound('team/orders'));
  const inbox = await inboxOf('team/orders');
  const models = memoryDriver(() => undefined);
  models.apply = async () => {
    throw new LevadaError('ClusterRefused', { what: 'it', detail: 'no' });
  };
  const one = new Announcing(models, { publish, log: (text) => lines.push(text) });
  drivers.push(one);
  await expect(one.apply(owner, plan(entry))).rejects.toMatchObject({ code: 'ClusterRefused' });
  expect(await inbox.has(1)).toHaveLength(1);
});

it('nothing more, once nobody wants it', async () => {
  let tries = 0;
  const one = driver(async () => {
    tries++;
    throw new LevadaError('BrokerUnavailable', { detail: 'it is away' });
  });
  await one.apply(owner, plan(entry));
  await until('it is tried again', () => tries >= 2);
  await one.apply(owner, nothing);
  const before = tries;
  // Another owner's retries show that time goes on.
  await one.apply('ModelDeployment/team/other', plan(entry));
  await until('the other is tried', () => tries >= before + 3);
  expect(lines.filter((line) => line.includes('team/orders'))).toHaveLength(2);
  expect(await one.observe(owner)).not.toHaveProperty('announced');
});
