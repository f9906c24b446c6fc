/** How a layer's folder is filled. */
import { execFile } from 'node:child_process';
import { copyFile, link, mkdir, readdir, realpath, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** One file: a link where that is possible, as nobody writes to either. */
export async function place(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await link(from, to).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EXDEV') throw error;
    return copyFile(from, to);
  });
}

/** The files of a folder. @param isWanted by the path within it; a folder that is not wanted is not looked into */
export async function placeFolder(from: string, to: string, isWanted: (path: string) => boolean): Promise<void> {
  const visit = async (path: string): Promise<void> => {
    for (const entry of await readdir(join(from, path), { withFileTypes: true })) {
      const inside = path === '' ? entry.name : `${path}/${entry.name}`;
      if (!isWanted(inside)) continue;
      if (entry.isDirectory()) await visit(inside);
      else await place(join(from, inside), join(to, inside));
    }
  };
  await visit('');
}

/** A root for programs: they, the libraries that the dynamic linker finds for them, and what names need. */
export async function placeRoot(
  root: string,
  programs: Readonly<Record<string, string>>,
  others: readonly string[] = [],
): Promise<void> {
  for (const [to, from] of Object.entries(programs)) await place(from, join(root, to));
  const libraries = new Set<string>();
  for (const file of [...Object.values(programs), ...others]) {
    for (const library of await librariesOf(file)) libraries.add(library);
  }
  // By the names that are asked for; whether they are links is a matter of this machine.
  for (const library of libraries) await place(await realpath(library), join(root, library));
  await mkdir(join(root, 'etc'), { recursive: true });
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0::/:\nlevada:x:65532:65532::/tmp:\n');
  await writeFile(join(root, 'etc/group'), 'root:x:0:\nlevada:x:65532:\n');
  await writeFile(join(root, 'etc/nsswitch.conf'), 'hosts: files dns\n');
}

/** Paths of the system's libraries that a program or library needs; what it brings along lies beside it. */
async function librariesOf(file: string): Promise<string[]> {
  const { stdout } = await run('ldd', [file]);
  const missing = /^\s*(\S+) => not found/m.exec(stdout)?.[1];
  if (missing !== undefined) throw new Error(`${file} needs ${missing}, which is not on this machine`);
  return [...stdout.matchAll(/(?:=> |^\s+)(\/lib\S*|\/usr\/lib\S*) \(/gm)].map(([, path = '']) => path);
}
