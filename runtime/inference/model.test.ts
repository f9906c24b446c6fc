import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ModelServerConfig } from '../../api/contract/model-server.ts';
import { call, fixture, iris, post, serve, serverConfig } from '../../test/support/serve.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'levada-model-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const write = (name: string, content: string | Uint8Array): string => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};
const digest = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
const irisFile = join(iris(1), 'model.onnx');
const wrong = 'ab'.repeat(32);

describe('a model that cannot be served is a state with a code', () => {
  const cases: [
    name: string,
    code: string,
    message: RegExp,
    config: () => Partial<ModelServerConfig> & { path: string },
  ][] = [
    ['no file', 'ArtifactNotFound', /no model at .*gone.*ENOENT/, () => ({ path: join(dir, 'gone') })],
    [
      'a folder without a model',
      'ArtifactNotFound',
      /model\.onnx/,
      () => {
        mkdirSync(join(dir, 'empty'));
        return { path: join(dir, 'empty') };
      },
    ],
    ['a path through a file', 'ArtifactNotFound', /ENOTDIR/, () => ({ path: join(irisFile, 'x') })],
    ['not a file', 'ArtifactNotFound', /not a file/, () => ({ path: '/dev/null' })],
    ['another digest than spec says', 'DigestMismatch', /allows only/, () => ({ path: iris(1), sha256: wrong })],
    [
      'another digest than was resolved',
      'ArtifactChanged',
      /resolved abab/,
      () => ({ path: iris(1), resolvedSha256: wrong }),
    ],
    ['a pickle by name', 'PickleRefused', /levada model convert/, () => ({ path: write('model.joblib', 'whatever') })],
    [
      'a pickle by content',
      'PickleRefused',
      /levada model convert/,
      () => ({ path: write('model.onnx', Buffer.from('80049504000000000000004b012e', 'hex')) }),
    ],
    ['an empty file', 'ModelInvalid', /./, () => ({ path: write('empty.onnx', '') })],
    ['garbage', 'ModelInvalid', /./, () => ({ path: fixture('garbage') })],
    ['a truncated file', 'ModelInvalid', /./, () => ({ path: fixture('truncated') })],
    ['an unknown operator', 'ModelInvalid', /Mangle|example\.levada\.dev/, () => ({ path: fixture('custom-op') })],
    ['weights outside of the file', 'ModelUnsupported', /in other files/, () => ({ path: fixture('external-data') })],
    ['ZipMap', 'ModelUnsupported', /zipmap=False/, () => ({ path: fixture('zipmap') })],
    ['every run fails', 'ModelWarmUpFailed', /every run fails/, () => ({ path: fixture('bad-shape') })],
    ['every run wants 1 TB', 'ModelWarmUpFailed', /alloc/i, () => ({ path: fixture('huge-alloc') })],
    ['no class names', 'ClassNamesInvalid', /ENOENT/, () => ({ path: iris(1), classNamesPath: join(dir, 'no-names') })],
    [
      'class names that are not UTF-8',
      'ClassNamesInvalid',
      /UTF-8/,
      () => ({ path: iris(1), classNamesPath: write('latin', Buffer.from([0x66, 0xe9, 0x0a])) }),
    ],
    [
      'an empty class name',
      'ClassNamesInvalid',
      /line 2 is empty/,
      () => ({ path: iris(1), classNamesPath: write('gap', 'a\n\nc\n') }),
    ],
    [
      'no class name at all',
      'ClassNamesInvalid',
      /line 1 is empty/,
      () => ({ path: iris(1), classNamesPath: write('none', '') }),
    ],
    [
      'too many class names',
      'ClassNamesInvalid',
      /10001 lines/,
      () => ({ path: iris(1), classNamesPath: write('many', 'x\n'.repeat(10_001)) }),
    ],
  ];
  test.each(cases)('%s: %s', async (_name, code, message, make) => {
    const { path, ...rest } = make();
    const served = await serve(serverConfig(path, rest));
    try {
      const { state, failure } = served.service.status;
      expect([state, failure?.code]).toEqual(['Failed', code]);
      expect(failure?.message).toMatch(message);
      expect(failure?.message).not.toMatch(/\{\w+\}/);
      expect(served.states.at(-1)).toEqual(served.service.status);
      const { status, json } = await post(`${served.url}/v2/models/m/infer`, '{}');
      expect([status, json.error]).toEqual([503, expect.stringContaining(code)]);
      expect(served.fatal).toEqual([]);
    } finally {
      await served.close();
    }
  });
});

describe('a good model', () => {
  test('file or folder, right digests: loaded, and the digest is said before', async () => {
    const sha256 = digest(irisFile);
    for (const path of [irisFile, iris(1)]) {
      const served = await serve(serverConfig(path, { sha256, resolvedSha256: sha256 }));
      expect(served.states).toEqual([
        { state: 'Loading', sha256 },
        { state: 'Loaded', sha256 },
      ]);
      await served.close();
    }
  });

  test('class names from a file, with CRLF and BOM', async () => {
    const classNamesPath = write('names', '\ufeffsetosa\r\nversicolor\r\nvirginica');
    const served = await serve(serverConfig(iris(2), { classNamesPath }));
    const { json } = await post(`${served.url}/predict`, { features: [5.1, 3.5, 1.4, 0.2] });
    expect(json).toEqual({ prediction: 0, class_name: 'setosa' });
    await served.close();
  });

  test('what a failure was: mended by loading the next process, not by luck', async () => {
    const path = join(dir, 'late.onnx');
    const first = await serve(serverConfig(path));
    expect(first.service.status.failure?.code).toBe('ArtifactNotFound');
    await first.close();
    copyFileSync(irisFile, path);
    const second = await serve(serverConfig(path));
    expect(second.service.status.state).toBe('Loaded');
    await second.close();
  });
});

