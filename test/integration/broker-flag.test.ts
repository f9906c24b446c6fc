import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { root } from '../support/up.ts';

it.for([
  ['amqp://user:top-secret@127.0.0.1', 'found a user or password; set LEVADA_BROKER_URL instead'],
  ['http://user:top-secret@127.0.0.1', 'it is no AMQP URI'],
] as const)('levada up --broker %s is refused without repeating it', ([url, why]) => {
  const args = [join(root, 'cli/main.ts'), 'up', 'examples/shop', '--broker', url];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
    timeout: 60_000,
  });
  expect(status).toBe(2);
  expect(stderr).toContain(why);
  expect(stdout + stderr).not.toContain('top-secret');
});
