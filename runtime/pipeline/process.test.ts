import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { ConsumerConfig } from '../../api/contract/pipeline.ts';
import { type PodConfig, startPod } from '../../test/support/pipeline-pod.ts';
import { until } from '../../test/support/wait.ts';
import { readSecret } from './secret.ts';

const pipeline = 'test/orders';
const step: ConsumerConfig = {
  kind: 'consumer',
  pipeline,
  name: 'check',
  action: { kind: 'transform', value: '{% $ %}' },
  emits: [],
  retry: { maxAttempts: 1, initialMs: 1_000, factor: 2, maxMs: 1_000 },
  concurrency: 1,
};
const config: PodConfig = {
  topology: { pipeline, queues: [{ name: 'check', bindings: [] }] },
  placement: { pipeline, queues: { check: { from: [{ name: 'levada.x', adopted: false }], dead: 'd' } }, types: [] },
  consumers: [step],
};
const secret = { host: '127.0.0.1', port: '1', username: 'levada', password: 'correct horse' };
const { password: _, ...withoutPassword } = secret;

test.each<[string, PodConfig, Record<string, string> | undefined, string, RegExp]>([
  [
    'a key of the Secret is missing',
    config,
    withoutPassword,
    'SecretInvalid',
    /^Secret test\/mq: password: found nothing/,
  ],
  ['the Secret has a key that is wrong', config, { ...secret, port: 'x' }, 'SecretInvalid', /^Secret test\/mq: port: /],
  [
    'the Secret is not mounted',
    config,
    undefined,
    'SecretNotFound',
    /^no Secret test\/mq; allowed: one that is mounted at /,
  ],
  [
    'a step that is to remember',
    { ...config, consumers: [{ ...step, idempotency: { retentionMs: 1_000 } }] },
    secret,
    'StoreRequired',
    /^the step check is to remember/,
  ],
])('%s: Failed, and there until it is ended', async (_name, unit, keys, code, message) => {
  await using pod = await startPod(unit, keys);
  const status = await until('it answers', () => pod.status());
  expect(status).toEqual({
    state: 'Failed',
    failure: { code, message: expect.stringMatching(message) },
    draining: false,
    countedMs: expect.any(Number),
    consumers: {},
    sources: {},
  });
  const ready = await pod.ask('/readyz');
  expect([ready.status, ready.text]).toEqual([503, expect.stringMatching(message)]);
  expect((await pod.ask('/livez')).status).toBe(200);
  expect((await pod.ask('/metrics')).status).toBe(200);
  expect(pod.process.log).toMatchObject([{ level: 50, pipeline, unit: 'orders-part', code }]);
  pod.process.child.kill('SIGTERM');
  expect(await pod.process.exit()).toEqual({ code: 0, signal: null });
  expect(pod.written).not.toContain(secret.password);
});

test('a broker that is not there: Loading, saying why; SIGTERM ends it all the same', async () => {
  await using pod = await startPod(config, secret);
  const failure = { code: 'BrokerUnavailable', message: expect.stringContaining('amqp://127.0.0.1:1') };
  await until('it says why', async () => (await pod.status()).failure?.message.includes('ECONNREFUSED'));
  expect(await pod.status()).toMatchObject({ state: 'Loading', failure, consumers: { check: { running: false } } });
  expect((await pod.ask('/readyz')).text).toContain('ECONNREFUSED');
  pod.process.child.kill('SIGTERM');
  expect(await pod.process.exit()).toEqual({ code: 0, signal: null });
  expect(pod.written).not.toContain(secret.password);
});

test('a Secret is read as the kubelet mounts it: links to files of a folder that is exchanged as one', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'levada-secret-'));
  await mkdir(join(folder, '..2030'));
  await writeFile(join(folder, '..2030', 'host'), 'mq\n');
  await symlink('..2030', join(folder, '..data'));
  await symlink('..data/host', join(folder, 'host'));
  expect(await readSecret(folder, 'test/mq')).toEqual({ host: 'mq\n' });
  await mkdir(join(folder, 'port'));
  await expect(readSecret(folder, 'test/mq')).rejects.toMatchObject({
    code: 'SecretInvalid',
    message: expect.stringContaining('Secret test/mq: it cannot be read: EISDIR'),
  });
  await rm(folder, { recursive: true });
});
