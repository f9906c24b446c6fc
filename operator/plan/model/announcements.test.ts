/** What pipelines are told of rollouts, from the first status that says so to the one that does not any more. */
import { describe, expect, it } from 'vitest';
import { type Outcome, outcomeId } from '../../../api/contract/model-events.ts';
import { maxAnnouncements } from '../../../api/v1alpha1/announcements.ts';
import {
  type ModelDeployment,
  type ModelDeploymentStatus,
  modelDeployment,
} from '../../../api/v1alpha1/model-deployment.ts';
import { alone, type Neighbours } from '../neighbours.ts';
import type { Announced, Observed, PlanResult } from '../units.ts';
import { planAnnouncements } from './announcements.ts';
import { planModel } from './plan.ts';
import { iris, noon, observed, observedUnit, unitOf } from './testing.ts';

/** Pipelines of the namespace that are told of the model iris, by name. */
const listening = (types: Record<string, string[]>): Neighbours => ({
  models: ['iris'],
  pipelines: Object.fromEntries(
    Object.entries(types).map(([name, all]) => {
      const listens = all.map((type) => ({ model: 'iris', type }));
      return [name, { emits: [], steps: [], broker: undefined, listens }];
    }),
  ),
});

const promoted: Outcome = { type: 'model.promoted', rollout: 'v2-a-0', version: 'v2', from: 'v1', time: noon };
const back: Outcome = { ...promoted, type: 'model.rolledback', gate: 'errorRate', observed: 0.5, limit: 0.01, n: 20 };
const both = listening({ a: ['model.promoted'], b: ['model.promoted', 'model.rolledback'] });
const told = (outcome: Outcome, ...pipelines: string[]): Announced[] =>
  pipelines.map((pipeline) => ({ id: outcomeId(outcome), pipeline }));
/** With what its status says is still to be told. */
const withStatus = (...announcements: object[]): ModelDeployment => ({
  ...iris(),
  status: { conditions: [], versions: [], announcements } as unknown as ModelDeploymentStatus,
});

describe('what is to be told', () => {
  it('goes to those that listen, and waits until it is written', () => {
    const { kept, due } = planAnnouncements(iris(), [promoted, back], [], both);
    expect(kept).toEqual([
      { ...promoted, to: ['a', 'b'] },
      { ...back, to: ['b'] },
    ]);
    expect(due).toEqual([]);
    expect(planAnnouncements(withStatus(...kept), [], [], both)).toEqual({ kept, due: kept });
  });

  it.each<[string, Announced[], Neighbours, string[]]>([
    ['nobody has it yet', [], both, ['a', 'b']],
    ['one has it', told(promoted, 'a'), both, ['b']],
    ['both have it', told(promoted, 'a', 'b'), both, []],
    ['they have another one', told(back, 'a', 'b'), both, ['a', 'b']],
    ['one listens no more', [], listening({ a: [], b: ['model.promoted'] }), ['b']],
    ['one is gone, the other has it', told(promoted, 'b'), listening({ b: ['model.promoted'] }), []],
    [
      'a new one listens, which comes too late',
      [],
      listening({ ...{ a: ['model.promoted'], c: ['model.promoted'] } }),
      ['a'],
    ],
    ['nobody is there any more', [], alone, []],
  ])('%s', (_, announced, neighbours, to) => {
    const { kept, due } = planAnnouncements(withStatus({ ...promoted, to: ['a', 'b'] }), [], announced, neighbours);
    expect(kept).toEqual(to.length > 0 ? [{ ...promoted, to }] : []);
    expect(due).toEqual(kept);
  });

  it('is nothing where nobody listens', () => {
    expect(planAnnouncements(iris(), [promoted], [], alone)).toEqual({ kept: [], due: [] });
    expect(planAnnouncements(iris(), [promoted], [], listening({ a: ['model.rolledback'] })).kept).toEqual([]);
  });

  it('is bounded: the oldest are given up', () => {
    const many = Array.from({ length: maxAnnouncements + 3 }, (_, i) => ({ ...promoted, rollout: `v2-a-${i}` }));
    const { kept } = planAnnouncements(
      withStatus(...many.slice(0, 5).map((one) => ({ ...one, to: ['a'] }))),
      many.slice(5),
      [],
      both,
    );
    expect(kept.map(({ rollout }) => rollout)).toEqual(many.slice(3).map(({ rollout }) => rollout));
  });
});

