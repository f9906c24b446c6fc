import { fileURLToPath } from 'node:url';
import { errorCodeOf, messageOf } from '../../api/errors.ts';
import { type BasePython, describeExit, ensurePython, findPython, runPython } from '../../cli/python.ts';

export interface ManifestTensor {
  readonly name: string;
  /** As the Open Inference Protocol names them. */
  readonly datatype: string;
  /** -1 is free. */
  readonly shape: readonly number[];
}

export interface ManifestModel {
  readonly name: string;
  /** Path of the ONNX file. */
  readonly path: string;
  /** Path of the cases: scikit-learn's own answers, in the format of `levada model check --cases`. */
  readonly cases: string;
  readonly rows: number;
  readonly inputs: readonly ManifestTensor[];
  readonly outputs: readonly ManifestTensor[];
  readonly classes?: readonly (string | number)[];
}

export interface Manifest {
  readonly seed: number;
  readonly models: readonly ManifestModel[];
}

/** A tensor of a cases file, as in an inference request. */
export interface CaseTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly datatype: string;
  readonly data: readonly (number | string | boolean)[];
}

export interface CasesFile {
  readonly tolerance: { readonly absolute: number; readonly relative: number };
  readonly cases: readonly {
    readonly name?: string;
    readonly inputs: readonly CaseTensor[];
    readonly outputs: readonly CaseTensor[];
  }[];
}

/** Trains fresh models into `dir`; takes some ten seconds, and half a minute more when the environment must be made. */
export async function trainModels(dir: string, seed: number): Promise<Manifest> {
  const python = await ensurePython('models', { onProgress: () => {} });
  const script = fileURLToPath(new URL('./models.py', import.meta.url));
  const run = await runPython(python, [script, dir, String(seed)], { timeoutMs: 300_000 });
  if (run.status !== 0) throw new Error(`${script} ${describeExit(run)}:\n${run.stderr.join('\n')}`);
  return JSON.parse(run.stdout) as Manifest;
}

export interface SkippableContext {
  skip(note?: string): never;
}

/** Skips the test and names the reason where there is no Python. Under CI that is a failure. */
export function requirePython(context: SkippableContext): Promise<BasePython> {
  return orSkip(context, () => findPython(10));
}

/** The Python with scikit-learn and skl2onnx; skips like {@link requirePython}. */
export function requireModelsPython(context: SkippableContext): Promise<string> {
  return orSkip(context, () => ensurePython('models', { onProgress: () => {} }));
}

/** The Python with aiohttp; skips like {@link requirePython}. */
export function requireAiohttpPython(context: SkippableContext): Promise<string> {
  return orSkip(context, () => ensurePython('aiohttp', { onProgress: () => {} }));
}

/** The Python with FastAPI and pika, for the seed's services; skips like {@link requirePython}. */
export function requireSeedPython(context: SkippableContext): Promise<string> {
  return orSkip(context, () => ensurePython('seed', { onProgress: () => {} }));
}

export async function orSkip<T>(context: SkippableContext, find: () => Promise<T>): Promise<T> {
  try {
    return await find();
  } catch (error) {
    const code = errorCodeOf(error);
    // Without a network the packages cannot be had; that is no fault of the code under test either.
    const excusable = code === 'PythonNotFound' || code === 'PythonEnvironmentFailed';
    if (!excusable || process.env.CI) throw error;
    return context.skip(messageOf(error));
  }
}
