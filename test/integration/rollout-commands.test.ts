/** What people say of a rollout that runs on a laptop, by `levada rollout`. */
import { expect, it } from 'vitest';
import { rolloutCommand } from '../../api/contract/names.ts';
import { predict } from '../support/http.ts';
import { iris, Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';

const rollout = { interval: '1s', steps: [{ weight: 50, approval: true }], promotionHold: '0s', gates: [] };

it('levada rollout shows what waits for a person, and carries out what that one says', async () => {
  await using ws = await Workspace.create();
  await ws.write('res/iris.yaml', iris({ rollout }));
  const up = await ws.up();
  await up.says('takes the traffic. http');
  const phaseOf = async () => (await ws.get()).status?.rollout?.phase;
  const reaches = (phase: string) =>
    until(`it is ${phase}`, async () => (await phaseOf()) === phase, { timeoutMs: 120_000, seen: () => up.output });
  await ws.write('res/iris.yaml', iris({ rollout, serve: 'v2' }));
  await reaches('AwaitingApproval');
  expect((await ws.levada('get')).stdout).toMatch(/\niris +\S+ +AwaitingApproval +v1 +v2 +50 /);
  const shown = await ws.levada('rollout', 'iris');
  expect(shown).toMatchObject({ code: 0, stderr: '' });
  expect(shown.stdout).toMatch(
    /^ModelDeployment iris: AwaitingApproval\n.*resume or abort\n[\s\S]* 1 of 1, .*then approval\n/,
  );

  expect(await ws.levada('rollout', 'iris', 'abort')).toMatchObject({ code: 0, stdout: 'Done: taken back\n' });
  expect(await ws.levada('rollout', 'iris', 'pause')).toMatchObject({
    code: 1,
    stdout: '',
    stderr: expect.stringMatching(/^Refused: /),
  });
  expect((await ws.levada('rollout', 'iris', '--wait', '1m')).code).toBe(1);
  expect((await ws.get()).status).toMatchObject({
    stableVersion: 'v1',
    lastRollback: { version: 'v2', gate: 'abort' },
  });

  // An edit of the file leaves the command, which does nothing again.
  const before = await ws.get();
  await ws.write('res/iris.yaml', iris({ rollout, serve: 'v2', batching: { maxBatchSize: 32 } }));
  await until('the edit is seen', async () => (await ws.get()).status?.observedGeneration === 3);
  const { metadata, status } = await ws.get();
  expect(metadata.annotations).toEqual(before.metadata.annotations);
  expect(status?.rollout).toMatchObject({ phase: 'Aborted', command: before.status?.rollout?.command });

  expect(await ws.levada('rollout', 'iris', 'resume')).toMatchObject({
    code: 0,
    stdout: 'Done: version v2 is tried again\n',
  });
  await reaches('AwaitingApproval');
  const done = await ws.levada('rollout', 'iris', 'resume', '--wait', '5m', '--for', 'v2');
  expect(done, done.stderr).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Done: step 0 is approved\n/) });
  expect((await ws.get()).metadata.annotations?.[rolloutCommand]).toMatch(/^resume\/v2-/);
  expect(await predict((await ws.get()).services['iris'])).toEqual({ prediction: 2, version: 'v2' });
  await up.interrupt();
});
