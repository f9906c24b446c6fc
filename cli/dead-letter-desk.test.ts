import { expect, test } from 'vitest';
import { type DeadLetterDesk, replayAtRate } from './dead-letter-desk.ts';

/** Dead letters by step, of which some come back as soon as they are replayed. */
function deskWith(steps: Record<string, { dead: number; running?: boolean; fails?: boolean }>) {
  const replays: Array<[step: string, count: number]> = [];
  const of = (name = '') => steps[name] ?? { dead: 0 };
  const desk: DeadLetterDesk = {
    list: async () => [],
    drop: async () => 0,
    count: async ({ step }) => of(step).dead,
    queues: async () =>
      Object.fromEntries(Object.entries(steps).map(([name, { dead, running = true }]) => [name, { dead, running }])),
    async replay({ step = '' }, { most = Number.POSITIVE_INFINITY }) {
      const one = of(step);
      const count = Math.min(most, one.dead);
      if (!one.fails) one.dead -= count;
      replays.push([step, count]);
      return count;
    },
  };
  const said: string[] = [];
  const pauses: number[] = [];
  const options = {
    said: (count: number, total: number) => void said.push(`${count}/${total}`),
    pause: async (ms: number) => void pauses.push(ms),
  };
  return { desk, steps, replays, said, pauses, options };
}

test('so many a second, over all steps together', async () => {
  const { desk, replays, said, pauses, options } = deskWith({ charge: { dead: 5 }, ship: { dead: 4 } });
  expect(await replayAtRate(desk, {}, { perSecond: 4, ...options })).toBe(9);
  expect(replays).toEqual([
    ['charge', 4],
    ['charge', 1],
    ['ship', 3],
    ['ship', 1],
  ]);
  expect(said).toEqual(['4/9', '8/9', '9/9']);
  expect(pauses).toHaveLength(2);
  for (const ms of pauses) expect(ms).toBeLessThanOrEqual(1_000);
});

test('what fails again at once is not replayed for ever, and takes no turn of another step', async () => {
  const { desk, replays, steps, options } = deskWith({ charge: { dead: 3, fails: true }, ship: { dead: 3 } });
  expect(await replayAtRate(desk, {}, { perSecond: 2, ...options })).toBe(6);
  expect(replays.reduce((sum, [, count]) => sum + count, 0)).toBe(6);
  expect(steps).toMatchObject({ charge: { dead: 3 }, ship: { dead: 0 } });
});

test('what somebody else has taken meanwhile is not waited for', async () => {
  const { desk, steps, options } = deskWith({ charge: { dead: 4 } });
  const pause = async () => {
    steps['charge'] = { dead: 0 };
  };
  expect(await replayAtRate(desk, {}, { perSecond: 2, ...options, pause })).toBe(2);
});

test('a step that nobody runs keeps its letters, unless another one is to get them or it is named', async () => {
  const of = () => deskWith({ charge: { dead: 2, running: false }, ship: { dead: 1 } });
  const all = of();
  expect(await replayAtRate(all.desk, {}, { perSecond: 9, ...all.options })).toBe(1);
  expect(all.replays).toEqual([['ship', 1]]);
  const moved = of();
  expect(await replayAtRate(moved.desk, {}, { perSecond: 9, to: 'charge-v2', ...moved.options })).toBe(3);
  const named = of();
  expect(await replayAtRate(named.desk, { step: 'charge' }, { perSecond: 9, ...named.options })).toBe(2);
});

test('nothing there: nothing is said of a second that has not been', async () => {
  const { desk, said, options } = deskWith({});
  expect(await replayAtRate(desk, {}, { perSecond: 1, ...options })).toBe(0);
  expect(said).toEqual([]);
});
