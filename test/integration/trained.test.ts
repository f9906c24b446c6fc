/** Models that were trained a moment ago answer as scikit-learn does, over HTTP. */
import { randomInt } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { compareTensors } from '../../cli/model/compare.ts';
import type { Datatype, Tensor } from '../../runtime/inference/tensors.ts';
import {
  type CasesFile,
  type CaseTensor,
  type ManifestModel,
  requireModelsPython,
  trainModels,
} from '../support/models.ts';
import { startRuntime } from '../support/runtime.ts';

const folders: string[] = [];
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true, force: true }))));

test('freshly trained models answer as scikit-learn does', async (context) => {
  await requireModelsPython(context);
  const folder = await mkdtemp(join(tmpdir(), 'levada-trained-'));
  folders.push(folder);
  const seed = Number(process.env['LEVADA_TEST_SEED'] ?? randomInt(2 ** 31));
  console.log(`models are trained with LEVADA_TEST_SEED=${seed}`);
  const { models } = await trainModels(folder, seed);
  expect(models.length).toBeGreaterThanOrEqual(5);
  for (const model of models) await compare(model);
}, 600_000);

async function compare({ name, path, cases }: ManifestModel): Promise<void> {
  const server = await startRuntime(path);
  try {
    const file = JSON.parse(await readFile(cases, 'utf8')) as CasesFile;
    for (const { inputs, outputs } of file.cases) {
      const wanted = outputs.map((output) => ({ name: output.name }));
      const found = await infer(server.url, { inputs, outputs: wanted });
      for (const expected of outputs) {
        const answer = found.find((tensor) => tensor.name === expected.name) as CaseTensor;
        expect(compareTensors(expected.name, tensorOf(answer), tensorOf(expected), file.tolerance), name).toEqual([]);
      }
      // The same rows one by one, at once: they share runs, and must not change each other.
      await eachRow(server.url, name, inputs, outputs, file.tolerance);
    }
  } finally {
    expect(await server.stop()).toBe(0);
  }
}

async function eachRow(
  url: string,
  name: string,
  inputs: readonly CaseTensor[],
  outputs: readonly CaseTensor[],
  tolerance: CasesFile['tolerance'],
): Promise<void> {
  const rows = inputs[0]?.shape[0] ?? 0;
  expect(rows).toBeGreaterThanOrEqual(100);
  const answers = Array.from({ length: rows }, async (_, row) => {
    const found = await infer(url, { inputs: inputs.map((tensor) => rowOf(tensor, row)) });
    return outputs.flatMap((expected) => {
      const answer = found.find((tensor) => tensor.name === expected.name) as CaseTensor;
      return compareTensors(
        `${expected.name}, row ${row}`,
        tensorOf(answer),
        tensorOf(rowOf(expected, row)),
        tolerance,
      );
    });
  });
  expect((await Promise.all(answers)).flat(), name).toEqual([]);
}

async function infer(url: string, body: object): Promise<CaseTensor[]> {
  const response = await fetch(`${url}/v2/models/model/infer`, { method: 'POST', body: JSON.stringify(body) });
  const text = await response.text();
  expect(response.status, text).toBe(200);
  return (JSON.parse(text) as { outputs: CaseTensor[] }).outputs;
}

function rowOf(tensor: CaseTensor, row: number): CaseTensor {
  const width = tensor.shape.slice(1).reduce((product, dim) => product * dim, 1);
  return { ...tensor, shape: [1, ...tensor.shape.slice(1)], data: tensor.data.slice(row * width, (row + 1) * width) };
}

/** JSON has one kind of number; equality of integers is that of numbers here. */
const tensorOf = ({ datatype, shape, data }: CaseTensor): Tensor =>
  ({ datatype: datatype as Datatype, shape, data: data as number[] }) as unknown as Tensor;
