/**
 * Rollouts on a cluster, under requests from a pod that start at fixed times, whatever becomes of those before: a good version
 * takes over, bad ones and one that dies go back, no request fails.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import { Namespace } from '../support/e2e.ts';
import { Looks } from '../support/looks.ts';
import { podModelServers } from '../support/processes.ts';
import { iris, root } from '../support/up.ts';
import { until } from '../support/wait.ts';

const example = await readFile(join(root, 'examples/iris/iris.yaml'), 'utf8');
type Status = NonNullable<ModelDeployment['status']>;

const perSecond = 200;
const rollout = {
  interval: '1s',
  steps: [
    { weight: 5, hold: '5s' },
    { weight: 25, hold: '5s' },
    { weight: 50, hold: '5s' },
    { weight: 100, hold: '5s' },
  ],
  promotionHold: '5s',
};

it('takes over step by step, and goes back from a version that dies', async () => {
  await using namespace = await Namespace.create();
  await namespace.claim('iris', 'examples/iris/models');
  await namespace.restrict();
  await namespace.startClient();
  const resource = parse(example.replaceAll('file:///models/iris/', 'pvc://iris/')) as { spec: object };
  await namespace.apply([{ ...resource, spec: { ...resource.spec, rollout } }]);
  await namespace.says('modeldeployment/iris', 'Ready', 'True Serving');
  const load = await namespace.load('http://iris', { perSecond });
  const patch = (spec: object) =>
    namespace.kubectl('patch', 'modeldeployment', 'iris', '--type=merge', '-p', JSON.stringify({ spec }));
  const comesTo = (what: string, check: (status: Status) => boolean) =>
    until(
      what,
      async () => {
        const { status } = await namespace.get<ModelDeployment>('modeldeployment', 'iris');
        return status && check(status) && status;
      },
      { timeoutMs: 240_000 },
    );

  const began = Date.now();
  await patch({ serve: 'v2' });
  const weights = new Set<number>();
  await comesTo('v2 is promoted for good', ({ rollout: now, stableVersion }) => {
    weights.add(now?.appliedWeight ?? 0);
    return stableVersion === 'v2' && now?.phase === 'Stable';
  });
  console.log(`e2e: v2 was promoted in ${((Date.now() - began) / 1000).toFixed(1)} s`);
  expect([...weights]).toEqual(expect.arrayContaining([5, 25, 50]));

  // Back to v1 as a new version, whose pods die one after the other.
  await patch({ serve: 'v1', rollout: { ...rollout, steps: [{ weight: 25, hold: '1h' }] } });
  await comesTo('v1 has its share', ({ rollout: now }) => now?.appliedWeight === 25);
  const back = await comesTo('it has gone back', ({ rollout: now }) => {
    if (now?.phase === 'RolledBack') return true;
    const pods = ['delete', 'pod', '-l', 'levada.dev/version=v1', '--grace-period=0', '--force', '--wait=false'];
    namespace.kubectl(...pods).catch(() => {}); // none is there at the moment
    return false;
  });
  expect(back.lastRollback).toMatchObject({ version: 'v1', gate: 'errorRate' });
  expect(back.stableVersion).toBe('v2');
  const result = await load.stop();
  console.log(`e2e: ${JSON.stringify(result)}`);
  expect(result).toMatchObject({ wrong: 0, failed: 0, samples: [] });
  const events = await namespace.kubectl('get', 'events', '-o', 'jsonpath={.items[*].reason}');
  for (const reason of ['RolloutStarted', 'StepStarted', 'Promoted', 'RolledBack']) expect(events).toContain(reason);
});

interface Bad {
  readonly name: string;
  /** Folder of test/fixtures/models. The stable version gives Y = X. */
  readonly model: string;
  /** It does its harm with that. */
  readonly row: readonly number[];
  /** Done to each of its processes while it has its share. */
  readonly signal?: NodeJS.Signals;
}

