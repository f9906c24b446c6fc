import { expect, test } from 'vitest';
import { StepTally } from './rates.ts';

test('trials are events that are done or dead, by rollout and version; the rollouts that began last are kept', () => {
  const tally = new StepTally();
  const trial = { rollout: 'v2 then', version: 'v2' };
  for (const end of ['done', 'retry', 'dead', 'released', 'done'] as const) tally.try(end, trial);
  tally.try('done', { ...trial, version: 'v1' });
  expect(tally.trials).toEqual([
    { ...trial, n: 3, dead: 1 },
    { ...trial, version: 'v1', n: 1, dead: 0 },
  ]);
  for (let i = 0; i < 8; i++) tally.try('dead', { rollout: `v3 ${i}`, version: 'v3' });
  expect(tally.trials.map(({ rollout }) => rollout)).toEqual(Array.from({ length: 8 }, (_, i) => `v3 ${i}`));
});

test('totals count every end but a release; the rate is of the last ten whole seconds', () => {
  const tally = new StepTally();
  for (let second = 0; second < 20; second++) {
    for (let i = 0; i < 5; i++) tally.add('done', second * 1_000 + i);
    tally.add('retry', second * 1_000);
    tally.add('released', second * 1_000);
  }
  tally.add('dead', 20_000);
  tally.add('skipped', 20_500);
  expect(tally.counts(20_900)).toEqual({ done: 100, skipped: 1, duplicate: 0, retried: 20, dead: 1, rate: 5 });
  expect(tally.counts(25_000).rate).toBe((5 * 5 + 2) / 10);
  expect(tally.counts(60_000).rate).toBe(0);
});
