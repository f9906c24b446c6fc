/** How a resource with `rollout`, `split`, `match` or `shadow` is planned: what runs, where it leads, who answers what. */
import { describe, expect, it } from 'vitest';
import type { ModelDeployment, ModelDeploymentStatus } from '../../../api/v1alpha1/model-deployment.ts';
import type { Observed, PlanResult } from '../units.ts';
import { planModel } from './plan.ts';
import { iris, later, noon, observed, observedUnit, unitOf } from './testing.ts';

const rollout = { interval: '15s', steps: [{ weight: 5, hold: '1m' }], gates: [], promotionHold: '10m' };
const loaded = (resource: ModelDeployment, serve: string) =>
  observedUnit(unitOf({ ...resource, spec: { ...resource.spec, serve } }));
const plan = (resource: ModelDeployment, seen: Observed, now = noon) => planModel(resource, seen, now);
const following = (resource: ModelDeployment, { status }: PlanResult<ModelDeploymentStatus>) => ({
  ...resource,
  status,
});
const ready = ({ status }: PlanResult<ModelDeploymentStatus>) => status.conditions.find(({ type }) => type === 'Ready');

describe('a rollout', () => {
  const resource = iris({ serve: 'v2', rollout });
  const both = observed('iris-v1', loaded(resource, 'v1'), loaded(resource, 'v2'));

  it('runs both, leads to the stable one, and says its step in a table', () => {
    const first = plan(resource, both);
    expect(first.units.map(({ name }) => name)).toEqual(['iris-v1', 'iris-v2']);
    expect(first.fronts).toMatchObject([{ target: 'iris-v1' }]);
    expect(first.routing).toMatchObject({
      stable: { version: 'v1' },
      candidate: { version: 'v2', weight: 5 },
      salt: 'v1/v2',
    });
    expect(first.events?.map(({ reason }) => reason)).toEqual(['RolloutStarted', 'StepStarted']);
    expect(first.lookAgainAt).toBe('2030-01-01T12:00:15.000Z');
    expect(ready(first)).toMatchObject({ status: 'False', reason: 'Progressing' });
    expect(first.status).toMatchObject({ stableVersion: 'v1', rollout: { weight: 5, appliedWeight: 0 } });
  });

  it.each<[string, Array<{ version: string; weight: number } | undefined>, number]>([
    ['nobody has said so', [], 0],
    [
      'one has an older weight',
      [
        { version: 'v2', weight: 5 },
        { version: 'v2', weight: 0 },
      ],
      0,
    ],
    ['one has no table', [{ version: 'v2', weight: 5 }, undefined], 0],
    ['one has that of another candidate', [{ version: 'v3', weight: 5 }], 0],
    [
      'all have it',
      [
        { version: 'v2', weight: 5 },
        { version: 'v2', weight: 5 },
      ],
      5,
    ],
  ])('the applied weight, where %s', (_, acknowledged, applied) => {
    const first = plan(resource, both);
    const { status } = plan(following(resource, first), { ...both, routing: { acknowledged } }, later);
    expect(status.rollout?.appliedWeight).toBe(applied);
    expect(status.rollout?.stepStartedAt !== undefined).toBe(applied === 5);
  });

  it('decided again at the same time, nothing changes', () => {
    const first = plan(resource, both);
    const again = plan(following(resource, first), both);
    expect(again.status).toEqual(first.status);
    expect(again.routing).toEqual(first.routing);
    expect(again.events).toBeUndefined();
  });

  it('has samples scored by both sides where a gate compares: five percent of all requests at most', () => {
    const gates = [{ disagreement: { output: 'label', max: 0.05 } }];
    const steps = [{ weight: 50, hold: '1m' }];
    const compared = iris({ serve: 'v2', rollout: { ...rollout, steps, gates } });
    expect(plan(compared, both).routing).toMatchObject({ compare: { outputs: ['label'], percent: 10 } });
  });

  it('that was taken out of the spec in the middle goes on as a switch, and then nothing is left of it', () => {
    const first = plan(resource, both);
    const without = iris({ serve: 'v2' });
    const promoting = plan(following(without, first), both, later);
    expect(promoting.fronts).toMatchObject([{ target: 'iris-v2' }]);
    const moved = observed('iris-v2', loaded(resource, 'v1'), loaded(resource, 'v2'));
    const done = plan(following(without, promoting), { ...moved, routing: { acknowledged: [] } }, later);
    expect(done.status.rollout).toBeUndefined();
    // What was told once is taken back.
    expect(done.routing).toMatchObject({ stable: { version: 'v2' } });
    expect(done.routing?.candidate).toBeUndefined();
  });

  it('a status of which half is lost is none: the rollout begins anew', () => {
    const broken = { conditions: [], versions: [], rollout: { phase: 'Waiting', stable: 'v1' } } as const;
    const { status } = plan({ ...resource, status: broken as unknown as ModelDeploymentStatus }, both);
    expect(status.rollout).toMatchObject({ phase: 'Progressing', candidate: 'v2', startedAt: noon });
  });
});

describe('shares without a rollout', () => {
  const names = (result: PlanResult<ModelDeploymentStatus>) => result.units.map(({ name }) => name).join(' ');

  it('a split runs all of its versions and gives each its share', () => {
    const split = [
      { version: 'v1', weight: 60 },
      { version: 'v2', weight: 40 },
    ];
    const resource = iris({ split });
    const result = plan(resource, observed('iris-v1', loaded(resource, 'v1')));
    expect(names(result)).toBe('iris-v1 iris-v2');
    expect(result.routing).toEqual({ stable: { version: 'v1' }, split, salt: 'v1/v2' });
    expect(ready(result)).toMatchObject({ status: 'True' });
  });

  it('rules, keys and a shadow', () => {
    const resource = iris({
      match: [{ header: { 'x-beta': '1' }, version: 'v2' }],
      sticky: { header: 'x-user-id' },
      shadow: { version: 'v2', percent: 10 },
    });
    const result = plan(resource, observed('iris-v1', loaded(resource, 'v1')));
    expect(names(result)).toBe('iris-v1 iris-v2');
    expect(result.routing).toEqual({
      stable: { version: 'v1' },
      match: [{ header: { 'x-beta': '1' }, version: 'v2' }],
      sticky: { header: 'x-user-id' },
      shadow: { version: 'v2', percent: 10 },
      salt: 'v1',
    });
  });

  it('without any of them there is no table', () => {
    const resource = iris();
    expect(plan(resource, observed('iris-v1', loaded(resource, 'v1'))).routing).toBeUndefined();
  });
});
