/** What the load client asks, and what it takes for right. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const expectedFile = fileURLToPath(new URL('../../examples/iris/expected/rows.json', import.meta.url));

/** `telling`: right, and no other version answers so. */
export type Judgement = 'wrong' | 'right' | 'telling';

export interface Question {
  readonly path: string;
  readonly body: object;
  /** @param version the one that says that it has answered */
  judge(version: string, answer: string): Judgement;
}

interface Score {
  readonly prediction: number;
  readonly probabilities: number[];
}
interface Expected {
  readonly classNames: string[];
  readonly tolerance: number;
  readonly rows: ReadonlyArray<{ features: number[]; v1: Score; v2: Score }>;
}

const inferPath = '/v2/models/iris/infer';
const inferBody = (row: readonly number[]) => ({
  inputs: [{ name: 'X', shape: [1, row.length], datatype: 'FP32', data: row }],
});

function outputOf(answer: string, name: string): number[] {
  const { outputs } = JSON.parse(answer) as { outputs: Array<{ name: string; data: number[] }> };
  return outputs.find((output) => output.name === name)?.data ?? [];
}

/** Rows of the iris example, in turn to both paths: held against what scikit-learn gave for the version that answers. */
export function irisQuestions(): (index: number) => Question {
  const { classNames, tolerance, rows } = JSON.parse(readFileSync(expectedFile, 'utf8')) as Expected;
  const isRight = (isOip: boolean, score: Score, answer: string): boolean => {
    if (!isOip) {
      const { prediction, class_name } = JSON.parse(answer) as { prediction: number; class_name: string };
      return prediction === score.prediction && class_name === classNames[score.prediction];
    }
    const probabilities = outputOf(answer, 'probabilities');
    return (
      outputOf(answer, 'label')[0] === score.prediction &&
      score.probabilities.every((value, i) => Math.abs(value - (probabilities[i] ?? Number.NaN)) <= tolerance)
    );
  };
  return (index) => {
    const row = rows[index % rows.length] as Expected['rows'][number];
    // Rows are of an even number: their turn must not decide which path they are sent to.
    const isOip = Math.floor(index / rows.length + index) % 2 === 1;
    return {
      path: isOip ? inferPath : '/predict',
      body: isOip ? inferBody(row.features) : { features: row.features },
      judge(version, answer) {
        if (version !== 'v1' && version !== 'v2') return 'wrong';
        if (!isRight(isOip, row[version], answer)) return 'wrong';
        return isRight(isOip, row[version === 'v1' ? 'v2' : 'v1'], answer) ? 'right' : 'telling';
      },
    };
  };
}

/** One row, for models whose Y is their X where they are right. */
export function echoQuestions(row: readonly number[]): (index: number) => Question {
  const body = inferBody(row);
  const judge = (_: string, answer: string): Judgement => {
    const found = outputOf(answer, 'Y');
    return found.length === row.length && row.every((value, i) => value === found[i]) ? 'right' : 'wrong';
  };
  return () => ({ path: inferPath, body, judge });
}
