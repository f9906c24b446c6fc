// Makes the models in test/fixtures/models again, and checks them: node hack/make-fixtures.ts
import { fileURLToPath } from 'node:url';
import { messageOf } from '../api/errors.ts';
import { describeExit, ensurePython, runPython } from '../cli/python.ts';

const pathOf = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const onProgress = (line: string) => console.log(line);

try {
  const python = await ensurePython('models', { onProgress });
  const args = [pathOf('./python/make_fixtures.py'), pathOf('../test/fixtures/models')];
  const run = await runPython(python, args, { onStdoutLine: onProgress, timeoutMs: 120_000 });
  if (run.status !== 0) throw new Error(`make_fixtures.py ${describeExit(run)}:\n${run.stderr.join('\n')}`);
} catch (error) {
  console.error(messageOf(error));
  process.exitCode = 1;
}
