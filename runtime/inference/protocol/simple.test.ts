import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import { ensurePython } from '../../../cli/python.ts';
import { exportIris } from '../../../hack/export-iris.ts';
import { requirePython } from '../../../test/support/models.ts';
import {
  call,
  fixture,
  iris,
  post,
  type Reply,
  type Served,
  serve,
  serverConfig,
} from '../../../test/support/serve.ts';
import { type Datatype, datatypes, type Tensor, type TensorInfo } from '../tensors.ts';
import { PredictInvalid, simpleModel } from './simple.ts';

const classNames = ['setosa', 'versicolor', 'virginica'];
const served = new Map<string, Promise<Served>>();
/** One server a model and class names, for all tests. */
const server = (path: string, names?: string[]): Promise<Served> => {
  const key = JSON.stringify([path, names]);
  let found = served.get(key);
  if (!found) {
    found = serve(serverConfig(path, names && { classNames: names }));
    served.set(key, found);
  }
  return found;
};
afterAll(async () => {
  for (const each of served.values()) await (await each).close();
});
const predict = async (path: string, features: unknown, names?: string[]) =>
  post(`${(await server(path, names)).url}/predict`, { features });

describe('answers', () => {
  test.each<[name: string, path: string, features: number[], names: string[] | undefined, answer: object]>([
    ['label, named', iris(1), [6.7, 3, 5.2, 2.3], classNames, { prediction: 2, class_name: 'virginica' }],
    ['label, not named', iris(1), [6.7, 3, 5.2, 2.3], undefined, { prediction: 2, class_name: '2' }],
    ['label beyond the names', iris(1), [6.7, 3, 5.2, 2.3], ['a', 'b'], { prediction: 2, class_name: null }],
    ['highest of the logits', fixture('logits'), [0, 1], ['a', 'b', 'c'], { prediction: 2, class_name: 'c' }],
    ['first of equal logits', fixture('logits'), [0, 0], undefined, { prediction: 0, class_name: '0' }],
    ['a number', fixture('regression'), [1, 2, 3], classNames, { prediction: 11.5, class_name: null }],
    ['fixed batch of 1', fixture('fixed-batch-1'), [1, 1, -1], undefined, { prediction: 0, class_name: '0' }],
    ['fixed batch of 4', fixture('fixed-batch-4'), [1, 0, 1], undefined, { prediction: 1, class_name: '1' }],
  ])('%s', async (_name, path, features, names, answer) => {
    const { status, json } = await predict(path, features, names);
    expect([status, json]).toEqual([200, answer]);
  });

  test.each([
    ['two-inputs', [1, 2]],
    ['identity-all', [1]],
  ])('%s has no simple form: 501', async (name, features) => {
    const { status, error, json } = await predict(fixture(name), features);
    expect([status, error]).toEqual([501, 'SimpleApiUnsupported']);
    expect(json.detail).toMatch(/is not one column/);
  });

  test('NaN: 500', async () => {
    const { status, error, json } = await predict(fixture('nan-output'), [1, -1]);
    expect([status, error, json.detail]).toEqual([500, 'OutputNotFinite', expect.stringContaining('output Y is NaN')]);
  });

  test('any number of features where the model has a free width', async () => {
    for (const features of [[1], [1, 2, 3]]) expect((await predict(fixture('free-dims'), features)).status).toBe(200);
    expect((await predict(fixture('free-dims'), [])).json.detail[0]).toMatchObject({ type: 'too_short' });
  });
});

