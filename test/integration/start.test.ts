import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

/** Runs in the repository's own folder, as a newcomer does: it fails while `npm start` runs there. */
test('npm start -- --once classifies a flower and ends', () => {
  const { stdout, stderr, status } = spawnSync(process.execPath, ['hack/start.ts', '--once'], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  expect(stdout, stderr).toMatch(/^ {2}200 {2}\{"prediction":2,"class_name":"virginica"\}/m);
  expect(stdout).toMatch(/^First right prediction [0-9.]+ s after the start\.$/m);
  expect(status).toBe(0);
});
