/**
 * Adds to package-lock.json the optional packages of other platforms that the registry in use does not have. Without
 * them `npm ci` refuses the lock file ("Missing … from lock file"). Run after every change of dependencies:
 *
 *     npm install && node hack/complete-lock.ts
 *
 * The added entries have no integrity, since nobody here has seen the packages; where the registry has them, `npm
 * install` fills it in.
 */
import { readFile, writeFile } from 'node:fs/promises';

interface Entry {
  version?: string;
  optional?: boolean;
  dev?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  optionalDependencies?: Record<string, string>;
}

const path = new URL('../package-lock.json', import.meta.url);
const lock = JSON.parse(await readFile(path, 'utf8')) as { packages: Record<string, Entry> };
const known = {
  os: ['darwin', 'linux', 'win32', 'android', 'freebsd', 'openharmony', 'aix', 'sunos'],
  cpu: ['arm64', 'x64', 'arm', 'ia32', 'ppc64', 'riscv64', 's390x', 'loong64', 'wasm32'],
};

let added = 0;
for (const entry of Object.values(lock.packages)) {
  for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`;
    if (lock.packages[key] || !/^\d/.test(range)) continue;
    const words = name.split(/[/-]/);
    const os = known.os.filter((word) => words.includes(word));
    const cpu = known.cpu.filter((word) => words.includes(word));
    const libc = words.includes('musl')
      ? ['musl']
      : os.includes('linux') && words.includes('gnu')
        ? ['glibc']
        : undefined;
    if (os.length === 0 && cpu.length === 0) throw new Error(`${name}: its platform cannot be told by its name`);
    lock.packages[key] = {
      version: range,
      ...(cpu.length > 0 && { cpu }),
      ...(entry.dev && { dev: true }),
      ...(libc && { libc }),
      optional: true,
      ...(os.length > 0 && { os }),
    };
    added++;
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).toSorted(([a], [b]) => (a < b ? -1 : 1)));
await writeFile(path, `${JSON.stringify(lock, null, 2)}\n`);
console.log(`${added} packages of other platforms added to package-lock.json`);
