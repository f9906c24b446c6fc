import { createHash, randomUUID } from 'node:crypto';
import { access, link, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ErrorCode, LevadaError, messageOf } from '../../api/errors.ts';
import { describeExit, ensurePython, type PythonRun, runPython } from '../python.ts';

export type ColumnKind = 'float32' | 'int64' | 'string';

export interface ConvertOptions {
  /** A .joblib or .pkl file. */
  readonly file: string;
  /** Where the ONNX file goes. */
  readonly output: string;
  /** CSV with a header line: the rows to compare the answers on; without it, rows are generated. */
  readonly samples?: string | undefined;
  /** Types of columns that the fitted model does not tell, by name; `X` is the matrix of a model without named columns. */
  readonly initialTypes?: Readonly<Record<string, ColumnKind>> | undefined;
  /** Unpickling runs code from the file, so somebody has to say that it may. */
  readonly trust: boolean;
  /** Replace `output`. */
  readonly force?: boolean | undefined;
  readonly timeoutMs?: number | undefined;
  onProgress(line: string): void;
  readonly signal?: AbortSignal | undefined;
}

export interface ModelTensor {
  readonly name: string;
  /** As the Open Inference Protocol names them. */
  readonly type: string;
  /** -1 is free. */
  readonly shape: readonly number[];
}

/** One row that scikit-learn and ONNX Runtime answer differently. */
export interface DifferingRow {
  /** Counted from 0, without the header line. */
  readonly row: number;
  readonly sklearn: Readonly<Record<string, unknown>>;
  readonly onnx: Readonly<Record<string, unknown>>;
}

export interface ConversionReport {
  readonly output: string;
  readonly sha256: string;
  /** The class, with its module. */
  readonly estimator: string;
  readonly inputs: readonly ModelTensor[];
  readonly outputs: readonly ModelTensor[];
  readonly rowsFrom: 'samples' | 'generated';
  readonly rowsCompared: number;
  /** Rows with another label, or with numbers beyond the tolerance. At most 0.1 %. */
  readonly rowsDiffering: number;
  readonly labelMismatches: number;
  /** Label mismatches where scikit-learn itself finds the two classes equally likely; not counted as differing. */
  readonly ties: number;
  readonly maxAbsDiff: number;
  /** The first few of the rows that differ. */
  readonly examples: readonly DifferingRow[];
  /** What the user should know although the conversion succeeded. */
  readonly notes: readonly string[];
  readonly sklearn: { readonly saved: string; readonly used: string };
}

const DEFAULT_TIMEOUT_MS = 600_000;

type Answer =
  | { readonly report: Omit<ConversionReport, 'output' | 'sha256'> }
  | { readonly error: ErrorCode; readonly detail: string };

/**
 * Converts a scikit-learn pickle to ONNX. The output file appears, whole, only when ONNX Runtime gives scikit-learn's
 * answers.
 *
 * @throws LevadaError PickleUntrusted, FileNotFound, OutputExists, ConversionUnsupported, ConversionDisagrees, Usage,
 *   PythonNotFound, PythonEnvironmentFailed
 */
export async function convertModel(options: ConvertOptions): Promise<ConversionReport> {
  const { file, output } = options;
  if (!options.trust) throw new LevadaError('PickleUntrusted', { path: file });
  await checkPaths(options);
  const python = await ensurePython('models', options);

  // In the same folder, so that the last step is a rename.
  const temporary = join(dirname(output), `.${basename(output)}.${randomUUID()}.tmp`);
  try {
    const answer = await runConvert(python, temporary, options);
    if ('error' in answer) throw new LevadaError(answer.error, { path: file, detail: answer.detail });
    for (const note of answer.report.notes) options.onProgress(`note: ${note}`);
    const sha256 = createHash('sha256')
      .update(await readFile(temporary))
      .digest('hex');
    await publish(temporary, output, options.force ?? false);
    return { output, sha256, ...answer.report };
  } finally {
    await rm(temporary, { force: true });
  }
}

async function checkPaths({ file, output, samples, force }: ConvertOptions): Promise<void> {
  for (const path of samples === undefined ? [file] : [file, samples]) {
    const info = await stat(path).catch((error: unknown) => {
      throw new LevadaError('FileNotFound', { path, detail: messageOf(error) }, { cause: error });
    });
    if (!info.isFile()) throw new LevadaError('FileNotFound', { path, detail: 'it is not a file' });
  }
  if (resolve(file) === resolve(output)) throw new LevadaError('Usage', { detail: `${output} is the pickle itself` });
  const existing = await stat(output).catch(() => undefined);
  if (existing?.isDirectory()) throw new LevadaError('Usage', { detail: `${output} is a folder; name a file` });
  if (existing && !force) throw new LevadaError('OutputExists', { path: output });
  const folder = dirname(output);
  await access(folder).catch((error: unknown) => {
    throw new LevadaError('FileNotFound', { path: folder, detail: messageOf(error) }, { cause: error });
  });
}

async function runConvert(python: string, temporary: string, options: ConvertOptions): Promise<Answer> {
  const script = fileURLToPath(new URL('./convert.py', import.meta.url));
  const request = {
    file: options.file,
    output: temporary,
    samples: options.samples ?? null,
    types: options.initialTypes ?? {},
  };
  const run = await runPython(python, [script, JSON.stringify(request)], {
    onStderrLine: options.onProgress,
    signal: options.signal,
    timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
  });
  return parseAnswer(run);
}

function parseAnswer(run: PythonRun): Answer {
  try {
    if (run.status === 0) return JSON.parse(run.stdout.trim().split('\n').at(-1) ?? '') as Answer;
  } catch {
    // The unpickled code ended the process itself; said below.
  }
  const tail = run.stderr.slice(-5).join('\n').trim();
  return { error: 'ConversionUnsupported', detail: `the Python process ${describeExit(run)}\n${tail}`.trim() };
}

async function publish(temporary: string, output: string, force: boolean): Promise<void> {
  if (force) return rename(temporary, output);
  // Unlike rename, link fails where somebody has made the file meanwhile.
  await link(temporary, output).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EEXIST') throw new LevadaError('OutputExists', { path: output }, { cause: error });
    throw error;
  });
}
