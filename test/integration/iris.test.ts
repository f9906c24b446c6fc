/** All 150 rows of iris, both versions, over both APIs: scikit-learn's classes and probabilities. */
import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { startRuntime } from '../support/runtime.ts';

interface Answer {
  prediction: number;
  probabilities: number[];
}
interface Expected {
  classNames: string[];
  rows: Array<{ features: number[] } & Record<'v1' | 'v2', Answer>>;
}

const { classNames, rows } = JSON.parse(await readFile('examples/iris/expected/rows.json', 'utf8')) as Expected;
const tolerance = 1e-5;

const post = async (url: string, body: object): Promise<unknown> => {
  const response = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
  expect(response.status).toBe(200);
  return response.json();
};

describe.each(['v1', 'v2'] as const)('iris %s', (version) => {
  test('has 150 rows with all classes', () => {
    expect(rows).toHaveLength(150);
    expect(new Set(rows.map((row) => row[version].prediction))).toEqual(new Set([0, 1, 2]));
  });

  test('both APIs answer as scikit-learn does', async () => {
    const server = await startRuntime(`examples/iris/models/${version.slice(1)}`, {
      model: 'iris',
      version,
      classNames,
    });
    try {
      const simple = await Promise.all(rows.map(({ features }) => post(`${server.url}/predict`, { features })));
      expect(simple).toEqual(
        rows.map((row) => ({ prediction: row[version].prediction, class_name: classNames[row[version].prediction] })),
      );
      const input = { name: 'X', datatype: 'FP32', shape: [150, 4], data: rows.map(({ features }) => features) };
      const answer = (await post(`${server.url}/v2/models/iris/versions/${version}/infer`, { inputs: [input] })) as {
        model_version: string;
        outputs: Array<{ name: string; data: number[] }>;
      };
      expect(answer.model_version).toBe(version);
      const data = (name: string) => answer.outputs.find((output) => output.name === name)?.data ?? [];
      expect(data('label')).toEqual(rows.map((row) => row[version].prediction));
      const probabilities = data('probabilities');
      const expected = rows.flatMap((row) => row[version].probabilities);
      expect(probabilities).toHaveLength(expected.length);
      const worst = Math.max(...probabilities.map((value, i) => Math.abs(value - (expected[i] ?? Number.NaN))));
      expect(worst).toBeLessThanOrEqual(tolerance);
    } finally {
      expect(await server.stop()).toBe(0);
    }
  });
});
