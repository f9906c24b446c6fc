import { expect, it } from 'vitest';
import { partLabel } from '../../objects/labels.ts';
import { planParts } from '../../plan/pipeline/parts.ts';
import { orders, step } from '../../plan/pipeline/testing.ts';
import { observedPipeline } from './observe-pipeline.ts';
import { type LiveDeployment, templateAnnotation } from './types.ts';
import type { UnitStatus } from './unit-status.ts';

const applied = planParts(orders({ steps: [step('check'), step('pack')] }));

const deployment = (name: string, generation: number, status: LiveDeployment['status']): LiveDeployment => ({
  metadata: { namespace: 'default', name, generation },
  spec: { template: {} },
  ...(status && { status }),
});

const replacing = (...deployments: LiveDeployment[]) =>
  observedPipeline({
    ...{ applied, deployments, pods: [], figures: {}, lostAt: {}, broker: { kind: 'rabbitmq' }, namespaceEnds: false },
    statusOf: () => undefined,
    silenceOf: () => undefined,
  }).replacing;

it.each([
  ['new, and nobody has looked at it', 1, undefined, false],
  ['its first pods are made', 1, { observedGeneration: 1, replicas: 1, updatedReplicas: 1 }, false],
  ['changed, and nobody has looked at that', 2, { observedGeneration: 1, replicas: 1, updatedReplicas: 1 }, true],
  ['one of two is the newest', 2, { observedGeneration: 2, replicas: 2, updatedReplicas: 1 }, true],
  ['those of before have gone', 2, { observedGeneration: 2, replicas: 1, updatedReplicas: 1 }, false],
  ['changed without pods', 2, { observedGeneration: 1, replicas: 0 }, false],
])('pods of before: %s', (_, generation, status, areThere) => {
  expect(replacing(deployment('orders-check', generation, status))).toEqual(areThere ? ['check'] : undefined);
});

it('pods of before: of a source, too', () => {
  const status = { observedGeneration: 2, replicas: 3, updatedReplicas: 1 };
  expect(replacing(deployment('orders-api', 2, status), deployment('orders-pack', 2, status))).toEqual(['api', 'pack']);
});

it.each([
  ['True', true],
  ['False', false],
])('a source whose pod takes events is ready when its Service leads there: Ready=%s', (status, ready) => {
  const labels = { [partLabel]: 'api' };
  const metadata = { namespace: 'default', name: 'a', uid: 'a', labels, annotations: { [templateAnnotation]: 't' } };
  const template = { metadata: { annotations: { [templateAnnotation]: 't' } } };
  const said: UnitStatus = { state: 'Loaded', draining: false, consumers: {}, sources: { api: { ready: true } } };
  const { sources } = observedPipeline({
    ...{ applied, figures: {}, lostAt: {}, broker: { kind: 'rabbitmq' }, namespaceEnds: false },
    deployments: [{ ...deployment('orders-api', 1, undefined), spec: { template } }],
    pods: [{ metadata, status: { conditions: [{ type: 'Ready', status }] } }],
    statusOf: () => said,
    silenceOf: () => undefined,
  });
  expect(sources['api']?.ready).toBe(ready);
});