describe('a rollout', () => {
  const rollout = {
    interval: '15s',
    steps: [{ weight: 50, hold: '0s' }],
    minRequests: 0,
    gates: [{ errorRate: { max: 0.01 } }],
    promotionHold: '10m',
  };
  const resource = iris({ serve: 'v2', rollout });
  const loaded = (serve: string) => observedUnit(unitOf({ ...resource, spec: { ...resource.spec, serve } }));
  const seen = (front: string, change: Partial<Observed> = {}): Observed => ({
    ...observed(`iris-${front}`, loaded('v1'), loaded('v2')),
    routing: { acknowledged: [{ version: 'v2', weight: 50 }] },
    ...change,
  });
  const at = (seconds: number) => new Date(Date.parse(noon) + seconds * 1_000).toISOString();
  type Planned = PlanResult<ModelDeploymentStatus>;
  const following = ({ status }: Planned): ModelDeployment => ({ ...resource, status });
  const traffic = (failures: number, seconds: number) => ({
    acknowledged: [{ version: 'v2', weight: 50 }],
    traffic: {
      candidate: 'v2',
      until: at(seconds),
      requests: 1_000,
      answers: [
        { candidate: 'Ok', count: 1_000 - failures } as const,
        { candidate: 'ServerError', stable: 'Ok', count: failures } as const,
      ],
    },
  });

  /** Up to its first step. */
  function begun(): Planned {
    const first = planModel(resource, seen('v1'), noon, both);
    return planModel(following(first), seen('v1'), at(1), both);
  }

  it('that promotes is told of once, and when it is told the status forgets it', () => {
    const stepped = planModel(following(begun()), seen('v1', { routing: traffic(0, 2) }), at(3), both);
    expect(stepped.status.rollout?.phase).toBe('Promoting');
    const moved = planModel(following(stepped), seen('v2'), at(4), both);
    expect(moved.status.rollout?.phase).toBe('Holding');
    const entry = { ...promoted, rollout: moved.status.rollout?.id, time: at(4), to: ['a', 'b'] };
    expect(moved.status.announcements).toEqual([entry]);
    // It is written before it is told, and told at once.
    expect(moved).not.toHaveProperty('announce');
    expect(moved.lookAgainAt).toBe(at(4));
    expect(modelDeployment.parse(following(moved)).status).toEqual(moved.status);
    const telling = planModel(following(moved), seen('v2'), at(4), both);
    expect(telling).toMatchObject({ announce: [entry], status: { announcements: [entry] } });
    // As after a restart: all that is known of it is in the status.
    const again = planModel(following(telling), seen('v2'), at(5), both);
    expect(again.announce).toEqual([entry]);
    const announced = told({ ...entry, type: 'model.promoted', rollout: entry.rollout ?? '' }, 'a', 'b');
    const done = planModel(following(again), seen('v2', { announced }), at(6), both);
    expect(done).not.toHaveProperty('announce');
    expect(done.status).not.toHaveProperty('announcements');
    expect(planModel(following(done), seen('v2'), at(7), both).status).toEqual(done.status);
  });

  it('that goes back is told of with what the gate had counted', () => {
    const failed = planModel(following(begun()), seen('v1', { routing: traffic(500, 2) }), at(3), both);
    expect(failed.status.rollout?.phase).toBe('RolledBack');
    const counted = { gate: 'errorRate', observed: 0.5, limit: 0.01, n: 1_000 };
    const { rollout: id = { id: '' } } = failed.status;
    expect(failed.status.announcements).toEqual([
      { type: 'model.rolledback', rollout: id.id, version: 'v2', from: 'v1', time: at(3), ...counted, to: ['b'] },
    ]);
    const next = planModel(following(failed), seen('v1'), at(4), both);
    expect(next.announce).toEqual(failed.status.announcements);
    expect(next.status.announcements).toEqual(failed.status.announcements);
  });

  it('tells nobody where nobody listens', () => {
    const failed = planModel(following(begun()), seen('v1', { routing: traffic(500, 2) }), at(3));
    expect(failed.status.rollout?.phase).toBe('RolledBack');
    expect(failed.status).not.toHaveProperty('announcements');
    expect(failed.lookAgainAt).not.toBe(at(3));
  });
});
