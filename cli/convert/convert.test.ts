import { createHash } from 'node:crypto';
import { access, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { requireModelsPython } from '../../test/support/models.ts';
import { WarmPython } from '../../test/support/warm-python.ts';
import { describeExit, type PythonRun, type RunOptions, runPython } from '../python.ts';
import { type ConvertOptions, convertModel } from './convert.ts';

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Absent: each script has a process of its own. */
let warm: WarmPython | undefined;

vi.mock('../python.ts', async (original) => {
  const real = await original<typeof import('../python.ts')>();
  const run = async (python: string, args: readonly string[], options: RunOptions): Promise<PythonRun> => {
    if (!warm || !args[0]?.endsWith('.py')) return await real.runPython(python, args, options);
    const ended = await warm.run(args);
    for (const line of ended.stderr) options.onStderrLine?.(line);
    return ended;
  };
  return { ...real, runPython: run };
});

let python: string;
let pickles: string;
let folder: string;
const made: string[] = [];
const progress: string[] = [];

async function temporary() {
  const path = await mkdtemp(join(tmpdir(), 'levada-convert-'));
  made.push(path);
  return path;
}

async function script(name: string, ...args: string[]) {
  const run = await runPython(python, [here(name), ...args], {});
  if (run.status !== 0) throw new Error(`${name} ${describeExit(run)}\n${run.stderr.join('\n')}`);
}

beforeEach(async (context) => {
  python ??= await requireModelsPython(context);
  vi.stubEnv('LEVADA_PYTHON', python); // saves the search in every conversion
  if (pickles === undefined) {
    pickles = await temporary();
    await script('test_models.py', pickles);
    warm = await WarmPython.start(python, ['sklearn', 'skl2onnx', 'onnxruntime', 'pandas']);
  }
  folder = await temporary();
  progress.length = 0;
}, 300_000);

afterAll(async () => {
  await warm?.close();
  vi.unstubAllEnvs();
  await Promise.all(made.map((path) => rm(path, { recursive: true, force: true })));
});

const convert = (name: string, options: Partial<ConvertOptions> = {}) =>
  convertModel({
    file: join(pickles, name),
    output: join(folder, 'model.onnx'),
    trust: true,
    onProgress: (line) => void progress.push(line),
    ...options,
  });

const label = (type: string) => ({ name: 'label', type, shape: [-1] });
const probabilities = (classes: number) => ({ name: 'probabilities', type: 'FP32', shape: [-1, classes] });
const column = (name: string, type: string) => ({ name, type, shape: [-1, 1] });

describe('what is converted', { timeout: 60_000 }, () => {
  it('a classifier, with a file that has the digest of the report; also by a process of its own', async () => {
    const kept = warm;
    warm = undefined;
    const alone = await convert('forest.joblib');
    warm = kept;
    const report = await convert('forest.joblib', { force: true });
    expect(report).toEqual(alone);
    expect(report).toMatchObject({
      output: join(folder, 'model.onnx'),
      estimator: 'sklearn.ensemble._forest.RandomForestClassifier',
      inputs: [{ name: 'X', type: 'FP32', shape: [-1, 6] }],
      outputs: [label('BYTES'), probabilities(3)],
      rowsFrom: 'generated',
      rowsCompared: 2000,
    });
    expect(report.rowsDiffering).toBeLessThanOrEqual(2);
    expect(report.sklearn.saved).toBe(report.sklearn.used);
    const bytes = await readFile(report.output);
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(report.sha256);
    expect(await readdir(folder)).toEqual(['model.onnx']);
    expect(progress).toContain('comparing the answers on 2000 rows');
  });

  it('the same file for the same pickle, whether joblib or pickle has written it', async () => {
    const first = await convert('forest.joblib');
    const second = await convert('plain.pkl', { force: true });
    expect(second.sha256).toBe(first.sha256);
  });

  it.each(['boosting.joblib', 'scaled.joblib'])('%s', async (name) => {
    expect(await convert(name)).toMatchObject({ rowsDiffering: 0, notes: [] });
  });

  it('a model that does not tell its range, which is said', async () => {
    expect((await convert('unscaled.joblib')).notes).toEqual([expect.stringContaining('nothing in the model tells')]);
  });

  it('a regressor', async () => {
    const report = await convert('regressor.joblib');
    expect(report).toMatchObject({ outputs: [column('variable', 'FP32')], rowsDiffering: 0, labelMismatches: 0 });
    expect(report.maxAbsDiff).toBeGreaterThan(0);
  });

  it('columns of numbers, of text and of integers, each an input; a dropped one is none', async () => {
    const report = await convert('columns.joblib');
    expect(report).toMatchObject({
      inputs: [column('age', 'FP32'), column('city', 'BYTES'), column('tier', 'INT64')],
      outputs: [label('BYTES'), probabilities(2)],
      rowsDiffering: 0,
    });
    const sampled = await convert('columns.joblib', { samples: join(pickles, 'people.csv'), force: true });
    expect(sampled).toMatchObject({ rowsFrom: 'samples', rowsCompared: 400, rowsDiffering: 0, sha256: report.sha256 });
  });

  it('a model of named columns without a ColumnTransformer, as one matrix', async () => {
    const report = await convert('named.joblib', { samples: join(pickles, 'people.csv') });
    expect(report).toMatchObject({ inputs: [{ name: 'X', shape: [-1, 2] }], rowsCompared: 400, rowsDiffering: 0 });
  });

  it('a column that the model does not tell, by the samples or by a given type', async () => {
    await expect(convert('undecided.joblib')).rejects.toMatchObject({
      code: 'ConversionUnsupported',
      message: expect.stringMatching(/column score holds numbers or text; pass --samples data\.csv/),
    });
    const inputs = [column('age', 'FP32'), column('city', 'BYTES'), column('score', 'FP32')];
    expect(await convert('undecided.joblib', { samples: join(pickles, 'people.csv') })).toMatchObject({ inputs });
    const given = await convert('undecided.joblib', { initialTypes: { score: 'float32' }, force: true });
    expect(given).toMatchObject({ inputs });
  });

  it('outputs that scikit-learn cannot vouch for are left out, and said', async () => {
    const report = await convert('margins.joblib');
    expect(report.outputs).toEqual([label('INT64')]);
    expect(report.notes).toEqual([expect.stringContaining('the output probabilities is left out')]);
    expect((await convert('clusters.joblib', { force: true })).outputs).toEqual([label('INT64')]);
  });

  it('a model of another scikit-learn, which is said', async () => {
    const report = await convert('older.joblib');
    expect(report.sklearn).toMatchObject({ saved: '1.2.0', used: expect.stringMatching(/^1\.\d+\.\d+$/) });
    expect(report.notes).toEqual([expect.stringContaining('saved by scikit-learn 1.2.0')]);
    expect(progress).toContainEqual(expect.stringContaining('saved by scikit-learn 1.2.0'));
  });
});

describe('what is refused', { timeout: 60_000 }, () => {
  it.each([
    ['no-converter.joblib', /skl2onnx has no converter for sklearn\.semi_supervised\..*LabelSpreading/],
    ['dict.pkl', /it holds a builtins\.dict, which is not a scikit-learn estimator/],
    ['absent-module.pkl', /it needs the Python module levada_absent/],
    ['of-a-script.pkl', /it needs code that is not there: .*OfThisScript/],
    ['garbage.pkl', /it is not a pickle that joblib or pickle can load/],
    ['empty.pkl', /it is not a pickle that joblib or pickle can load/],
    ['not-fitted.joblib', /LogisticRegression in it has not been fitted/],
    ['scaler-only.joblib', /StandardScaler in it does not predict anything/],
    ['two-labels.joblib', /predicts several labels at once/],
  ])('%s', async (name, message) => {
    await expect(convert(name)).rejects.toMatchObject({
      code: 'ConversionUnsupported',
      message: expect.stringMatching(message),
    });
    expect(await readdir(folder)).toEqual([]);
  });

  it('a model that float32 ruins on the rows that it is for', async () => {
    await expect(convert('far-off.joblib', { samples: join(pickles, 'far-off.csv') })).rejects.toMatchObject({
      code: 'ConversionDisagrees',
      message: expect.stringMatching(/of 300 rows differ .* row \d+: \{.*ONNX/),
    });
    expect(await readdir(folder)).toEqual([]);
  });

  it('a pickle, unless it is trusted: it runs code', async () => {
    await expect(convert('runs-code.pkl', { trust: false })).rejects.toMatchObject({ code: 'PickleUntrusted' });
    await expect(access(join(pickles, 'ran'))).rejects.toThrow();
    await expect(convert('runs-code.pkl')).rejects.toMatchObject({
      code: 'ConversionUnsupported',
      message: expect.stringContaining('the Python process exited with 0'),
    });
    await access(join(pickles, 'ran'));
  });

  it.each([
    ['no-city.csv', /no column city; found: age, tier, note, score/],
    ['bad-age.csv', /line 5, column age: found 'old'; allowed: float32/],
    ['empty.pkl', /--samples .*empty\.pkl/],
  ])('samples that do not fit: %s', async (name, message) => {
    await expect(convert('columns.joblib', { samples: join(pickles, name) })).rejects.toMatchObject({
      code: 'Usage',
      message: expect.stringMatching(message),
    });
  });

  it('a type for a column that is not there', async () => {
    const initialTypes = { salary: 'float32' } as const;
    await expect(convert('columns.joblib', { initialTypes })).rejects.toThrow(/salary; allowed: age, city, tier/);
  });

  it('an output that exists, unless forced; a failure leaves it alone', async () => {
    await writeFile(join(folder, 'model.onnx'), 'precious');
    await expect(convert('forest.joblib')).rejects.toMatchObject({ code: 'OutputExists' });
    await expect(convert('dict.pkl', { force: true })).rejects.toMatchObject({ code: 'ConversionUnsupported' });
    expect(await readFile(join(folder, 'model.onnx'), 'utf8')).toBe('precious');
    await convert('forest.joblib', { force: true });
    expect((await readFile(join(folder, 'model.onnx'))).length).toBeGreaterThan(1000);
  });

  it('paths that are not there or the wrong thing', async () => {
    await expect(convert('nothing.joblib')).rejects.toMatchObject({ code: 'FileNotFound' });
    await expect(convert('.')).rejects.toMatchObject({ code: 'FileNotFound' });
    await expect(convert('forest.joblib', { samples: 'nothing.csv' })).rejects.toMatchObject({ code: 'FileNotFound' });
    await expect(convert('forest.joblib', { output: folder })).rejects.toMatchObject({ code: 'Usage' });
    const file = join(pickles, 'forest.joblib');
    await expect(convert('forest.joblib', { output: file, force: true })).rejects.toMatchObject({ code: 'Usage' });
    const output = join(folder, 'nowhere', 'model.onnx');
    await expect(convert('forest.joblib', { output })).rejects.toMatchObject({ code: 'FileNotFound' });
  });

  it('what takes too long, and what the user stops', async () => {
    await warm?.close();
    warm = undefined; // a process that can be killed
    await expect(convert('forest.joblib', { timeoutMs: 100 })).rejects.toThrow(/did not finish in time/);
    const signal = AbortSignal.timeout(1_000);
    await expect(convert('forest.joblib', { signal })).rejects.toThrow(/timeout/);
    expect(await readdir(folder)).toEqual([]);
  });
});

it('the comparison finds answers that were altered', async () => {
  await script('agreement_test.py');
}, 60_000);