const bad: readonly Bad[] = [
  { name: 'wrong-shapes', model: 'wider', row: [1, 2] },
  { name: 'not-a-number', model: 'nan-output', row: [0, 1] },
  { name: 'slow', model: 'slow-on-demand', row: [30_000, 1] },
  // 3.6 GB, of which the container may have a seventh.
  { name: 'out-of-memory', model: 'huge-alloc-on-demand', row: [30_000, 1] },
  { name: 'killed', model: 'slow-on-demand', row: [1, 1], signal: 'SIGKILL' },
  { name: 'stopped', model: 'slow-on-demand', row: [1, 1], signal: 'SIGSTOP' },
];

/** Sends a signal to each model server of some pods, also to those that are started in their stead. */
function stopEach(uids: readonly string[], signal: NodeJS.Signals): { end(): void } {
  const stopped = new Set<number>();
  const look = () => {
    for (const { pid } of uids.flatMap(podModelServers)) {
      if (stopped.has(pid)) continue;
      stopped.add(pid);
      process.kill(pid, signal);
    }
  };
  look();
  if (stopped.size === 0) throw new Error(`no process is seen of the pods ${uids.join(', ')}`);
  const timer = setInterval(look, 100);
  return { end: () => clearInterval(timer) };
}

it('goes back from each bad model within two intervals from its third failure', async () => {
  await using namespace = await Namespace.create();
  await namespace.claim('models', 'test/fixtures/models');
  await namespace.restrict();
  await namespace.startClient();
  const versions = [{ name: 'good', model: 'fails-when-negative' }, ...bad].map(({ name, model }) => ({
    name,
    uri: `pvc://models/${model}`,
  }));
  const resources = { limits: { memory: '512Mi' } };
  await namespace.apply([iris({ versions, serve: 'good', classNames: undefined, resources, rollout })]);
  await namespace.says('modeldeployment/iris', 'Ready', 'True Serving');
  for (const { name, row, signal } of bad) {
    const load = await namespace.load('http://iris', { perSecond, row });
    const looks = new Looks();
    const pods: string[] = [];
    let stopping: ReturnType<typeof stopEach> | undefined;
    let status: Status | undefined;
    const ends = [
      namespace.watch<Status>(['modeldeployment', 'iris'], (now) => {
        status = now;
        if (now.rollout?.candidate === name) looks.note(now.rollout);
      }),
      // They go when the rollout has gone back.
      namespace.watch<object>(['pods', '-l', `levada.dev/version=${name}`], (pod) => pods.push(JSON.stringify(pod))),
    ];
    try {
      const steps = signal ? [{ weight: 25, hold: '1h' }] : rollout.steps;
      await namespace.patch('modeldeployment/iris', { spec: { serve: name, rollout: { ...rollout, steps } } });
      const seen = () => JSON.stringify(status);
      const isBack = () => status?.lastRollback?.version === name;
      if (signal) {
        const now = () => (status?.rollout?.candidate === name ? status.rollout : undefined);
        const hasShare = () => now()?.stepStartedAt !== undefined && (now()?.requests ?? 0) > 0;
        await until(`${name} answers its share`, hasShare, { timeoutMs: 180_000, seen });
        stopping = stopEach(await namespace.uids(`levada.dev/version=${name}`), signal);
      }
      await until(`${name} has gone back`, isBack, { timeoutMs: 180_000, seen });
      if (name === 'out-of-memory') {
        await until('its pod says why', () => pods.some((pod) => pod.includes('"reason":"OOMKilled"')), {
          seen: () => pods.join('\n'),
        });
      }
    } finally {
      for (const end of ends) end();
      stopping?.end();
    }
    const result = await load.stop();
    const { intervals, ms } = looks.intervalsToRollBack();
    console.log(`e2e: ${name} went back after ${intervals} looks, ${ms} ms; ${JSON.stringify(result)}`);
    expect(status).toMatchObject({ stableVersion: 'good', lastRollback: { gate: 'errorRate' } });
    expect(intervals).toBeLessThanOrEqual(2);
    expect(result).toMatchObject({ wrong: 0, failed: 0, samples: [] });
  }
});
