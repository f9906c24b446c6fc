/** Rollouts of a local run, under load: good versions take over, bad ones go back, and no caller sees an error. */
import { expect, test } from 'vitest';
import { rolloutCommand } from '../../api/contract/names.ts';
import { startLoad } from '../support/load.ts';
import { modelServers, noProcesses } from '../support/processes.ts';
import { load } from '../support/routing.ts';
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

/** A run of v1, under load, that is told to serve `version` as well as a model of it. */
async function begin(ws: Workspace, version: string, model: string, spec: object = {}) {
  const versions = [
    { name: 'v1', uri: 'file:///models/iris/1' },
    { name: version, uri: `file:///models/${model}` },
  ];
  await ws.write('res/iris.yaml', iris({ versions, serve: 'v1', rollout, ...spec }));
  const up = await ws.up();
  await up.says('takes the traffic. http');
  const callers = await startLoad((await ws.get()).services['iris'] ?? '', 16);
  await ws.write('res/iris.yaml', iris({ versions, serve: version, rollout, ...spec }));
  return { up, callers };
}

test('a good version takes over, step by step: not one request fails', async () => {
  await using ws = await Workspace.create();
  const { up, callers } = await begin(ws, 'v2', 'iris/2');
  await comesTo(ws, 'Holding');
  const { status } = await comesTo(ws, 'Stable');
  expect(status).toMatchObject({ stableVersion: 'v2', rollout: { phase: 'Stable', stable: 'v2' } });
  expect(status?.lastRollback).toBeUndefined();
  const result = await callers.stop();
  expect(result).toMatchObject({ wrong: 0, failed: 0, samples: [] });
  for (const said of [
    'StepStarted: Version v2 gets 5 %',
    'gets 25 %',
    'gets 50 %',
    'gets 100 %',
    'Promoted',
    'PromotionFinal',
  ])
    expect(up.output).toContain(said);
  if (!noProcesses) await until('v1 is gone', () => modelServers(ws.folder, 'iris-v1').length === 0);
});

test.skipIf(noProcesses !== undefined)(
  'a version that is killed again and again goes back: callers see nothing of it',
  async () => {
    await using ws = await Workspace.create();
    const steps = [{ weight: 25, hold: '1h' }];
    const { callers } = await begin(ws, 'v2', 'iris/2', { rollout: { ...rollout, steps } });
    await until('v2 has its share', async () => (await ws.get()).status?.rollout?.stepStartedAt !== undefined);
    const end = until(
      'it has gone back',
      async () => {
        for (const { pid } of modelServers(ws.folder, 'iris-v2')) process.kill(pid, 'SIGKILL');
        return phaseOf(await ws.get()) === 'RolledBack';
      },
      { timeoutMs: 120_000 },
    );
    await end;
    const { status } = await ws.get();
    expect(status?.lastRollback).toMatchObject({ version: 'v2', gate: 'errorRate', limit: 0.01 });
    expect(await callers.stop()).toMatchObject({ wrong: 0, failed: 0, samples: [] });
    expect(status?.conditions.find(({ type }) => type === 'Ready')).toMatchObject({
      status: 'False',
      reason: 'RolledBack',
    });
    expect(status?.conditions.find(({ type }) => type === 'Serving')).toMatchObject({ status: 'True' });
  },
);

test.skipIf(noProcesses !== undefined)('a version that is stopped is late, and goes back', async () => {
  await using ws = await Workspace.create();
  const { callers } = await begin(ws, 'v2', 'iris/2', { rollout: { ...rollout, steps: [{ weight: 25, hold: '1h' }] } });
  await until('v2 has its share', async () => (await ws.get()).status?.rollout?.stepStartedAt !== undefined);
  const stopped = modelServers(ws.folder, 'iris-v2');
  expect(stopped).not.toEqual([]);
  for (const { pid } of stopped) process.kill(pid, 'SIGSTOP');
  const { status } = await comesTo(ws, 'RolledBack');
  expect(status?.lastRollback).toMatchObject({ version: 'v2', gate: 'errorRate' });
  expect(await callers.stop()).toMatchObject({ wrong: 0, failed: 0, samples: [] });
  for (const { pid } of stopped) process.kill(pid, 'SIGKILL');
});

test('a version of another signature goes back', async () => {
  await using ws = await Workspace.create();
  await ws.copy(fixture('logits'), 'models/bad');
  const { callers } = await begin(ws, 'v2', 'bad');
  const { status } = await comesTo(ws, 'RolledBack');
  expect(status?.rollout).toMatchObject({ step: 0, weight: 0 });
  expect(status?.lastRollback).toMatchObject({ version: 'v2', gate: 'errorRate', observed: 1 });
  expect(await callers.stop()).toMatchObject({ wrong: 0, failed: 0, samples: [] });
});

test('a version that answers NaN goes back; another one whose answers differ, too', async () => {
  await using ws = await Workspace.create();
  for (const model of ['fails-when-negative', 'nan-output']) await ws.copy(fixture(model), `models/${model}`);
  const versions = [
    { name: 'v1', uri: 'file:///models/fails-when-negative' },
    { name: 'nan', uri: 'file:///models/nan-output' },
    { name: 'log', uri: 'file:///models/nan-output/model.onnx' },
  ];
  const { classNames: _, ...spec } = (iris() as { spec: { classNames: string[] } }).spec;
  const resource = (more: object) => ({ ...iris(), spec: { ...spec, versions, rollout, ...more } });
  await ws.write('res/iris.yaml', resource({ serve: 'v1' }));
  await (await ws.up()).says('takes the traffic. http');
  const url = (await ws.get()).services['iris'] ?? '';
  const body = (data: number[]) => ({ inputs: [{ name: 'X', datatype: 'FP32', shape: [1, 2], data }] });
  const zeros = load({ url }, body([0, 1]), 4, '/v2/models/iris/infer');
  await ws.write('res/iris.yaml', resource({ serve: 'nan' }));
  const nan = await comesTo(ws, 'RolledBack');
  await zeros.stop();
  expect(zeros.failures).toEqual([]);
  expect(nan.status?.lastRollback).toMatchObject({ version: 'nan', gate: 'errorRate', observed: 1 });
  const ones = load({ url }, body([1, 1]), 4, '/v2/models/iris/infer');
  const gates = [{ disagreement: { output: 'Y', max: 0.05 } }];
  await ws.write('res/iris.yaml', resource({ serve: 'log', rollout: { ...rollout, gates } }));
  const other = await until(
    'it has gone back',
    async () => {
      const got = await ws.get();
      return got.status?.lastRollback?.version === 'log' && got;
    },
    { timeoutMs: 120_000 },
  );
  await ones.stop();
  expect(ones.failures).toEqual([]);
  expect(other.status?.lastRollback).toMatchObject({ gate: 'disagreement/Y', observed: 1 });
});

test('people decide: paused, gone on with, approved, taken back', async () => {
  await using ws = await Workspace.create();
  const steps = [{ weight: 50, hold: '0s', approval: true }];
  const { callers } = await begin(ws, 'v2', 'iris/2', { rollout: { ...rollout, steps } });
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
  await comesTo(ws, 'Stable');
  expect((await ws.get()).status?.stableVersion).toBe('v2');
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
