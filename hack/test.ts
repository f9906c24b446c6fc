/**
 * Everything that `npm test` runs: the static checks, then the tests. Arguments go to vitest, and then it alone runs:
 * `npm test -- operator/plan`. Ends with the line `N passed, N failed, N skipped`.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const filters = process.argv.slice(2);
// The tests on a whole cluster are there only for who asks for them.
const asksForCluster = filters.includes('--project=e2e');
/** In CI a part of them comes last: a node changes settings of the kernel, and takes processors, that other tests count on. */
const endsWithCluster = filters.length === 0 && process.env['CI'] === 'true';

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const checks: ReadonlyArray<{ name: string; script: string; args: string[] }> = [
  { name: 'types', script: 'node_modules/typescript/bin/tsc', args: ['-p', '.'] },
  {
    name: 'format and lint',
    script: 'node_modules/@biomejs/biome/bin/biome',
    args: ['check', '--diagnostic-level=error', '.'],
  },
  { name: 'unused code', script: 'node_modules/knip/bin/knip.js', args: ['--no-progress'] },
  { name: 'generated files are up to date', script: 'hack/generate.ts', args: ['--check'] },
];

// Thousands of processes are started, of the same few programs.
process.env['NODE_COMPILE_CACHE'] ??= join(homedir(), '.cache/levada/compiled');

/** Runs a script on this Node; resolves with its exit code. */
function run(script: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [script, ...args], {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, ...env },
    });
    child.on('error', (error) => {
      console.error(`${script} could not be started: ${error.message}`);
      resolve(1);
    });
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

async function runChecks(): Promise<Counts> {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { name, script, args } of checks) {
    const code = await run(script, args);
    console.log(`${code === 0 ? ' ✓' : ' ✗'} ${name}`);
    counts[code === 0 ? 'passed' : 'failed']++;
  }
  return counts;
}

interface VitestReport {
  numPassedTests: number;
  numFailedTests: number;
  numFailedTestSuites: number;
  numPendingTests: number;
  numTodoTests: number;
}

/** @param e2e which of the tests on a whole cluster: `all`, `smoke`; absent: none */
async function runVitest(args: readonly string[], e2e?: string): Promise<Counts> {
  const folder = await mkdtemp(join(tmpdir(), 'levada-test-'));
  const file = join(folder, 'report.json');
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
    const code = await run('node_modules/vitest/vitest.mjs', ['run', ...reporters, ...args], {
      LEVADA_E2E: e2e,
    });
    const report = JSON.parse(await readFile(file, 'utf8')) as VitestReport;
    const failed = report.numFailedTests;
    // A file that cannot be loaded has no tests to fail, and an unhandled error belongs to none.
    const silent = failed === 0 && code !== 0 ? 1 : 0;
    return {
      passed: report.numPassedTests,
      failed: failed + silent,
      skipped: report.numPendingTests + report.numTodoTests,
    };
  } catch (error) {
    console.error(`vitest left no report: ${String(error)}`);
    return { passed: 0, failed: 1, skipped: 0 };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const none = { passed: 0, failed: 0, skipped: 0 };
const parts = [
  filters.length === 0 ? await runChecks() : none,
  await runVitest(filters, asksForCluster ? 'all' : undefined),
  endsWithCluster ? await runVitest(['--project=e2e'], 'smoke') : none,
];
const total = (key: keyof Counts) => parts.reduce((sum, part) => sum + part[key], 0);
console.log(`${total('passed')} passed, ${total('failed')} failed, ${total('skipped')} skipped`);
process.exitCode = total('failed') > 0 || total('passed') === 0 ? 1 : 0;
