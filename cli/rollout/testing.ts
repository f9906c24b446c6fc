import { type ModelDeployment, modelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import { iris, noon } from '../../operator/plan/model/testing.ts';
import type { RolloutStatus } from './picture.ts';

/** A time so many seconds after noon. */
export const at = (seconds: number): string => new Date(Date.parse(noon) + seconds * 1000).toISOString();

export const gates: NonNullable<RolloutStatus['gates']> = [
  {
    gate: 'errorRate',
    verdict: 'Pass',
    observed: 0.00243,
    limit: 0.01,
    interval: [0.0002, 0.0181],
    n: 412,
    failures: 1,
  },
  { gate: 'disagreement/label', verdict: 'NoTraffic', limit: 0.05, interval: [0, 1], n: 0, failures: 0 },
];

/** v2 takes over from v1: in its second step, since noon. */
export const underWay: RolloutStatus = {
  phase: 'Progressing',
  id: 'v2-abc-0',
  message: `25 % until ${at(300)}`,
  stable: 'v1',
  candidate: 'v2',
  intent: '0',
  startedAt: at(-90),
  progressedAt: at(0),
  step: 1,
  stepStartedAt: at(0),
  requests: 412,
  weight: 25,
  appliedWeight: 25,
  countedUntil: at(100),
  gates,
};

const condition = (type: 'Ready' | 'Stalled', status: 'True' | 'False', message: string) => ({
  type,
  status,
  lastTransitionTime: at(0),
  reason: 'Because',
  message,
});

/** `iris` with a rollout of three steps. */
export function rolling(rollout?: Partial<RolloutStatus>, change: Partial<ModelDeployment['status']> = {}, spec = {}) {
  const resource = iris({ serve: 'v2', rollout: { minRequests: 600 }, ...spec });
  const status = {
    conditions: [condition('Ready', 'True', 'Version v2 serves.'), condition('Stalled', 'False', '')],
    observedGeneration: 1,
    stableVersion: 'v1',
    ...(rollout && { rollout: { ...underWay, ...rollout } }),
    versions: [],
    ...change,
  };
  return modelDeployment.parse({ ...resource, status });
}

export const stalled = (message: string) => ({
  conditions: [condition('Ready', 'False', message), condition('Stalled', 'True', message)],
});
