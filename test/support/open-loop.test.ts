import { expect, test } from 'vitest';
import { openLoop } from './open-loop.ts';

const parts = { perSecond: 500, requests: 50, underWay: 100, refuse: () => {}, isStopped: () => false };

test('requests start whether or not those before have been answered', async () => {
  const answers: Array<() => void> = [];
  const latency = await openLoop({
    ...parts,
    // The first 49 are answered only when the last one has come.
    ask: (index) =>
      new Promise((resolve) => {
        answers.push(resolve);
        if (index === 49) for (const answer of answers) answer();
      }),
  });
  expect(answers).toHaveLength(50);
  // The first one was to start 98 ms before the last one did.
  expect(latency.max).toBeGreaterThanOrEqual(97);
});

test('what has waited for its start has waited: latency counts from when it was to start', async () => {
  const latency = await openLoop({
    ...parts,
    ask: async (index) => {
      const until = performance.now() + 60;
      if (index === 0) while (performance.now() < until); // the client itself hangs
    },
  });
  expect(latency.latestStart).toBeGreaterThanOrEqual(57);
  expect(latency.p50).toBeGreaterThanOrEqual(5);
});

test('it is bounded: by what is under way, and it ends when it is told to', async () => {
  let refused = 0;
  let begun = 0;
  let answer = () => {};
  const all = new Promise<void>((resolve) => {
    answer = resolve;
  });
  await openLoop({
    ...parts,
    underWay: 10,
    ask: () => {
      begun++;
      return all;
    },
    refuse: () => {
      if (++refused === 40) answer();
    },
  });
  expect([begun, refused]).toEqual([10, 40]);

  begun = 0;
  const ask = async () => {
    begun++;
  };
  await openLoop({ ...parts, requests: 1_000_000, ask, isStopped: () => begun >= 5 });
  expect(begun).toBe(5);
});
