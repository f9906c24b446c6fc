/**
 * Rollouts of a local run under requests that start at fixed times, whatever becomes of those before. Bad models are real ones,
 * and processes that are killed; each goes back within two intervals from its third failure, and no caller sees an error.
 * `npm run prove -- rollout` has all of them.
 */
import { describe, expect, test } from 'vitest';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import { startLoad } from '../support/load.ts';
import { Looks } from '../support/looks.ts';
import { modelServers, noProcesses } from '../support/processes.ts';
import { fixture, iris, Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';

type Status = NonNullable<ModelDeployment['status']>;

const everything = process.env['LEVADA_PROVE'] !== undefined;
const perSecond = everything ? 200 : 50;
const rollout = {
  interval: '1s',
  steps: [5, 25, 50, 100].map((weight) => ({ weight, hold: everything ? '10s' : '1s' })),
  promotionHold: '2s',
};

/** Waits for what a status says; each one on the way is noted. */
const comesTo = (ws: Workspace, what: string, check: (status: Status) => boolean, looks = new Looks()) =>
  until(
    what,
    async () => {
      const { status } = await ws.get();
      looks.note(status?.rollout);
      return status && check(status) && status;
    },
    { timeoutMs: 240_000 },
  );

test('5, 25, 50, 100: a good version takes over, and not one request fails', async () => {
  await using ws = await Workspace.create();
  await ws.write('res/iris.yaml', iris({ rollout }));
  const up = await ws.up();
  await up.says('takes the traffic. http');
  const load = await startLoad((await ws.get()).services['iris'] ?? '', { perSecond });
  await ws.write('res/iris.yaml', iris({ rollout, serve: 'v2' }));
  await comesTo(ws, 'v2 is promoted for good', (status) => {
    expect(status.lastRollback).toBeUndefined();
    return status.stableVersion === 'v2' && status.rollout?.phase === 'Stable';
  });
  const result = await load.stop();
  console.log(`good: ${JSON.stringify(result)}`);
  expect(result).toMatchObject({ wrong: 0, failed: 0, samples: [] });
  for (const weight of [5, 25, 50, 100]) expect(up.output).toContain(`gets ${weight} %`);
  for (const reason of ['Promoted', 'PromotionFinal']) expect(up.output).toContain(reason);
  if (!noProcesses) await until('v1 is gone', () => modelServers(ws.folder, 'iris-v1').length === 0);
  expect(result.versions['v2']).toBeGreaterThan(0);
});

interface Bad {
  readonly name: string;
  /** Folder of test/fixtures/models. The stable version gives Y = X, and so would a good one. */
  readonly model: string;
  readonly row: readonly number[];
  /** Done to each of its processes while it has its share. */
  readonly signal?: NodeJS.Signals;
  /** What it does is done in the ordinary run by another one. */
  readonly onlyProved?: true;
}

const bad: readonly Bad[] = [
  { name: 'wrong shapes', model: 'wider', row: [1, 2] },
  { name: 'not a number', model: 'nan-output', row: [0, 1] },
  { name: 'slow', model: 'slow-on-demand', row: [30_000, 1] },
  { name: 'killed', model: 'slow-on-demand', row: [1, 1], signal: 'SIGKILL' },
  { name: 'stopped', model: 'slow-on-demand', row: [1, 1], signal: 'SIGSTOP' },
  { name: 'other rows', model: 'doubled-rows', row: [1, 2], onlyProved: true },
  { name: 'no memory', model: 'huge-alloc-on-demand', row: [500_000, 1], onlyProved: true },
];

describe('goes back within two intervals from the third failure, and no caller sees an error', () => {
  test.each(bad.filter(({ onlyProved }) => everything || !onlyProved))(
    '$name',
    async ({ name, model, row, signal }) => {
      if (signal && noProcesses) return;
      await using ws = await Workspace.create();
      await ws.copy(fixture(model), 'models/bad');
      await ws.copy(fixture('fails-when-negative'), 'models/good');
      const versions = ['good', 'bad'].map((one) => ({ name: one, uri: `file:///models/${one}` }));
      const steps = signal ? [{ weight: 25, hold: '1h' }] : rollout.steps;
      const resource = (serve: string) =>
        iris({ versions, serve, rollout: { ...rollout, steps }, classNames: undefined });
      await ws.write('res/iris.yaml', resource('good'));
      const up = await ws.up();
      await up.says('takes the traffic. http');
      const load = await startLoad((await ws.get()).services['iris'] ?? '', { perSecond, row });
      await ws.write('res/iris.yaml', resource('bad'));
      const looks = new Looks();
      const processes = () => modelServers(ws.folder, 'iris-bad');
      if (signal) {
        await comesTo(ws, 'it has its share', ({ rollout: now }) => now?.stepStartedAt !== undefined, looks);
        await comesTo(ws, 'it has answered', ({ rollout: now }) => (now?.requests ?? 0) > 0, looks);
        expect(processes()).not.toEqual([]);
      }
      const stopped = new Set<number>();
      const back = await comesTo(
        ws,
        'it has gone back',
        ({ rollout: now }) => {
          if (now?.phase === 'RolledBack') return true;
          for (const { pid } of signal ? processes() : []) {
            if (stopped.has(pid)) continue;
            stopped.add(pid); // of a process that is started again, too
            process.kill(pid, signal);
          }
          return false;
        },
        looks,
      );
      for (const pid of signal === 'SIGSTOP' ? stopped : []) process.kill(pid, 'SIGKILL');
      const result = await load.stop();
      const { intervals, ms } = looks.intervalsToRollBack();
      console.log(`${name}: back after ${intervals} looks, ${ms} ms; ${JSON.stringify(result)}`);
      expect(back).toMatchObject({ stableVersion: 'good', lastRollback: { version: 'bad', gate: 'errorRate' } });
      expect(intervals).toBeLessThanOrEqual(2);
      const condition = (type: string) => back.conditions.find((one) => one.type === type);
      expect(condition('Ready')).toMatchObject({ status: 'False', reason: 'RolledBack' });
      expect(condition('Serving')).toMatchObject({ status: 'True' });
      expect(result, up.output).toMatchObject({ wrong: 0, failed: 0, samples: [] });
    },
  );
});
