import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

const watchdog = new URL('./watchdog.ts', import.meta.url).href;

function run(then: string) {
  const code = `const { watchEventLoop } = await import('${watchdog}'); const stop = watchEventLoop(300); ${then}`;
  const { status, signal, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    encoding: 'utf8',
    timeout: 60_000,
    killSignal: 'SIGABRT',
  });
  return { status, signal, stderr };
}

test('an event loop that stands still ends the process, and it says why', () => {
  expect(run('setTimeout(() => { for (;;); }, 50)')).toEqual({
    status: null,
    signal: 'SIGKILL',
    stderr: 'the process ends: its event loop has stood still for 1.3 s\n',
  });
});

test('a busy one does not, and the watch keeps no process alive', () => {
  const busy = `const end = performance.now() + 2500;
    const work = () => { const until = performance.now() + 100; while (performance.now() < until);
      if (performance.now() < end) setImmediate(work); };
    work();`;
  expect(run(busy)).toEqual({ status: 0, signal: null, stderr: '' });
});

test('one that is watched no more may stand still', () => {
  const still = 'stop(); const end = performance.now() + 2000; while (performance.now() < end);';
  expect(run(still)).toEqual({ status: 0, signal: null, stderr: '' });
});
