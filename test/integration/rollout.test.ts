/** Rollouts of a local run, under load: what people and other gates than that of errors decide. Bad models are in rollout-load.test.ts. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { rolloutCommand } from '../../api/contract/names.ts';
import { startLoad } from '../support/load.ts';
import { fixture, type Got, iris, Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';

const rollout = {
  interval: '1s',
  steps: [
    { weight: 5, hold: '2s' },
    { weight: 25, hold: '1s' },
    { weight: 50, hold: '1s' },
    { weight: 100, hold: '1s' },
  ],
  gates: [{ errorRate: { max: 0.01 } }],
  promotionHold: '2s',
  progressDeadline: '5m',
};

const phaseOf = ({ status }: Got) => status?.rollout?.phase;
const comesTo = (ws: Workspace, ...phases: string[]) =>
  until(
    `the rollout is ${phases.join(' or ')}`,
    async () => {
      const got = await ws.get();
      return phases.includes(phaseOf(got) ?? '') && got;
    },
    { timeoutMs: 120_000 },
  );

/** The handler of a step: takes every event, and says nothing. */
async function listen() {
  const events: object[] = [];
  const server = createServer(async (req, res) => {
    const chunks = await req.toArray();
    const { 'ce-id': id, 'ce-type': type, 'ce-subject': subject } = req.headers;
    events.push({ id, type, subject, data: JSON.parse(Buffer.concat(chunks).toString()) });
    res.writeHead(204).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    events,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

test('a version whose answers differ goes back', async () => {
  await using ws = await Workspace.create();
  for (const model of ['fails-when-negative', 'nan-output']) await ws.copy(fixture(model), `models/${model}`);
  const versions = [
    { name: 'v1', uri: 'file:///models/fails-when-negative' },
    { name: 'log', uri: 'file:///models/nan-output' },
  ];
  const gates = [{ disagreement: { output: 'Y', max: 0.05 } }];
  const resource = (serve: string) => iris({ versions, serve, rollout: { ...rollout, gates }, classNames: undefined });
  await ws.write('res/iris.yaml', resource('v1'));
  await (await ws.up()).says('takes the traffic. http');
  const load = await startLoad((await ws.get()).services['iris'] ?? '', { connections: 4, row: [1, 1] });
  await ws.write('res/iris.yaml', resource('log'));
  const { status } = await comesTo(ws, 'RolledBack');
  expect(status?.lastRollback).toMatchObject({ version: 'log', gate: 'disagreement/Y', observed: 1 });
  // Until then those that asked it got what it says: logarithms.
  const result = await load.stop();
  expect(result).toMatchObject({ failed: 0, wrong: result.versions['log'] });
});

test('people decide: paused, gone on with, approved, taken back; a pipeline is told how it ends, each time once', async () => {
  await using ws = await Workspace.create();
  await using heard = await listen();
  const steps = [{ weight: 50, hold: '0s', approval: true }];
  await ws.write('res/iris.yaml', iris({ serve: 'v1', rollout: { ...rollout, steps } }));
  await ws.write('res/releases.yaml', {
    apiVersion: 'levada.dev/v1alpha1',
    kind: 'EventPipeline',
    metadata: { name: 'releases' },
    spec: {
      sources: [
        { name: 'up', emits: 'model.promoted', event: { model: 'iris', type: 'model.promoted' } },
        { name: 'back', emits: 'model.rolledback', event: { model: 'iris', type: 'model.rolledback' } },
      ],
      steps: [{ name: 'tell', consumes: ['model.promoted', 'model.rolledback'], http: { url: heard.url } }],
    },
  });
  const up = await ws.up();
  await up.says('takes the traffic. http');
  await up.says('releases: Running');
  const callers = await startLoad((await ws.get()).services['iris'] ?? '', 16);
  await ws.write('res/iris.yaml', iris({ serve: 'v2', rollout: { ...rollout, steps } }));
  const waiting = await comesTo(ws, 'AwaitingApproval');
  const say = async (verb: string, id: string | undefined) => {
    const resource = iris({ serve: 'v2', rollout: { ...rollout, steps } }) as { metadata: object };
    await ws.write('res/iris.yaml', {
      ...resource,
      metadata: { ...resource.metadata, annotations: { [rolloutCommand]: `${verb}/${id}` } },
    });
  };
  await say('abort', waiting.status?.rollout?.id);
  const aborted = await comesTo(ws, 'Aborted');
  expect(aborted.status).toMatchObject({
    stableVersion: 'v1',
    rollout: { command: { outcome: 'Done' } },
    lastRollback: { gate: 'abort' },
  });
  await say('resume', aborted.status?.rollout?.id);
  const again = await comesTo(ws, 'AwaitingApproval');
  await say('resume', again.status?.rollout?.id);
  const taken = await comesTo(ws, 'Holding');
  await comesTo(ws, 'Stable');
  const promoted = await until('it is told, and noted no more', async () => {
    const { status } = await ws.get();
    return heard.events.length >= 2 && status?.announcements === undefined && status;
  });
  expect(promoted.stableVersion).toBe('v2');
  const about = { model: 'iris', namespace: 'default', version: 'v2', from: 'v1' };
  const told = (type: string, rollout: string | undefined, why: object = {}) => ({
    id: `${rollout}/${type}`,
    type,
    subject: 'v2',
    data: { ...about, rollout, ...why },
  });
  expect(heard.events).toEqual([
    told('model.rolledback', waiting.status?.rollout?.id, { gate: 'abort' }),
    told('model.promoted', taken.status?.rollout?.id),
  ]);
  expect(await callers.stop()).toMatchObject({ wrong: 0, failed: 0, samples: [] });
});

test('a version whose answers a pipeline can do nothing with goes back, although it answers every request', async () => {
  await using ws = await Workspace.create();
  const gates = [{ errorRate: { max: 0.01 } }, { deadLetters: { pipeline: 'flowers', step: 'score', maxRate: 0.01 } }];
  const resource = (serve: string) =>
    iris({ serve, rollout: { ...rollout, gates, steps: [{ weight: 50, hold: '1h' }] } });
  await ws.write('res/iris.yaml', resource('v1'));
  const up = await ws.up();
  await up.says('takes the traffic. http');
  await ws.write('res/iris.yaml', resource('v2'));
  // Without its pipeline nothing is counted, and it is said why.
  const why = await until('the gate says what is missing', async () => {
    const [, gate] = (await ws.get()).status?.rollout?.gates ?? [];
    return gate?.message !== undefined && gate;
  });
  expect(why).toMatchObject({
    verdict: 'NoTraffic',
    n: 0,
    message: expect.stringContaining('no EventPipeline flowers'),
  });
  // Version 1 says 1 of this flower, version 2 says 2.
  const output = '{% $outputs.label = 1 ? {"label": $outputs.label} : nothing %}';
  const model = { ref: 'iris', inputs: { X: '{% [5.9, 3.2, 4.8, 1.8] %}' }, output };
  await ws.write('res/flowers.yaml', {
    apiVersion: 'levada.dev/v1alpha1',
    kind: 'EventPipeline',
    metadata: { name: 'flowers' },
    spec: {
      sources: [{ name: 'api', emits: 'flower.seen', http: { path: '/flowers' } }],
      steps: [{ name: 'score', consumes: ['flower.seen'], model, emits: ['flower.scored'] }],
    },
  });
  await up.says('flowers: Running');
  const url = (await ws.get('flowers')).services['flowers-api'] ?? '';
  const send = () =>
    fetch(`${url}/flowers`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' });
  const { status } = await until(
    'it has gone back',
    async () => {
      for (const { status } of await Promise.all(Array.from({ length: 5 }, send))) expect(status).toBe(202);
      const got = await ws.get();
      return phaseOf(got) === 'RolledBack' && got;
    },
    { timeoutMs: 120_000 },
  );
  expect(status?.lastRollback).toMatchObject({
    version: 'v2',
    gate: 'deadLetters/flowers/score',
    observed: 1,
    limit: 0.01,
  });
  const [errorRate, deadLetters] = status?.rollout?.gates ?? [];
  expect(errorRate).toMatchObject({ gate: 'errorRate', failures: 0 });
  expect(deadLetters).toMatchObject({ verdict: 'Fail', stable: { failures: 0 } });
  expect(deadLetters).not.toHaveProperty('message');
  expect(deadLetters?.stable?.n).toBeGreaterThan(0);
});
