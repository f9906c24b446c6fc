import { access, constants, stat } from 'node:fs/promises';
import { delimiter, resolve } from 'node:path';
import type { LocalCommand, LocalService } from '../../source/local.ts';

/** A command that can be started. */
export interface FoundCommand {
  /** Absolute path. */
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Set when it is the fallback: why the command cannot be started. */
  readonly insteadOf?: string;
}

/**
 * What programs need to find themselves, their files and their language. Nothing else of our environment is passed on:
 * it may hold passwords that a service has no business with.
 */
const inherited = /^(PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|TMP|TEMP|JAVA_HOME|XDG_[A-Z_]+)$/;

/** The environment of a service: a few variables of `from`, then its own, then `PORT`. */
export function environmentOf(
  own: Readonly<Record<string, string>>,
  port: number,
  from: NodeJS.ProcessEnv,
): Record<string, string> {
  const kept = Object.entries(from).filter(
    (entry): entry is [string, string] => inherited.test(entry[0]) && entry[1] !== undefined,
  );
  return { ...Object.fromEntries(kept), ...own, PORT: String(port) };
}

/** The command of a service, or its fallback; a text says why neither can be started. */
export async function findCommand(
  service: LocalService,
  environment: NodeJS.ProcessEnv,
): Promise<FoundCommand | string> {
  const found = await locate(service, environment);
  if (typeof found !== 'string' || !service.fallback) return found;
  const other = await locate(service.fallback, environment);
  if (typeof other === 'string') return `${found}; fallback: ${other}`;
  return { ...other, insteadOf: found };
}

async function locate(
  { command: [program = '', ...args], cwd, env }: LocalCommand,
  environment: NodeJS.ProcessEnv,
): Promise<FoundCommand | string> {
  if (!(await isFolder(cwd))) return `the folder ${cwd} is not there`;
  if (program === 'node') return { file: process.execPath, args, cwd, env };
  const isPath = program.includes('/');
  const folders = isPath ? [''] : (env['PATH'] ?? environment['PATH'] ?? '').split(delimiter);
  for (const folder of folders) {
    const file = resolve(cwd, folder, program);
    if (await isProgram(file)) return { file, args, cwd, env };
  }
  return isPath ? `${resolve(cwd, program)} is not a program` : `${program} is not installed (not found in PATH)`;
}

const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
