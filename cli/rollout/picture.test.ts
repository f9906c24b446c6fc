import { describe, expect, it } from 'vitest';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import { formatRollout, formatSpan, rolloutLine } from './picture.ts';
import { Recorder } from './recorder.ts';
import { at, gates, rolling, underWay } from './testing.ts';

const now = new Date(at(108));
const lastRollback = { version: 'v2', gate: 'errorRate', observed: 0.04, limit: 0.01, time: at(-7200) };
const back = {
  phase: 'RolledBack',
  weight: 0,
  appliedWeight: 25,
  message: 'Version v2 was rolled back: errorRate failed: 4 % of 412, limit 1 %. Version v1 serves.',
} as const;
const command = {
  text: 'pause/v2-abc-0',
  time: at(50),
  outcome: 'Done',
  message: 'paused at 25 %',
} as const;

const pictures: Record<string, ModelDeployment> = {
  progressing: rolling({}, { lastRollback }),
  'not-applied': rolling({ weight: 50, step: 2, stepStartedAt: undefined, message: '50 % is being applied' }),
  waiting: rolling({ phase: 'Waiting', stepStartedAt: at(-300), message: '412 of 600 requests' }),
  approval: rolling(
    { phase: 'AwaitingApproval', message: 'a person has to say resume or abort' },
    {},
    {
      rollout: { steps: [{ weight: 5 }, { weight: 25, hold: '10s', approval: true }], gates: [] },
    },
  ),
  paused: rolling({ phase: 'Paused', id: 'v2-abc-1', message: 'Paused at 25 % by a command.', command }),
  holding: rolling({
    phase: 'Holding',
    weight: 100,
    appliedWeight: 100,
    holdUntil: at(600),
    message: 'Version v2 serves.',
  }),
  'rolled-back': rolling(back, { lastRollback: { ...lastRollback, time: at(100) } }),
  stable: rolling(undefined, { rollout: { phase: 'Stable', stable: 'v2' }, stableVersion: 'v2' }),
  none: rolling(undefined, { stableVersion: 'v1' }),
};

describe('formatRollout', () => {
  it.each(Object.entries(pictures))('of golden/rollout/%s.txt', async (name, resource) => {
    await expect(`${formatRollout(resource, now)}\n`).toMatchFileSnapshot(`../golden/rollout/${name}.txt`);
  });

  it('shows what was seen while it was watched, and begins anew with another rollout', async () => {
    const recorder = new Recorder();
    const failing = { ...gates[0]!, verdict: 'Fail', observed: 0.04, failures: 16 } as const;
    recorder.add(rolling({ candidate: 'v0', startedAt: at(-9000), weight: 100 }));
    for (const weight of [0, 5, 5, 5]) recorder.add(rolling({ weight, gates: [] }));
    recorder.add(rolling({}));
    const history = recorder.add(rolling({ gates: [failing] }));
    expect(history).toMatchObject({ weights: [0, 5, 5, 5, 25, 25] });
    const text = formatRollout(rolling({ gates: [failing, gates[1]!] }), now, history, 120);
    await expect(`${text}\n`).toMatchFileSnapshot('../golden/rollout/watched.txt');
    expect(Math.max(...text.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(120);
  });
});

describe('rolloutLine', () => {
  it.each<[string, string]>([
    [
      'progressing',
      `Progressing: v2 25 %; step 2 of 3; 25 % until ${at(300)}; errorRate Pass, disagreement/label NoTraffic`,
    ],
    [
      'not-applied',
      'Progressing: v2 50 % (applied: 25 %); step 3 of 3; 50 % is being applied; errorRate Pass, disagreement/label NoTraffic',
    ],
    [
      'rolled-back',
      `RolledBack: v2 0 % (applied: 25 %); ${back.message}; errorRate Pass, disagreement/label NoTraffic`,
    ],
    ['stable', 'Stable: Version v2 serves. No rollout is under way.'],
    ['none', 'No rollout: Version v1 serves; v2 is wanted.'],
  ])('of %s', (name, line) => expect(rolloutLine(pictures[name]!)).toBe(line));

  it('is one for everything that a rollout may be', () => {
    expect(rolloutLine(rolling({ ...underWay, message: '', gates: [] }))).toBe('Progressing: v2 25 %; step 2 of 3');
  });
});

it.each([
  [-5, '0s'],
  [1, '1s'],
  [59_000, '59s'],
  [192_000, '3m12s'],
  [3_599_001, '1h00m'],
  [90_000_000, '25h00m'],
])('formatSpan %i', (ms, text) => expect(formatSpan(ms)).toBe(text));
