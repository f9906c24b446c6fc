import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { until } from '../../../test/support/serve.ts';
import type { Outcome } from './connection.ts';
import { decodeRequests, encodeHello, FrameReader, protocolVersion, resultFrames } from './frames.ts';
import { Target } from './target.ts';

const closing: (() => unknown)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

const infos = [{ name: 'y', datatype: 'FP32' as const, shape: [-1] }];
const signature = { inputs: infos, outputs: infos };
const y = { datatype: 'FP32' as const, shape: [1], data: new Float32Array([1]) };
const hello = encodeHello({ protocol: protocolVersion, version: 'v2', ...signature });

/** A version that answers with what it is asked. `sizes`: requests of each message. */
async function version(first: Buffer | undefined = hello) {
  const seen = { sizes: [] as number[], socket: undefined as Socket | undefined, isEnded: false };
  const server = createServer({ noDelay: true }, (socket) => {
    seen.socket = socket;
    closing.push(() => socket.destroy());
    socket.on('error', () => {});
    socket.on('close', () => {
      seen.isEnded = true;
    });
    if (first) socket.write(first);
    const reader = new FrameReader((_, payload) => {
      const requests = decodeRequests(payload);
      seen.sizes.push(requests.length);
      const results = requests.map(({ id, inputs }) => ({ id, servedMs: 1, result: { outputs: inputs } }));
      for (const frame of resultFrames(results)) socket.write(frame);
    });
    socket.on('data', (chunk: Buffer) => reader.push(chunk));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => server.close());
  const peer = { version: 'v2', host: '127.0.0.1', port: (server.address() as AddressInfo).port, signature };
  return { seen, peer };
}

type Version = Awaited<ReturnType<typeof version>>;

async function targetOf(...versions: Version[]) {
  const target = new Target();
  target.update(
    versions.map(({ peer }) => peer),
    Math.random,
  );
  closing.push(() => target.leave());
  await until(() => versions.every(({ seen }) => seen.socket !== undefined));
  const outcomes: string[] = [];
  const send = (ms = 5_000) =>
    target.send({
      ...{ inputs: [y], rows: 1, deadline: performance.now() + ms },
      done: (outcome: Outcome) => void outcomes.push('reason' in outcome ? outcome.reason : 'served'),
    });
  /** One in each turn. */
  const flow = async (count: number) => {
    for (let i = 0; i < count; i++) {
      send();
      await turn();
    }
  };
  const settled = (count: number) => until(() => outcomes.length >= count);
  return { send, flow, outcomes, settled };
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

test('what two turns bring is one message, also where there are two addresses', async () => {
  const versions = [await version(), await version()];
  const { flow, outcomes, settled } = await targetOf(...versions);
  await flow(20);
  await settled(20);
  for (const { seen } of versions) seen.sizes.length = 0;
  await flow(200);
  await settled(220);
  const sizes = versions.flatMap(({ seen }) => seen.sizes);
  expect(sum(sizes)).toBe(200);
  expect(200 / sizes.length).toBeGreaterThan(1.8);
  expect(versions.every(({ seen }) => seen.sizes.length > 20)).toBe(true);
  expect(new Set(outcomes)).toEqual(new Set(['served']));
});

test('likewise on a connection that is greeted while every turn brings something', async () => {
  const late = await version(undefined);
  const { flow, settled } = await targetOf(late);
  await flow(20);
  late.seen.socket?.write(hello);
  await flow(100);
  const before = late.seen.sizes.length;
  const sent = sum(late.seen.sizes);
  await flow(200);
  await settled(320);
  expect((320 - sent) / (late.seen.sizes.length - before)).toBeGreaterThan(1.8);
});

test('a pause of this process is nobody’s fault: what it has left no time for was not asked, and the next is served', async () => {
  const { send, outcomes, settled } = await targetOf(await version());
  send();
  await settled(1);
  for (let i = 0; i < 4; i++) send(100);
  await turn();
  for (const end = performance.now() + 80; performance.now() < end; );
  await settled(5);
  send();
  await settled(6);
  expect(outcomes).toEqual(['served', ...Array(4).fill('no-time'), 'served']);
});

test('what has not left when the other side ends the connection goes to the other address', async () => {
  const versions = [await version(), await version()];
  const { send, flow, outcomes, settled } = await targetOf(...versions);
  await flow(8);
  await settled(8);
  for (const { seen } of versions) seen.sizes.length = 0;
  const [one, other] = versions as [Version, Version];
  one.seen.socket?.end();
  for (let i = 0; i < 3; i++) send();
  await turn();
  await turn();
  for (let i = 0; i < 3; i++) send();
  await settled(14);
  expect(outcomes.slice(8)).toEqual(Array(6).fill('served'));
  expect(sum(other.seen.sizes) + sum(one.seen.sizes)).toBe(6);
});

test.each([
  ['no tensor', encodeHello({ protocol: protocolVersion, version: 'v2', inputs: [null as never], outputs: [] })],
  [
    'no shape',
    encodeHello({ protocol: protocolVersion, version: 'v2', inputs: [], outputs: [{ name: 'y' } as never] }),
  ],
  ['a second one', Buffer.concat([hello, hello])],
])('a greeting that is none ends the connection: %s', async (_, greeting) => {
  const wrong = await version(greeting);
  await targetOf(wrong);
  await until(() => wrong.seen.isEnded);
});
