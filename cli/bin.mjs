#!/usr/bin/env node
// `npx levada`: runs the CLI on the project's own Node where the system's is too old to run TypeScript.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('./main.ts', import.meta.url));
const own = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url));
const node = existsSync(own) ? own : process.execPath;
if (Number(process.versions.node.split('.')[0]) >= 24) {
  await import(main);
} else {
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' });
  // Ctrl-C reaches both; the child decides when it ends.
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => signal === 'SIGTERM' && child.kill(signal));
  child.on('error', (error) => {
    console.error(`${node} could not be started: ${error.message}. Run npm ci in the project's folder first.`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
}
