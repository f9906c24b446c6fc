import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../testing.ts';
import { checkCommand } from './check.ts';
import { inspectCommand } from './inspect.ts';

const forest = 'examples/iris/models/1';
const fixtures = 'test/fixtures/models';
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'levada-model-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function cases(body: unknown): Promise<string> {
  const file = join(folder, `${Math.random()}.json`);
  await writeFile(file, typeof body === 'string' ? body : JSON.stringify(body));
  return file;
}

describe('levada model inspect', () => {
  test('shows inputs, outputs, operators and digest', async () => {
    const { stdout } = await run(inspectCommand(), forest, '-o', 'json');
    const found = JSON.parse(stdout);
    expect(found.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(found.producer).toMatch(/^skl2onnx /);
    expect(found.opsets['ai.onnx.ml']).toBeGreaterThan(0);
    expect(found.operators).toHaveProperty('ai.onnx.ml.TreeEnsembleClassifier', 1);
    expect(found.inputs).toEqual([{ name: 'X', datatype: 'FP32', shape: [-1, 4] }]);
    expect(found.outputs.map(({ name }: { name: string }) => name)).toEqual(['label', 'probabilities']);
  });

  test('prints the same as text', async () => {
    const { stdout } = await run(inspectCommand(), forest);
    expect(stdout).toMatch(/input +X +FP32 +\[-1,4\]/);
    expect(stdout).toContain('ai.onnx.ml.TreeEnsembleClassifier 1');
  });

  test.each([
    ['no/such/file', 'ArtifactNotFound'],
    [`${fixtures}/garbage`, 'ModelInvalid'],
    [`${fixtures}/truncated`, 'ModelInvalid'],
    [`${fixtures}/zipmap`, 'ModelUnsupported'],
    [`${fixtures}/external-data`, 'ModelUnsupported'],
  ])('%s: %s', async (file, code) => {
    await expect(run(inspectCommand(), file)).rejects.toMatchObject({ code });
  });
});

const oneRow = (label: number) => ({
  name: 'one flower',
  inputs: [{ name: 'X', shape: [1, 4], datatype: 'FP32', data: [5.1, 3.5, 1.4, 0.2] }],
  outputs: [{ name: 'label', shape: [1], datatype: 'INT64', data: [label] }],
});

describe('levada model check', () => {
  test('answers that agree', async () => {
    const { stdout, exitCode } = await run(checkCommand(), forest, '--cases', await cases({ cases: [oneRow(0)] }));
    expect(exitCode).toBe(0);
    expect(stdout).toBe('ok   one flower (1 row)\nall 1 case agree\n');
  });

  test('answers that differ are named', async () => {
    const { stdout, exitCode } = await run(checkCommand(), forest, '--cases', await cases({ cases: [oneRow(2)] }));
    expect(exitCode).toBe(1);
    expect(stdout).toContain('FAIL one flower');
    expect(stdout).toContain('label: element 0 is 0, expected 2');
  });

  test('numbers are compared within the tolerance of the file', async () => {
    const linear = (value: number, absolute: number) => ({
      tolerance: { absolute, relative: 0 },
      cases: [
        {
          inputs: [{ name: 'X', shape: [1, 4], datatype: 'FP32', data: [5.1, 3.5, 1.4, 0.2] }],
          outputs: [{ name: 'probabilities', shape: [1, 3], datatype: 'FP32', data: [value, 0, 0] }],
        },
      ],
    });
    expect((await run(checkCommand(), forest, '--cases', await cases(linear(0.95, 0.1)))).exitCode).toBe(0);
    expect((await run(checkCommand(), forest, '--cases', await cases(linear(0.95, 0.01)))).exitCode).toBe(1);
  });

  test.each([
    ['{', 'CasesInvalid', /JSON/],
    [{}, 'CasesInvalid', /`cases`/],
    [{ cases: [{ ...oneRow(0), outputs: [] }] }, 'CasesInvalid', /no outputs are expected/],
    [{ cases: [{ ...oneRow(0), inputs: [] }] }, 'CasesInvalid', /one flower, inputs: inputs: X is missing/],
    [{ tolerance: { absolute: -1 }, cases: [oneRow(0)] }, 'CasesInvalid', /tolerance\.absolute/],
  ])('a cases file that is wrong: %j', async (body, code, message) => {
    const checked = run(checkCommand(), forest, '--cases', await cases(body));
    await expect(checked).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test('an expected output that the model does not have', async () => {
    const entry = { ...oneRow(0), outputs: [{ name: 'labels', shape: [1], datatype: 'INT64', data: [0] }] };
    const checked = run(checkCommand(), forest, '--cases', await cases({ cases: [entry] }));
    await expect(checked).rejects.toMatchObject({ code: 'CasesInvalid' });
  });
});
