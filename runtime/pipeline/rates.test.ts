import { expect, test } from 'vitest';
import { StepTally } from './rates.ts';

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
