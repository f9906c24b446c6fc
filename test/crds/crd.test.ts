import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { errors, type Problem } from '../../api/errors.ts';
import { changedVersions } from '../../api/v1alpha1/model-deployment.ts';
import type { Resource, ResourceKind } from '../../api/v1alpha1/resource.ts';
import { parseResource } from '../../operator/source/parse.ts';
import { type Case, readCases } from './cases.ts';
import { crdCheck, type Finished, run } from './crd-check.ts';

const costly = (text: string) =>
  `${text}.split('').all(a, ${text}.split('').all(b, ${text}.split('').all(c, a + b != c)))`;

/** What would be wrong with a CRD. Were the checker blind, all the cases would pass. */
const brokenCrds: Record<ResourceKind, ReadonlyArray<{ error: string; from: string; to: string }>> = {
  ModelDeployment: [
    { error: 'unknown field', from: 'minItems: 1', to: 'leastItems: 1' },
    { error: "undefined field 'nonsense'", from: 'has(self.serve)', to: 'has(self.nonsense)' },
    { error: 'estimated rule cost exceeds budget', from: 'self == oldSelf', to: costly('self.uri') },
    { error: 'must be of type string', from: 'default: 0s', to: 'default: 5' },
    { error: 'must be a simple json path', from: 'jsonPath: .status.url', to: 'jsonPath: status.url' },
  ],
  EventPipeline: [
    { error: 'estimated rule cost exceeds budget', from: 't.name == s.name', to: costly('t.name') },
    { error: "undefined field 'when_'", from: 'has(self.transform)', to: 'has(self.when_)' },
    { error: 'Unsupported value: "bag"', from: 'list-type: set', to: 'list-type: bag' },
  ],
};

for (const kind of ['ModelDeployment', 'EventPipeline'] as const satisfies ResourceKind[]) {
  const cases = await readCases(kind);

  describe(kind, () => {
    test('cases have names that differ', () => {
      expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
    });
    describe('on a laptop', () => {
      test.each(cases)('$name', onLaptop);
    });
    describe('on a cluster', () => onCluster(kind, cases));
  });
}

function onLaptop(entry: Case): void {
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
}

function judge({ object, oldObject }: Case): { resource?: Resource; problems: Problem[] } {
  const parsed = parseResource(object);
  if (oldObject === undefined || !parsed.resource) return parsed;
  const before = parseResource(oldObject);
  expect(before.problems).toEqual([]);
  if (before.resource?.kind !== 'ModelDeployment' || parsed.resource.kind !== 'ModelDeployment') return parsed;
  return { ...parsed, problems: changedVersions(before.resource.spec.versions, parsed.resource.spec.versions) };
}

function onCluster(kind: ResourceKind, cases: readonly Case[]): void {
  const crd = join(import.meta.dirname, `../../crds/levada.dev_${kind.toLowerCase()}s.yaml`);
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

  test.for(brokenCrds[kind])('a CRD is refused: $error', async ({ error, from, to }, { skip }) => {
    if (missing) skip(missing);
    const whole = await readFile(crd, 'utf8');
    expect(whole).toContain(from);
    const file = join(folder, 'crd.yaml');
    await writeFile(file, whole.replace(from, to));
    const { exitCode, stdout } = await run(program, [file]);
    expect(stdout).toContain(error);
    expect(exitCode).toBe(1);
  });
}
