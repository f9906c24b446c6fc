/** The example's models, all its rows, and the answers that scikit-learn gave. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import * as z from 'zod';
import { root } from './context.ts';

export const modelNames = ['lr', 'rf'] as const;
export type ModelName = (typeof modelNames)[number];

/** `version` is the one that examples/iris/iris.yaml gives it. */
export const models: Record<ModelName, { version: 'v1' | 'v2'; onnx: string; joblib: string }> = {
  rf: { version: 'v1', onnx: join(root, 'examples/iris/models/1/model.onnx'), joblib: 'v1.joblib' },
  lr: { version: 'v2', onnx: join(root, 'examples/iris/models/2/model.onnx'), joblib: 'v2.joblib' },
};

const score = z.object({ prediction: z.int(), probabilities: z.array(z.number()) });
const expectedFile = z.object({
  classNames: z.array(z.string()),
  tolerance: z.number(),
  rows: z.array(z.object({ features: z.array(z.number()), v1: score, v2: score })).length(150),
});
const expected = expectedFile.parse(JSON.parse(readFileSync(join(root, 'examples/iris/expected/rows.json'), 'utf8')));
export const { classNames, rows } = expected;

export type Protocol = 'simple' | 'oip';

/** One request body a row. */
export async function bodies(protocol: Protocol): Promise<string[]> {
  if (protocol === 'simple') return rows.map(({ features }) => JSON.stringify({ features }));
  const session = await InferenceSession.create(models.lr.onnx);
  const name = session.inputNames[0];
  await session.release();
  return rows.map(({ features: data }) =>
    JSON.stringify({ inputs: [{ name, shape: [1, data.length], datatype: 'FP32', data }] }),
  );
}

const simpleAnswer = z.object({ prediction: z.int(), class_name: z.string() });
const oipAnswer = z.object({
  outputs: z.array(z.object({ name: z.string(), shape: z.array(z.int()), data: z.array(z.number()) })),
});

/** Whether `text` is the answer that scikit-learn gave for that row. */
export function rightAnswer(protocol: Protocol, model: ModelName, index: number, text: string): boolean {
  const right = rows[index]?.[models[model].version];
  if (!right) throw new Error(`no row ${index}`);
  if (protocol === 'simple') {
    const answer = simpleAnswer.safeParse(json(text)).data;
    return answer?.prediction === right.prediction && answer.class_name === classNames[right.prediction];
  }
  const outputs = oipAnswer.safeParse(json(text)).data?.outputs;
  const values = (name: string) => outputs?.find((output) => output.name === name)?.data ?? [];
  const probabilities = values('probabilities');
  return (
    values('label').join() === String(right.prediction) &&
    probabilities.length === right.probabilities.length &&
    right.probabilities.every((value, i) => Math.abs(value - (probabilities[i] ?? Number.NaN)) <= expected.tolerance)
  );
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
