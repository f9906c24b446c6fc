import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LevadaError, messageOf } from '../../api/errors.ts';

export const stateFolder = '.levada';
const runFile = join(stateFolder, 'run.json');

/** How other commands find a local run. Mode 0600: the token lets them ask it. */
export interface Run {
  /** `undefined` when it has ended; the ports are remembered all the same. */
  readonly pid?: number;
  readonly admin?: { readonly url: string; readonly token: string };
  /** By `namespace/service`. */
  readonly ports: Readonly<Record<string, number>>;
}

/** What an earlier or present run has left in a folder. A file that cannot be read is as good as none. */
export async function readRun(folder = '.'): Promise<Run> {
  try {
    const run = JSON.parse(await readFile(join(folder, runFile), 'utf8')) as Run;
    return { ...run, ports: run.ports ?? {} };
  } catch {
    return { ports: {} };
  }
}

let writing: Promise<unknown> = Promise.resolve();

/**
 * Writes run after run, in the order of the calls.
 *
 * @throws LevadaError FileNotFound when the folder cannot be written
 */
export function writeRun(run: Run): Promise<void> {
  const written = writing.then(() => write(run));
  writing = written.catch(() => {});
  return written;
}

async function write(run: Run): Promise<void> {
  try {
    await mkdir(stateFolder, { recursive: true, mode: 0o700 });
    const next = `${runFile}.${process.pid}.tmp`;
    await writeFile(next, `${JSON.stringify(run, null, 2)}\n`, { mode: 0o600 });
    await rename(next, runFile);
  } catch (error) {
    throw new LevadaError('FileNotFound', { path: runFile, detail: messageOf(error) }, { cause: error });
  }
}

/** Whether a process of that id is there. */
export function isAlive(pid: number | undefined): boolean {
  if (pid === undefined) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
