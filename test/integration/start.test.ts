import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

/** Runs in the repository's own folder, as a newcomer does: these fail while `npm start` runs there. */
const start = (path = process.env['PATH']) =>
  spawnSync(process.execPath, ['hack/start.ts', '--once'], {
    encoding: 'utf8',
    timeout: 100_000,
    env: { ...process.env, PATH: path },
  });

const journey = [
  /^ {2}POST http:\/\/127\.0\.0\.1:\d+\/orders\/ {2}\{"items":\["itemA","itemB"\]/m,
  /^ {2}200 {2}\{"message":"Order created successfully, processing in background\.","order_id":"[0-9a-f-]{36}"\}/m,
  /^ {2}inventory +order\.created → stock\.reserved +\d+ ms/m,
  /^ {2}shipping +stock\.reserved → shipment\.booked +\d+ ms/m,
  /^ {2}score +order\.created → order\.scored +\d+ ms .*"fraud":0\.009/m,
  /^ {2}enrich +order\.scored → order\.enriched +\d+ ms/m,
  /^ {2}flag +order\.scored → skipped/m,
  /^The fraud score is scikit-learn's\. The order's journey ended [0-9.]+ s after the start\.$/m,
  /^ {2}npx levada dlq orders ls/m,
];

test('npm start -- --once shows the journey of one order and ends', () => {
  const { stdout, stderr, status } = start();
  for (const line of journey) expect(stdout, stderr).toMatch(line);
  expect(status).toBe(0);
});

test('without Python and Java it takes the Node twins, and says so', () => {
  const folder = mkdtempSync(join(tmpdir(), 'levada-path-'));
  try {
    symlinkSync(process.execPath, join(folder, 'node'));
    const { stdout, stderr, status } = start(folder);
    for (const line of journey) expect(stdout, stderr).toMatch(line);
    expect(stdout).toMatch(/inventory.*python3.*node/);
    expect(stdout).toMatch(/orders-shipping.*java.*node/);
    expect(status).toBe(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
