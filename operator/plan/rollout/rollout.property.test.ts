import fc from 'fast-check';
import { expect, it } from 'vitest';
import { verbs } from './commands.ts';
import { decideRollout } from './rollout.ts';
import { answers, ready, spec, World, wanted } from './testing.ts';
import { timeOf } from './time.ts';
import type { RolloutSpec } from './types.ts';

const rollouts = fc.record({
  onFailure: fc.constantFrom<RolloutSpec['onFailure'][]>('Rollback', 'Pause'),
  minRequests: fc.constantFrom(0, 100),
  promotionHold: fc.constantFrom('0s', '1m'),
  steps: fc.array(
    fc.record({
      weight: fc.constantFrom(5, 25, 50, 100),
      hold: fc.constantFrom('0s', '30s', '2m'),
      approval: fc.boolean(),
    }),
    { maxLength: 3 },
  ),
});
const versions = fc.constantFrom('v1', 'v2', 'v3');

/** What may happen between two looks. */
const happening = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ requests: fc.constantFrom(0, 20, 150), failures: fc.constantFrom(0, 0, 0, 1, 15) }),
  },
  { weight: 2, arbitrary: fc.record({ verb: fc.constantFrom(...verbs) }) },
  { weight: 1, arbitrary: fc.record({ serve: versions }) },
  { weight: 1, arbitrary: fc.record({ rollout: rollouts }) },
  { weight: 1, arbitrary: fc.record({ dies: versions }) },
  { weight: 2, arbitrary: fc.record({ loads: versions }) },
  { weight: 1, arbitrary: fc.record({ lags: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ forgets: fc.boolean() }) },
);

const change = (world: World, rollout: Partial<RolloutSpec>) => {
  world.wanted = { ...world.wanted, rollout: { ...spec, ...rollout } };
};

it('whatever happens: weight never grows while a gate has failed, nothing that failed serves unless a person says so', () => {
  const cases = fc.tuple(rollouts, fc.array(happening, { maxLength: 60, size: 'max' }));
  fc.assert(
    fc.property(cases, ([rollout, story]) => {
      const world = new World();
      change(world, rollout);
      world.look();
      for (const now of story) {
        let traffic = {};
        let lags = false;
        if ('requests' in now)
          traffic = { requests: now.requests, answers: answers(now.requests, Math.min(now.requests, now.failures)) };
        else if ('verb' in now) {
          if (world.status?.phase !== 'Stable') world.say(now.verb);
        } else if ('serve' in now) world.wanted = { ...world.wanted, serve: now.serve };
        else if ('rollout' in now) change(world, now.rollout);
        else if ('dies' in now) world.versions = { ...world.versions, [now.dies]: { ready: 0, fullCapacity: false } };
        else if ('loads' in now) world.versions = { ...world.versions, [now.loads]: ready };
        else if ('lags' in now) lags = now.lags;
        else if (now.forgets) world.status = undefined;
        const { status: before, weight: applied, front } = world;
        const decision = world.look({ traffic });
        const { status, weight, events } = decision;
        if (lags) world.weight = applied;

        // Decided again with the same arguments, nothing changes.
        const again = decideRollout(
          world.wanted,
          status,
          { ...world.observed({ ...traffic }), front: front ?? '', appliedWeight: applied },
          timeOf(world.now),
        );
        expect(again.status).toEqual(status);
        expect(again.events).toEqual([]);

        if (status.phase === 'Stable') {
          expect(weight).toBe(0);
        } else {
          const isSame =
            before &&
            before.phase !== 'Stable' &&
            before.candidate === status.candidate &&
            before.startedAt === status.startedAt;
          const hasFailed = status.gates.some(({ verdict }) => verdict === 'Fail') && !status.overruled;
          if (hasFailed && isSame) expect(weight).toBeLessThanOrEqual(before.weight);
          if (hasFailed) expect(['Paused', 'RolledBack', 'Aborted', 'Holding']).toContain(status.phase);
          if (status.phase === 'RolledBack' || status.phase === 'Aborted') expect(weight).toBe(0);
          if (isSame && weight > before.weight && status.phase !== 'Holding') {
            const isFirst = weight === world.wanted.rollout?.steps[0]?.weight;
            expect(isFirst || status.gates.every(({ verdict }) => verdict === 'Pass')).toBe(true);
          }
        }
        // The Service moves only to what is ready, and what it leads to runs.
        if (front !== undefined && decision.front !== front) {
          const isBack = status.phase !== 'Stable' && decision.front === status.stable;
          expect(isBack || world.versions[decision.front]?.fullCapacity).toBe(true);
        }
        expect(decision.runs).toContain(decision.front);
        expect(new Set(decision.runs).size).toBe(decision.runs.length);
        if (events.some(({ reason }) => reason === 'RolledBack' || reason === 'Aborted'))
          expect(decision.lastRollback).toBeDefined();
        if (decision.lookAgainAt !== undefined) expect(Date.parse(decision.lookAgainAt)).toBeGreaterThan(world.now);
      }
    }),
    { numRuns: 500 },
  );
});

it('killed between any two writes, it ends in the same place', () => {
  const cases = fc.record({
    failures: fc.constantFrom(0, 20),
    kills: fc.array(fc.nat({ max: 60 }), { maxLength: 10 }),
    steps: rollouts.map(({ steps }) => steps.map(({ weight, hold }) => ({ weight, hold }))),
  });
  fc.assert(
    fc.property(cases, ({ failures, kills, steps }) => {
      const ends = [[], kills].map((lost) => {
        const world = new World();
        change(world, { steps });
        let restarts = 0;
        for (let i = 0; i < 150; i++) {
          const traffic =
            world.front === 'v1' && world.weight > 0 ? { requests: 150, answers: answers(150, failures) } : {};
          const dies = lost.includes(i);
          if (dies) restarts++;
          world.look({ traffic, lost: dies });
        }
        return { front: world.front, weight: world.weight, phase: world.status?.phase, restarts };
      });
      const [whole, killed] = ends.map(({ restarts: _, ...end }) => end);
      expect(killed).toEqual(whole);
      expect(whole?.phase).toBe(failures === 0 || steps.length === 0 ? 'Stable' : 'RolledBack');
      expect(whole?.front).toBe(failures === 0 || steps.length === 0 ? 'v2' : 'v1');
    }),
    { numRuns: 100 },
  );
});

it('a bad version never has more than its first step, whenever its failures come', () => {
  fc.assert(
    fc.property(fc.nat({ max: 400 }), fc.integer({ min: 5, max: 100 }), (goodFirst, percent) => {
      const world = new World();
      world.wanted = wanted();
      let requests = 0;
      for (let i = 0; i < 100 && world.decisions.at(-1)?.phase !== 'RolledBack'; i++) {
        const failed = requests < goodFirst ? 0 : percent;
        world.look({ after: 5_000, traffic: { requests: 100, answers: answers(100, failed) } });
        requests += 100;
      }
      expect(world.decision.phase).toBe('RolledBack');
    }),
  );
});