describe('how a signature maps', () => {
  const info = (name: string, datatype: Datatype, shape: number[]): TensorInfo => ({ name, datatype, shape });
  const label = info('label', 'INT64', [-1]);
  const tensor = (datatype: Datatype, shape: number[], data: Tensor['data']): Tensor => ({ datatype, shape, data });

  test('several columns, of several types', () => {
    const inputs = [
      info('age', 'FP32', [-1, 1]),
      info('city', 'BYTES', [-1, 1]),
      info('n', 'INT64', [-1]),
      info('b', 'BOOL', [-1]),
    ];
    const model = simpleModel({ inputs, outputs: [label] }, undefined);
    const tensors = model.parse({ features: [1.5, 'Bern', 3, true] });
    expect(tensors.map(({ shape, data }) => [shape, [...data]])).toEqual([
      [[1, 1], [1.5]],
      [[1, 1], ['Bern']],
      [[1], [3n]],
      [[1], [1]],
    ]);
    const wrong = () => model.parse({ features: ['x', 1, 1.5, 0] });
    expect(wrong).toThrow(PredictInvalid);
    try {
      wrong();
    } catch (error) {
      expect((error as PredictInvalid).detail.map(({ type, loc }) => [type, loc])).toEqual([
        ['float_parsing', ['body', 'features', 0]],
        ['string_type', ['body', 'features', 1]],
        ['int_from_float', ['body', 'features', 2]],
        ['bool_type', ['body', 'features', 3]],
      ]);
    }
  });

  test('integers must fit the datatype', () => {
    for (const datatype of ['UINT8', 'INT32', 'INT64'] as const) {
      const model = simpleModel({ inputs: [info('X', datatype, [-1, 1])], outputs: [label] }, undefined);
      const { max } = datatypes[datatype];
      for (const value of [Number(max) + 1, -Number(max) - 2, 1e300]) {
        expect(() => model.parse({ features: [value] })).toThrow(PredictInvalid);
      }
      expect([...model.parse({ features: [7] })[0]!.data].map(Number)).toEqual([7]);
    }
  });

  test('string labels name themselves; a label comes before scores, wherever it stands', () => {
    const inputs = [info('X', 'FP32', [-1, 1])];
    const outputs = [info('scores', 'FP32', [-1, 2]), info('label', 'BYTES', [-1])];
    const model = simpleModel({ inputs, outputs }, ['a', 'b']);
    const scores = tensor('FP32', [2, 2], Float32Array.from([1, 0, 0, 1]));
    const answer = model.answer([scores, tensor('BYTES', [2], ['yes', 'n"o'])], 1);
    expect(JSON.parse(answer)).toEqual({ prediction: 'n"o', class_name: 'n"o' });
  });

  test('INT64 labels beyond 2^53 keep their digits', () => {
    const model = simpleModel({ inputs: [info('X', 'FP32', [-1, 1])], outputs: [label] }, undefined);
    const answer = model.answer([tensor('INT64', [1], BigInt64Array.from([9007199254740993n]))], 0);
    expect(answer).toBe('{"prediction":9007199254740993,"class_name":"9007199254740993"}');
  });

  test('no value for the row is an error, not "undefined"', () => {
    const model = simpleModel({ inputs: [info('X', 'FP32', [-1, 1])], outputs: [label] }, undefined);
    expect(() => model.answer([tensor('INT64', [0], new BigInt64Array(0))], 0)).toThrow(/no answer for this row/);
  });

  test('several labels a row are an error, not the first of them', () => {
    const outputs = [info('labels', 'INT64', [-1, -1])];
    const model = simpleModel({ inputs: [info('X', 'FP32', [-1, 1])], outputs }, undefined);
    const labels = tensor('INT64', [1, 2], BigInt64Array.from([1n, 2n]));
    expect(() => model.answer([labels], 0)).toThrow(expect.objectContaining({ code: 'SimpleApiUnsupported' }));
  });
});

