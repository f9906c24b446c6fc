/** What a node leaves on its machine, written down while it starts: so that only that is ended and removed. */
import { type ChildProcess, execFile } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { cgroup } from './components.ts';

const run = promisify(execFile);
const hierarchies = '/sys/fs/cgroup';

export interface Remains {
  /** Of the first process in the node's namespaces. */
  readonly pid: number;
  /** When that was started, in ticks since the machine's own start: another process of that number differs. */
  readonly started: string;
  readonly boot: string;
  /** The interface that leads to the node. */
  readonly link: string;
  /** Settings of the whole kernel that kubelet changes, as they were before. */
  readonly sysctls: Readonly<Record<string, string>>;
}

/** kubelet/pkg/cm: what it sets so that a node without memory does not hang. */
const sysctls = [
  'vm/overcommit_memory',
  'vm/panic_on_oom',
  'kernel/panic',
  'kernel/panic_on_oops',
  'kernel/keys/root_maxkeys',
  'kernel/keys/root_maxbytes',
];

/** @param child of `unshare --fork`: its child is the first process; it is that as soon as it runs `program` */
export async function remainsOf(child: ChildProcess, program: string, link: string): Promise<Remains> {
  const before = await Promise.all(
    sysctls.map(async (name) => [name, (await readFile(`/proc/sys/${name}`, 'utf8')).trim()] as const),
  );
  let failed: Error | undefined;
  child.on('error', (error) => {
    failed = error;
  });
  const deadline = performance.now() + 30_000;
  while (failed === undefined && child.exitCode === null && performance.now() < deadline) {
    const pid = children(child.pid ?? 0).find((one) => commandOf(one)[0] === program);
    const started = pid && startOf(pid);
    if (pid && started) return { pid, started, boot: boot(), link, sysctls: Object.fromEntries(before) };
    await pause(20);
  }
  child.kill('SIGKILL');
  throw new Error(`the node's namespaces could not be made: ${failed?.message ?? 'see its log'}`);
}

const allPids = (): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);

const children = (pid: number): number[] => allPids().filter((one) => statOf(one)?.[1] === String(pid));

/** What runs a program in the node's namespaces, and how it was started; `undefined`: nothing does. */
export function processOf({ pid }: Remains, program: string): { pid: number; args: string[] } | undefined {
  const found = allPids().find((one) => commandOf(one)[0] === program && namespaceOf(one) === namespaceOf(pid));
  return found === undefined ? undefined : { pid: found, args: commandOf(found).slice(1) };
}

function namespaceOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined; // it has ended
  }
}

/** Fields of /proc/PID/stat behind the name: state, parent … */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined; // it has ended
  }
}

/** Program and arguments; none: it has ended. */
function commandOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}

const startOf = (pid: number): string | undefined => {
  const fields = statOf(pid);
  return fields?.[0] === 'Z' ? undefined : fields?.[19];
};

const boot = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

export const isRunning = ({ pid, started, boot: its }: Remains): boolean => its === boot() && startOf(pid) === started;

/** Ends the node, and puts back what it has changed outside of its namespaces. */
export async function removeRemains(remains: Remains): Promise<void> {
  if (remains.boot !== boot()) return; // the machine has been started anew: nothing is left
  if (isRunning(remains)) process.kill(remains.pid, 'SIGKILL'); // and the kernel ends all others with it
  while (isRunning(remains)) await pause(20);
  await run('ip', ['link', 'delete', remains.link]).catch(() => {}); // it may have gone with the namespace
  await removeCgroups();
  for (const [name, value] of Object.entries(remains.sysctls)) await writeFile(`/proc/sys/${name}`, value);
}

/** Folders of cgroups: of each hierarchy (version 1), or the one (version 2). */
async function cgroupFolders(): Promise<string[]> {
  const entries = await readdir(hierarchies, { withFileTypes: true });
  if (entries.some(({ name }) => name === 'cgroup.controllers')) return [join(hierarchies, cgroup)];
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(hierarchies, name, cgroup));
}

/** kubelet wants its root to be there. */
export async function makeCgroups(): Promise<void> {
  for (const folder of await cgroupFolders()) await mkdir(folder, { recursive: true });
}

async function removeCgroups(): Promise<void> {
  for (const folder of await cgroupFolders()) {
    const deadline = performance.now() + 30_000;
    // Busy until the kernel has done with what was killed.
    while (!(await removeCgroup(folder)) && performance.now() < deadline) await pause(50);
  }
}

async function removeCgroup(folder: string): Promise<boolean> {
  try {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      if (entry.isDirectory()) await removeCgroup(join(folder, entry.name));
    }
    await rmdir(folder);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

/** A name and two addresses that nobody uses here. */
export async function freeLink(): Promise<{ name: string; here: string; there: string }> {
  const taken = networkInterfaces();
  const addresses = Object.values(taken).flatMap((all) => (all ?? []).map(({ address }) => address));
  for (let number = 0; number < 256; number++) {
    const name = `levada${number}`;
    const [here, there] = [`10.245.${number}.1`, `10.245.${number}.2`];
    const { stdout } = await run('ip', ['-o', 'link', 'show']);
    if (!addresses.includes(here) && !new RegExp(`: ${name}[@:]`).test(stdout)) return { name, here, there };
  }
  throw new Error('no address is free in 10.245.0.0/16');
}
