/** What Argo CD makes of a status: the script is run by Lua 5.1, as Argo CD's own. */
import { describe, expect, it } from 'vitest';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import type { Resource } from '../../api/v1alpha1/resource.ts';
import { rolling, stalled } from '../../cli/rollout/testing.ts';
import { refusedStatus, withFailure } from '../../operator/plan/failed.ts';
import { planModel } from '../../operator/plan/model/plan.ts';
import { iris, noon, observed, observedUnit, unitOf } from '../../operator/plan/model/testing.ts';
import { nothingObserved, type Observed } from '../../operator/plan/units.ts';
import { noLua, runLua } from '../support/lua.ts';

function healthOf(resource: object): { status: string; message: string } {
  const [status = '', message = ''] = runLua('health.lua', resource, ['status', 'message']);
  return { status, message };
}

const planned = (resource: ModelDeployment, seen: Observed): Resource => ({
  ...resource,
  status: planModel(resource, seen, noon).status,
});

const notReady = (reason: string, message: string) => ({
  conditions: [{ type: 'Ready', status: 'False', lastTransitionTime: noon, reason, message } as const],
});
const idle = { phase: 'Stable', stable: 'v2' } as const;
const resource = iris();
const unit = unitOf(resource);
const failure = { code: 'ModelInvalid', message: 'not an ONNX file' };
const serving = planned(resource, observed(unit.name, observedUnit(unit)));
const refused = (found: ModelDeployment): ModelDeployment => {
  const problem = { code: 'MissingField', path: 'spec.serve', message: 'it is required' } as const;
  return { ...found, status: refusedStatus(found, [problem], noon, found.status) as ModelDeployment['status'] };
};
const forbidden = { code: 'ClusterForbidden', message: 'not allowed' } as const;
const cases: Record<string, [Resource, status: string, message: string]> = {
  'nothing is said yet': [resource, 'Progressing', 'The operator has not seen it yet.'],
  'it is being loaded': [planned(resource, nothingObserved), 'Progressing', 'Progressing: Version v1 is being loaded.'],
  'it serves': [serving, 'Healthy', 'Serving: Version v1 is loaded and takes the traffic.'],
  'it was edited since': [
    { ...serving, metadata: { ...serving.metadata, generation: 2 } },
    'Progressing',
    'The operator has not seen it yet.',
  ],
  'it does not load': [
    planned(resource, observed(undefined, observedUnit(unit, { state: 'Failed', ready: 0, failure }))),
    'Degraded',
    'ModelInvalid: Version v1: not an ONNX file.',
  ],
  'a right is missing': [
    {
      ...serving,
      status: withFailure(serving, serving.status!, { code: 'ClusterForbidden', message: 'not allowed' }, noon),
    } as Resource,
    'Progressing',
    'ClusterForbidden: not allowed. Grant',
  ],
  'a rollout goes on': [rolling({ message: '25 % until noon' }), 'Progressing', 'Progressing: 25 % until noon'],
  'a rollout waits for requests': [rolling({ phase: 'Waiting', message: '1 of 2' }), 'Progressing', 'Waiting: 1 of 2'],
  'a rollout waits, and Ready says so too': [
    rolling({ phase: 'Waiting', message: '1 of 2' }, notReady('Waiting', 'v2: 1 of 2')),
    'Progressing',
    'Waiting: 1 of 2',
  ],
  'it is promoted': [rolling({ phase: 'Promoting', message: 'soon' }), 'Progressing', 'Promoting: soon'],
  'a person has to say something': [rolling({ phase: 'AwaitingApproval' }), 'Suspended', 'AwaitingApproval: 25 %'],
  'it is paused': [rolling({ phase: 'Paused', message: 'Paused at 25 %.' }), 'Suspended', 'Paused: Paused at 25 %.'],
  'it is paused by a failure': [
    rolling({ phase: 'Paused', failed: true }, stalled('bad')),
    'Suspended',
    'Paused: 25 %',
  ],
  'it went back': [rolling({ phase: 'RolledBack', message: 'v1 serves.' }), 'Degraded', 'RolledBack: v1 serves.'],
  'it was taken back': [rolling({ phase: 'Aborted', message: 'v1 serves.' }), 'Degraded', 'Aborted: v1 serves.'],
  'the old version is held': [rolling({ phase: 'Holding' }), 'Healthy', 'Because: Version v2 serves.'],
  'no rollout is under way': [rolling(undefined, { rollout: idle }), 'Healthy', 'Because: Version v2 serves.'],
  'the candidate does not load': [rolling({}, stalled('no such file')), 'Degraded', 'Because: no such file'],
  'a right is missing in a rollout': [
    {
      ...rolling({ message: 'soon' }),
      status: withFailure(rolling({}), rolling({ message: 'soon' }).status!, forbidden, noon),
    },
    'Progressing',
    'ClusterForbidden: not allowed. Grant',
  ],
  'an edit is refused while it is paused': [
    refused(rolling({ phase: 'Paused' })),
    'Degraded',
    'MissingField: spec.serve',
  ],
  'went back from what was wanted before': [
    rolling({ phase: 'RolledBack' }, { observedGeneration: 0 }),
    'Progressing',
    'The operator has not seen it yet.',
  ],
};

describe.skipIf(noLua)(`health of Argo CD${noLua ? ` (skipped: ${noLua})` : ''}`, () => {
  it.each(Object.entries(cases))('%s', (_, [found, status, message]) => {
    const health = healthOf(found);
    expect(health.status).toBe(status);
    expect(health.message.slice(0, message.length)).toBe(message);
  });
});
