import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { root } from './context.ts';

const folder = fileURLToPath(new URL('results/', import.meta.url));

function git(...args: string[]): string | undefined {
  try {
    return execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined;
  }
}

/** `dirty`: the tree held changes that the commit does not have, so the commit alone does not repeat the run. */
export function commit(): { commit: string | null; dirty: boolean } {
  const changes = git('status', '--porcelain', '--', '.', ':!test/bench/results');
  return { commit: git('rev-parse', '--verify', 'HEAD') ?? null, dirty: changes !== '' };
}

export function machine(): object {
  const version = (name: string) =>
    JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')).version as string;
  return {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    packages: Object.fromEntries(['amqplib', 'fastify', 'onnxruntime-node'].map((name) => [name, version(name)])),
    loadAverageBefore: loadavg()[0],
  };
}

/** Returns the file's path from the project's root. */
export function store(name: string, date: Date, content: object): string {
  mkdirSync(folder, { recursive: true });
  const stamp = date.toISOString().replaceAll(':', '').replace(/\..*/, 'Z');
  writeFileSync(join(folder, `${name}-${stamp}.json`), `${JSON.stringify(content, null, 1)}\n`);
  return `test/bench/results/${name}-${stamp}.json`;
}
