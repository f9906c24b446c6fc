import { expect, it } from 'vitest';
import { planParts } from './parts.ts';
import { planPipeline } from './plan.ts';
import { alone, later, orders, running, source, step } from './testing.ts';

const podTemplate = { spec: { hostname: 'a' } };
const own = { resources: { limits: { cpu: 1 } }, serviceAccountName: 'packs', podTemplate };
const before = orders({ steps: [step('check'), step('pack', own)] });

const plannedFrom = (edit: object) => planPipeline(orders(edit, 2), running(before), alone, later, 'Cluster');

it('says nothing of pods where nothing is said', () => {
  expect(planParts(orders())).not.toHaveProperty('pods');
  expect(planParts(orders())).not.toHaveProperty('exposed');
});

it('knows what is said of all, of a step and of a source', () => {
  const expose = { ingress: { host: 'a.b' } };
  const sources = [source({ serviceAccountName: 'public', http: { path: '/', expose } })];
  const { pods, exposed } = planParts(orders({ ...own, sources, steps: [step('check', { podTemplate })] }));
  expect(pods).toEqual({ all: own, parts: { check: { podTemplate }, api: { serviceAccountName: 'public' } } });
  expect(exposed).toEqual({ api: expose });
});

it('a step that is gone keeps its pods until it is empty', () => {
  const { pipeline } = planPipeline(orders({}, 2), running(before, { pack: { waiting: 1 } }), alone, later, 'Cluster');
  expect(pipeline?.consumers.map(({ name }) => name)).toEqual(['check', 'pack']);
  expect(pipeline?.pods).toEqual({ parts: { pack: own } });
  const emptied = running({ ...planParts(before), topology: { pipeline: 'default/orders', queues: [] } });
  expect(planPipeline(orders({}, 2), emptied, alone, later, 'Cluster').pipeline).not.toHaveProperty('pods');
});

it('is not ready with other pods before they are there', () => {
  const ready = (edit: object) => plannedFrom(edit).status.conditions.find(({ type }) => type === 'Ready')?.status;
  expect(ready(before.spec)).toBe('True');
  expect(ready({ ...before.spec, steps: [step('check'), step('pack')] })).toBe('False');
  expect(ready({ ...before.spec, serviceAccountName: 'other' })).toBe('False');
});

it('is ready, and something is under way, while pods of before are there beside those that run', () => {
  const said = (change: object) =>
    planPipeline(orders(), running(orders(), {}, change), alone, later, 'Cluster').status.conditions;
  const reconciling = (change: object) => said(change).find(({ type }) => type === 'Reconciling');
  expect(reconciling({})).toMatchObject({ status: 'False', reason: 'Settled' });
  const change = { replacing: ['check'] };
  expect(reconciling(change)).toMatchObject({
    status: 'True',
    reason: 'Progressing',
    message: 'Pods of before go: check.',
  });
  expect(said(change).find(({ type }) => type === 'Ready')?.status).toBe('True');
});
