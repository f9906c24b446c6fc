// Trains the iris example's models again: node hack/export-iris.ts [--output DIR] [--joblib DIR]
// Without arguments it rewrites the committed files in examples/iris.
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { messageOf } from '../api/errors.ts';
import { describeExit, ensurePython, runPython } from '../cli/python.ts';

export interface ExportIrisOptions {
  /** A folder with an iris.yaml: gets the ONNX models and the expected answers. */
  readonly output?: string | undefined;
  /** Gets v1.joblib and v2.joblib. */
  readonly joblib?: string | undefined;
  onProgress(line: string): void;
}

export async function exportIris(options: ExportIrisOptions): Promise<void> {
  const python = await ensurePython('models', options);
  const args = [fileURLToPath(new URL('./python/export_iris.py', import.meta.url))];
  if (options.output) args.push('--output', options.output);
  if (options.joblib) args.push('--joblib', options.joblib);
  const run = await runPython(python, args, { onStdoutLine: options.onProgress, timeoutMs: 300_000 });
  if (run.status !== 0) throw new Error(`export_iris.py ${describeExit(run)}:\n${run.stderr.join('\n')}`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { output: { type: 'string' }, joblib: { type: 'string' } } });
  const example = fileURLToPath(new URL('../examples/iris', import.meta.url));
  await exportIris({
    output: values.output ?? (values.joblib ? undefined : example),
    joblib: values.joblib,
    onProgress: (line) => console.log(line),
  });
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  main().catch((error: unknown) => {
    console.error(messageOf(error));
    process.exitCode = 1;
  });
}