describe('beside the FastAPI service that it stands in for', () => {
  /** What is different on purpose. FastAPI's side is asked all the same, so that this list cannot grow old. */
  const different: Record<string, string> = {
    '{"features":[5.1,3.5,1.4]}': 'too few features: 500 from scikit-learn there, 422 that says so here',
    '{"features":[5.1,3.5,1.4,0.2,1]}': 'too many features: likewise',
    '{"features":[]}': 'no features: likewise',
    '{"features":["5.1","3.5",1.4,0.2]}': 'pydantic reads numbers out of strings; a string is not a number here',
    '{"features":[true,3.5,1.4,0.2]}': 'pydantic reads true as 1; a boolean is not a number here',
    '{"features":[1e999,3.5,1.4,0.2]}': 'infinite: 500 from scikit-learn there, 422 that names it here',
    '{"features":[NaN,3.5,1.4,0.2]}': 'Python reads NaN, which is not JSON, and fails later with 500',
    '{"features":[1e39,3.5,1.4,0.2]}': 'too large for a 32-bit float: 500 there, 422 that names it here',
    '\xff': 'not UTF-8: 400 with a text there, 422 as for all that is not JSON here',
  };
  const same = [
    '{"features":[5.1,3.5,1.4,0.2]}',
    '{"features":[5,3,1,0]}',
    '{"features":[5.1,3.5,1.4,0.2],"more":1}',
    '{"features":[5.1,3.5,1.4,0.2],"__proto__":{}}',
    '{}',
    '{"Features":[1]}',
    '{"__proto__":{"features":[5.1,3.5,1.4,0.2]}}',
    '{"constructor":1}',
    '{"features":null}',
    '{"features":"5.1,3.5"}',
    '{"features":5}',
    '{"features":{"a":1}}',
    '{"features":[null,3.5,1.4,0.2]}',
    '{"features":["x",3.5,1.4,"y"]}',
    '{"features":[[5.1],3.5,1.4,{}]}',
    '{"features":["",3.5,1.4,0.2]}',
    '[]',
    '[{"features":[5.1,3.5,1.4,0.2]}]',
    '5',
    '"x"',
    'true',
    'null',
    '',
    '{',
    '{"features":[5.1,}',
    'features=1',
    '{"features":[5.1 3.5]}',
  ];

  test('the same status, and in `detail` the same types at the same places', async (context) => {
    await requirePython(context);
    const dir = mkdtempSync(join(tmpdir(), 'levada-fastapi-'));
    const python = await ensurePython('fastapi', { onProgress: () => {} });
    await exportIris({ joblib: dir, onProgress: () => {} });
    const script = fileURLToPath(new URL('../../../test/bench/peers/fastapi_sklearn.py', import.meta.url));
    const child = spawn(python, ['-B', script], {
      env: { ...process.env, MODEL: join(dir, 'v1.joblib'), PORT: '0' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const exited = once(child, 'exit');
    try {
      const there = await listening(child);
      const here = (await server(iris(1), classNames)).url;
      const ask = (url: string, body: string) => post(`${url}/predict`, Buffer.from(body, 'latin1'));
      const differ: object[] = [];
      for (const body of same) {
        const [theirs, ours] = await Promise.all([ask(there, body), ask(here, body)]);
        if (!isDeepStrictEqual(outcome(ours), outcome(theirs)))
          differ.push({ body, ours: ours.text, theirs: theirs.text });
      }
      expect(differ).toEqual([]);
      for (const body of Object.keys(different)) {
        const [theirs, ours] = await Promise.all([ask(there, body), ask(here, body)]);
        expect(outcome(ours), body).not.toEqual(outcome(theirs));
        expect(ours.status, body).toBe(422);
      }
      const [theirs, ours] = await Promise.all([call(`${there}/health`), call(`${here}/health`)]);
      expect(ours.json).toEqual(theirs.json);
    } finally {
      child.kill('SIGKILL');
      await exited;
      rmSync(dir, { recursive: true, force: true });
    }
  }, 180_000);

  /** Status, and the answer or what is wrong where; messages and echoed input may be worded otherwise. */
  function outcome({ status, json }: Reply): unknown {
    if (!Array.isArray(json?.detail)) return [status, json];
    return [
      status,
      json.detail.map((entry: { type: string; loc: unknown[] }) => [
        entry.type,
        entry.type === 'json_invalid' ? 'body' : entry.loc,
      ]),
    ];
  }

  async function listening(child: ReturnType<typeof spawn>): Promise<string> {
    const lines: string[] = [];
    const output = createInterface({ input: child.stdout! });
    for await (const line of output) {
      lines.push(line);
      const port = /^LISTENING (\d+)$/.exec(line)?.[1];
      if (port) return `http://127.0.0.1:${port}`;
    }
    throw new Error(`no port in ${lines.join('\n')}`);
  }
});
