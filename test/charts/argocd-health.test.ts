/** What Argo CD makes of a status: the script is run by Lua 5.1, as Argo CD's own. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import type { Resource } from '../../api/v1alpha1/resource.ts';
import { withFailure } from '../../operator/plan/failed.ts';
import { planModel } from '../../operator/plan/model/plan.ts';
import { iris, noon, observed, observedUnit, unitOf } from '../../operator/plan/model/testing.ts';
import { nothingObserved, type Observed } from '../../operator/plan/units.ts';
import { root } from '../support/up.ts';

const hasLua = spawnSync('lua5.1', ['-v']).error === undefined;
const missing = 'lua5.1 is not in PATH: the package lua5.1 of Debian brings it';
if (!hasLua && process.env['CI'] === 'true') throw new Error(missing);

const script = readFileSync(join(root, 'charts/argocd/health.lua'), 'utf8');

/** As Lua writes it: JSON's text is a superset of its strings only without escapes of Unicode. */
function literal(value: unknown): string {
  if (Array.isArray(value)) return `{${value.map(literal).join(',')}}`;
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, member]) => member !== undefined);
    return `{${entries.map(([name, member]) => `[${literal(name)}]=${literal(member)}`).join(',')}}`;
  }
  if (typeof value === 'string')
    return `"${[...Buffer.from(value)].map((byte) => `\\${String(byte).padStart(3, '0')}`).join('')}"`;
  return String(value);
}

function healthOf(resource: object): { status: string; message: string } {
  const run = `local obj = ${literal(resource)}\nlocal function health()\n${script}\nend\nlocal found = health()\nio.write(found.status, "\\n", found.message)`;
  const [status = '', ...message] = execFileSync('lua5.1', ['-'], { input: run, encoding: 'utf8' }).split('\n');
  return { status, message: message.join('\n') };
}

const planned = (resource: ModelDeployment, seen: Observed): Resource => ({
  ...resource,
  status: planModel(resource, seen, noon).status,
});

const resource = iris();
const unit = unitOf(resource);
const failure = { code: 'ModelInvalid', message: 'not an ONNX file' };
const serving = planned(resource, observed(unit.name, observedUnit(unit)));
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
};

describe.skipIf(!hasLua)(`health of Argo CD${hasLua ? '' : ` (skipped: ${missing})`}`, () => {
  it.each(Object.entries(cases))('%s', (_, [found, status, message]) => {
    const health = healthOf(found);
    expect(health.status).toBe(status);
    expect(health.message.slice(0, message.length)).toBe(message);
  });
});
