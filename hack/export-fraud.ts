// Trains the shop example's fraud model again: node hack/export-fraud.ts [--output DIR]
// Without arguments it rewrites the committed files in examples/shop. DIR is a folder with a shop.yaml.
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { messageOf } from '../api/errors.ts';
import { describeExit, ensurePython, runPython } from '../cli/python.ts';

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { output: { type: 'string' } } });
  const example = fileURLToPath(new URL('../examples/shop', import.meta.url));
  const onProgress = (line: string) => console.log(line);
  const python = await ensurePython('models', { onProgress });
  const script = fileURLToPath(new URL('./python/export_fraud.py', import.meta.url));
  const args = [script, '--output', values.output ?? example];
  const run = await runPython(python, args, { onStdoutLine: onProgress, timeoutMs: 300_000 });
  if (run.status !== 0) throw new Error(`export_fraud.py ${describeExit(run)}:\n${run.stderr.join('\n')}`);
}

main().catch((error: unknown) => {
  console.error(messageOf(error));
  process.exitCode = 1;
});
