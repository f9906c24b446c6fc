import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, mkdir, readdir, readFile, rename } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

const sources = join(import.meta.dirname, '../../hack/crd-check');

export interface Finished {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, whatever its exit code. */
export function run(program: string, args: readonly string[], cwd = sources): Promise<Finished> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { cwd, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (error && typeof error.code !== 'number') reject(error);
      else resolve({ exitCode: Number(error?.code ?? 0), stdout, stderr });
    });
  });
}

/** Path of hack/crd-check as a program, built once for its sources; or the reason why this machine cannot build it. */
export async function crdCheck(): Promise<{ program: string } | { missing: string }> {
  const cache = join(process.env.LEVADA_CACHE_DIR || join(homedir(), '.cache/levada'), 'bin');
  const program = join(cache, `crd-check-${await sourceHash()}`);
  if (await exists(program)) return { program };
  const modules = await run('go', ['mod', 'download']).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (!modules) return { missing: 'go is not in PATH' };
  if (modules.exitCode !== 0) return { missing: `go mod download failed: ${modules.stderr.trim()}` };
  await mkdir(cache, { recursive: true });
  // Two that build at once do the work twice; the rename keeps either from running half a program.
  const unfinished = `${program}.${process.pid}.tmp`;
  const built = await run('go', ['build', '-buildvcs=false', '-trimpath', '-ldflags=-s -w', '-o', unfinished, '.']);
  if (built.exitCode !== 0) throw new Error(`go build in hack/crd-check failed:\n${built.stderr}`);
  await rename(unfinished, program);
  return { program };
}

async function sourceHash(): Promise<string> {
  const hash = createHash('sha256').update(`${process.platform} ${process.arch}`);
  for (const name of (await readdir(sources)).sort()) {
    if (/\.(go|mod|sum)$/.test(name)) hash.update(`\0${name}\0`).update(await readFile(join(sources, name)));
  }
  return hash.digest('hex').slice(0, 16);
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
