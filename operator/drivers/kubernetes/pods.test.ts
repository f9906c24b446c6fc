import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { containerPorts } from '../../../api/contract/names.ts';
import { until } from '../../../test/support/wait.ts';
import type { Changed } from '../../engine/reflector.ts';
import { OwnedPods } from './pods.ts';
import type { LivePod } from './types.ts';

/** A loopback address of this process's own: the port is that of every pod. */
const podIP = `127.${64 + (process.pid % 128)}.${Math.floor(process.pid / 128) % 256}.251`;
const uid = 'uid-1';
const podIn = (phase: string): LivePod => ({
  metadata: { namespace: 'shop', name: 'orders-1', uid, labels: { owner: 'orders' } },
  status: { phase, podIP },
});
/** Where nobody listens, until a test does. */
const otherIP = podIP.replace(/251$/, '250');
const unheard = (isReady: boolean): LivePod => ({
  ...podIn('Running'),
  status: { phase: 'Running', podIP: otherIP, conditions: [{ type: 'Ready', status: isReady ? 'True' : 'False' }] },
});

let server: Server;
let asked: number;
let ended: number[];
let changes: string[];
let change: Changed<LivePod>;
let pods: OwnedPods<number>;
let made: (maybe: number, mayWait?: true) => OwnedPods<number>;
beforeEach(async () => {
  asked = 0;
  ended = [];
  changes = [];
  server = createServer((_, res) => res.end(String(++asked))).listen(containerPorts.admin, podIP);
  await once(server, 'listening');
  const onChange = (listener: Changed<LivePod>) => {
    change = listener;
  };
  made = (maybe, mayWait) =>
    new OwnedPods<number>(
      { onChange },
      {
        label: 'owner',
        answers: { read: Number, isSame: (a, b) => a === b, likely: () => 'soon', ...(mayWait && { mayWait }) },
        pauses: { soon: 20, maybe, never: 20 },
        changed: (namespace, owner) => changes.push(`${namespace}/${owner}`),
        ended: (_, last) => ended.push(last),
      },
    );
  pods = made(20);
});
afterEach(async () => {
  pods.close();
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

it.each(['Failed', 'Succeeded'])('a pod that is %s has ended, though it is still there', async (phase) => {
  change(podIn('Running'), undefined);
  const last = await until('it has said something', () => pods.statusOf(uid));
  changes = [];
  change(podIn(phase), podIn('Running'));
  expect(ended).toEqual([expect.any(Number)]);
  expect(ended[0]).toBeGreaterThanOrEqual(last);
  expect(pods.of('shop', 'orders')).toEqual([]);
  expect(pods.statusOf(uid)).toBeUndefined();
  expect(changes).toEqual(['shop/orders']);
  // It is not asked again, and nothing is told of it twice.
  change({ ...podIn(phase), metadata: { ...podIn(phase).metadata, resourceVersion: '2' } }, podIn(phase));
  await pods.refresh('shop', 'orders');
  expect(pods.statusOf(uid)).toBeUndefined();
  change(undefined, podIn(phase));
  expect(ended).toHaveLength(1);
});

it('a pod that has ended before it is seen is none', async () => {
  change(podIn('Failed'), undefined);
  await pods.refresh('shop', 'orders');
  expect(pods.of('shop', 'orders')).toEqual([]);
  expect(pods.statusOf(uid)).toBeUndefined();
  change(undefined, podIn('Failed'));
  expect([asked, ended]).toEqual([0, []]);
});

it('each pod is asked once before it counts as known, and not again for that', async () => {
  change(podIn('Running'), undefined);
  await pods.known('shop', 'orders');
  expect(pods.statusOf(uid)).toBe(1);
  await pods.known('shop', 'orders');
  expect(asked).toBe(1);
});

it('a pod that is ready when it is seen first may wait for its question, until somebody waits for the answer', async () => {
  pods.close();
  pods = made(3_600_000, true);
  const starting = podIn('Running');
  const ready = {
    metadata: { ...starting.metadata, name: 'orders-2', uid: 'uid-2' },
    status: { ...starting.status, conditions: [{ type: 'Ready', status: 'True' }] },
  } as LivePod;
  change(ready, undefined);
  change(starting, undefined);
  await until('the other one has said something', () => pods.statusOf(uid));
  expect(pods.statusOf('uid-2')).toBeUndefined();
  pods.hurry('shop', 'orders');
  await until('it has said something', () => pods.statusOf('uid-2'));
});

it('a pod that is ready and answers nothing is silent after a while, until it answers', async () => {
  change(unheard(true), undefined);
  const begin = performance.now();
  changes = [];
  const why = await until('it is silent', () => pods.silenceOf(uid));
  expect(why).toBe(`connect ECONNREFUSED ${otherIP}:${containerPorts.admin}`);
  expect(performance.now() - begin).toBeGreaterThan(60 * 20);
  expect(changes).toEqual(['shop/orders']);
  const other = createServer((_, res) => res.end('1')).listen(containerPorts.admin, otherIP);
  try {
    await until('it has said something', () => pods.statusOf(uid));
    expect(pods.silenceOf(uid)).toBeUndefined();
    expect(changes).toEqual(['shop/orders', 'shop/orders']);
  } finally {
    other.closeAllConnections();
    other.close();
  }
});

it('a pod that says the same again is silent no more, and that is told', async () => {
  const answer = { code: 200 };
  server.removeAllListeners('request');
  server.on('request', (_, res) => res.writeHead(answer.code).end('7'));
  const { metadata, status } = podIn('Running');
  const ready = { metadata, status: { ...status, conditions: [{ type: 'Ready', status: 'True' }] } } as LivePod;
  change(ready, undefined);
  await until('it has said something', () => pods.statusOf(uid));
  answer.code = 500;
  expect(await until('it is silent', () => pods.silenceOf(uid))).toBe('it answers 500');
  changes = [];
  answer.code = 200;
  await until('it is heard', () => pods.silenceOf(uid) === undefined);
  expect(changes).toEqual(['shop/orders']);
});

it('a pod that is not ready is not silent, however long it answers nothing; then its time begins', async () => {
  change(unheard(true), undefined);
  await until('it is silent', () => pods.silenceOf(uid));
  change(unheard(false), unheard(true));
  expect(pods.silenceOf(uid)).toBeUndefined();
  await pods.refresh('shop', 'orders');
  change(unheard(true), unheard(false));
  changes = [];
  await pods.refresh('shop', 'orders');
  expect([pods.silenceOf(uid), changes]).toEqual([undefined, []]);
  await until('it is silent again', () => pods.silenceOf(uid));
});

it('a pod that does not answer keeps nobody waiting', async () => {
  const { metadata, status } = podIn('Running');
  change({ metadata, status: { ...status, podIP: otherIP } }, undefined);
  await pods.known('shop', 'orders');
  expect(pods.statusOf(uid)).toBeUndefined();
});

it('what a pod says when it is told something is known at once', async () => {
  change(podIn('Running'), undefined);
  await until('it has said something', () => pods.statusOf(uid));
  changes = [];
  pods.took(uid, (last) => last + 1_000);
  expect(pods.statusOf(uid)).toBeGreaterThan(1_000);
  expect(changes).toEqual(['shop/orders']);
});

it('a question that was under way when a pod was told something is asked again', async () => {
  change(podIn('Running'), undefined);
  await until('it has said something', () => pods.statusOf(uid));
  const isHeld = Promise.withResolvers<void>();
  let release = () => {};
  server.removeAllListeners('request');
  server.once('request', (_, res) => {
    isHeld.resolve();
    release = () => {
      server.on('request', (_, next) => next.end('5000'));
      res.end('3000');
    };
  });
  await isHeld.promise;
  pods.took(uid, () => 4_000);
  changes = [];
  const seen = until('it is asked anew', () => pods.statusOf(uid) === 5_000);
  release();
  await seen;
  expect(changes).toEqual(['shop/orders']); // of 5000, and never of 3000
});