const row = (width: number, values: readonly number[]) => ({
  inputs: [{ name: 'X', shape: [values.length / width, width], datatype: 'FP32', data: values }],
});

describe('rows that depend on each other', () => {
  test('are not joined: every request gets the answer that it gets alone', async () => {
    const served = await serve(
      serverConfig(fixture('not-batchable'), { batching: { maxBatchSize: 64, maxDelayMs: 50 } }),
    );
    expect(served.notes).toContainEqual(expect.stringContaining('not joined'));
    const replies = await Promise.all(
      [1, 2, 3, 4].map((n) => post(`${served.url}/v2/models/m/infer`, row(2, [n, 0, n + 2, 0]))),
    );
    for (const { json } of replies) expect(json.outputs[0]).toMatchObject({ shape: [2, 2], data: [-1, 0, 1, 0] });
    await served.close();
  });

  test('rows that do not are: concurrent requests share runs, and a bad one fails alone', async () => {
    const batching = { maxBatchSize: 64, maxDelayMs: 50 };
    const served = await serve(serverConfig(fixture('fails-when-negative'), { batching }));
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        post(`${served.url}/v2/models/m/infer`, row(2, [n === 7 ? -1 : n, 1])).then(({ status, error, json }) => ({
          status,
          error,
          data: json.outputs?.[0].data,
        })),
      ),
    );
    for (const [n, reply] of replies.entries()) {
      expect(reply).toEqual(
        n === 7
          ? { status: 500, error: 'InferenceFailed', data: undefined }
          : { status: 200, error: null, data: [n, 1] },
      );
    }
    await served.close();
  });

  test('sequences of different lengths run apart', async () => {
    const served = await serve(serverConfig(fixture('free-dims'), { batching: { maxBatchSize: 64, maxDelayMs: 20 } }));
    const replies = await Promise.all(
      [1, 2, 3, 2, 1].map((n) => post(`${served.url}/v2/models/m/infer`, row(n, Array(n).fill(2)))),
    );
    expect(replies.map(({ json }) => json.outputs[0].data)).toEqual([[2], [4], [6], [4], [2]]);
    expect(replies.map(({ json }) => json.outputs[1].shape)).toEqual([
      [1, 1],
      [1, 2],
      [1, 3],
      [1, 2],
      [1, 1],
    ]);
    await served.close();
  });

  test('fixed batches take their own size and no other', async () => {
    const served = await serve(serverConfig(fixture('fixed-batch-4')));
    const good = await post(`${served.url}/v2/models/m/infer`, row(3, Array(12).fill(0)));
    expect(good.json.outputs[0]).toMatchObject({
      shape: [4, 2],
      data: [0.25, -0.5, 0.25, -0.5, 0.25, -0.5, 0.25, -0.5],
    });
    const bad = await post(`${served.url}/v2/models/m/infer`, row(3, [0, 0, 0]));
    expect([bad.status, bad.error, bad.json.error]).toEqual([400, 'WrongShape', expect.stringContaining('[4,3]')]);
    await served.close();
  });
});

test('outputs that JSON cannot hold', async () => {
  const served = await serve(serverConfig(fixture('nan-output')));
  for (const [values, text] of [
    [[1, -1], 'output Y is NaN at index 1'],
    [[0, 1], 'output Y is -Infinity at index 0'],
  ] as const) {
    const { status, error, json } = await post(`${served.url}/v2/models/m/infer`, row(2, values));
    expect([status, error, json.error]).toEqual([500, 'OutputNotFinite', expect.stringContaining(text)]);
  }
  await served.close();
});

describe('a model that is quick at first', () => {
  test('fails on demand without harm to the process', async () => {
    const served = await serve(serverConfig(fixture('huge-alloc-on-demand')));
    expect((await post(`${served.url}/v2/models/m/infer`, row(2, [1, 1]))).status).toBe(200);
    const { status, error } = await post(`${served.url}/v2/models/m/infer`, row(2, [500_000, 1]));
    expect([status, error]).toEqual([500, 'InferenceFailed']);
    expect((await post(`${served.url}/v2/models/m/infer`, row(2, [1, 1]))).status).toBe(200);
    await served.close();
  });

  test('moves to a thread when requests turn out slow, and health answers during its runs then', async () => {
    const served = await serve(serverConfig(fixture('huge-alloc-on-demand')));
    const slow = row(2, [4_000, 0]); // 16 million numbers: some 20 ms, 64 MB
    let most = 0;
    while (most < 5) {
      let running = true;
      const request = post(`${served.url}/v2/models/m/infer`, slow).finally(() => {
        running = false;
      });
      let answers = 0;
      while (running) {
        expect((await call(`${served.url}/health`)).status).toBe(200);
        answers++;
      }
      expect((await request).json.outputs[0].data[0]).toBeGreaterThan(0);
      most = Math.max(most, answers - 1);
    }
    await served.close();
  });
});
