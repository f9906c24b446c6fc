import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './up.ts';

/** Scripts for Argo CD, run by Lua 5.1, as its own, and with no more of its libraries than Argo CD gives them. */
const hasLua = spawnSync('lua5.1', ['-v']).error === undefined;
/** Why they cannot be run here; `undefined` where they can. */
export const noLua = hasLua ? undefined : 'lua5.1 is not in PATH: the package lua5.1 of Debian brings it';
if (noLua && process.env['CI'] === 'true') throw new Error(noLua);

/** As Lua writes it: JSON's text is a superset of its strings only without escapes of Unicode. */
function literal(value: unknown): string {
  if (Array.isArray(value)) return `{${value.map(literal).join(',')}}`;
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, member]) => member !== undefined);
    return `{${entries.map(([name, member]) => `[${literal(name)}]=${literal(member)}`).join(',')}}`;
  }
  if (typeof value === 'string')
    return `"${[...Buffer.from(value)].map((byte) => `\\${String(byte).padStart(3, '0')}`).join('')}"`;
  return String(value);
}

/**
 * What a script of charts/argocd returns for `obj`: for each path (`metadata.name`) the text of what is there, `nil` where
 * there is nothing.
 */
export function runLua(script: string, obj: object, paths: readonly string[]): string[] {
  const text = readFileSync(join(root, 'charts/argocd', script), 'utf8');
  const reads = paths.map((path) => {
    const keys = path.split(' ').map((key) => `at(${literal(key)})`);
    return `local value = found\nlocal function at(key) value = value and value[key] end\n${keys.join(' ')}\nwrite(tostring(value), "\\0")`;
  });
  const run = [
    'local write = io.write',
    'string, math, io, os, debug, coroutine = nil',
    `local obj = ${literal(obj)}`,
    `local function script()\n${text}\nend`,
    'local found = script()',
    ...reads.map((read) => `do ${read} end`),
  ].join('\n');
  return execFileSync('lua5.1', ['-'], { input: run, encoding: 'utf8', stdio: 'pipe' }).split('\0').slice(0, -1);
}
