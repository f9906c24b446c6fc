import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { errors, type Problem } from '../../api/errors.ts';
import { changedVersions, type ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import { parseResource } from '../../operator/source/parse.ts';
import { type Case, readCases } from './cases.ts';
import { crdCheck, type Finished, run } from './crd-check.ts';

const crd = join(import.meta.dirname, '../../crds/levada.dev_modeldeployments.yaml');
const cases = await readCases();

test('cases have names that differ', () => {
  expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
});

const costly = `self.uri.split('').all(a, self.uri.split('').all(b, self.uri.split('').all(c, a + b != c)))`;
const brokenCrds = [
  { error: 'unknown field', from: 'minItems: 1', to: 'leastItems: 1' },
  { error: "undefined field 'nonsense'", from: 'has(self.serve)', to: 'has(self.nonsense)' },
  { error: 'estimated rule cost exceeds budget', from: 'self == oldSelf', to: costly },
  { error: 'must be of type string', from: 'default: 0s', to: 'default: 5' },
  { error: 'must be a simple json path', from: 'jsonPath: .status.url', to: 'jsonPath: status.url' },
];

describe('on a laptop', () => {
  test.each(cases)('$name', (entry) => {
    const { resource, problems } = judge(entry);
    const byPath = (a: { path: string }, b: { path: string }) => (a.path < b.path ? -1 : 1);
    const found = problems.map(({ code, path }) => ({ code, path }));
    expect(found.sort(byPath)).toEqual([...(entry.problems ?? [])].sort(byPath));
    for (const { code, message } of problems) {
      expect(Object.keys(errors)).toContain(code);
      expect(message).not.toMatch(/\{[a-z]+\}/i);
    }
    if (!entry.differs) expect(problems.length === 0).toBe(entry.valid);
    if (entry.defaulted) expect(resource?.spec).toEqual(entry.defaulted);
  });
});

function judge({ object, oldObject }: Case): { resource?: ModelDeployment; problems: Problem[] } {
  const parsed = parseResource(object);
  if (oldObject === undefined || !parsed.resource) return parsed;
  const before = parseResource(oldObject);
  expect(before.problems).toEqual([]);
  return { ...parsed, problems: changedVersions(before.resource!.spec.versions, parsed.resource.spec.versions) };
}

describe('on a cluster', () => {
  let missing = '';
  let program = '';
  let folder = '';
  let judged: Finished;

  beforeAll(async () => {
    const built = await crdCheck();
    if ('missing' in built) {
      missing = `hack/crd-check cannot be built: ${built.missing}`;
      if (process.env.CI === 'true') throw new Error(missing);
      return;
    }
    program = built.program;
    folder = await mkdtemp(join(tmpdir(), 'levada-crds-'));
    const forCluster = cases.map(({ problems: _, differs: __, ...entry }) => entry);
    await writeFile(join(folder, 'cases.yaml'), JSON.stringify(forCluster));
    judged = await run(program, [crd, join(folder, 'cases.yaml')]);
  }, 900_000);

  afterAll(async () => {
    if (folder) await rm(folder, { recursive: true });
  });

  test('the CRD is accepted', ({ skip }) => {
    if (missing) skip(missing);
    expect(judged).toMatchObject({ exitCode: 0, stderr: '' });
    expect(judged.stdout.split('\n')[0]).toBe(`ok   ${crd}`);
  });

  test.for(cases)('$name', ({ name }, { skip }) => {
    if (missing) skip(missing);
    const about = judged.stdout
      .split('\n')
      .filter((line) => line === `ok   ${name}` || line.startsWith(`FAIL ${name}: `));
    expect(about).toEqual([`ok   ${name}`]);
  });

  // Were the checker blind, everything above would pass.
  test.for(brokenCrds)('a CRD is refused: $error', async ({ error, from, to }, { skip }) => {
    if (missing) skip(missing);
    const whole = await readFile(crd, 'utf8');
    expect(whole).toContain(from);
    const file = join(folder, 'crd.yaml');
    await writeFile(file, whole.replace(from, to));
    const { exitCode, stdout } = await run(program, [file]);
    expect(stdout).toContain(error);
    expect(exitCode).toBe(1);
  });
});
