import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** Why tests that look at other processes cannot run here; `undefined` where they can. */
export const noProcesses = existsSync('/proc/self/stat') ? undefined : 'no /proc: processes cannot be looked at';

export interface ProcessInfo {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

/** Every process that has not ended; what has ended and waits to be reaped is left out. */
export function processes(): ProcessInfo[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      // The second field is the name, in parentheses, and may hold anything.
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (state === 'Z' || state === 'X') return [];
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      return [{ pid: Number(name), parent: Number(parent), command }];
    } catch {
      return []; // it has ended meanwhile
    }
  });
}

/** Model servers whose configuration is in the folder: those of one `levada up`, also after it has gone. */
export const modelServers = (folder: string, unit = ''): ProcessInfo[] =>
  processes().filter(({ command }) => command.includes(`--config ${folder}`) && command.includes(`/${unit}`));

/** Model servers of a pod of a node that this machine is, by the pod's uid. */
export const podModelServers = (uid: string): ProcessInfo[] =>
  processes().filter(({ pid, command }) => {
    if (!command.includes('runtime/main.ts')) return false;
    try {
      return readFileSync(`/proc/${pid}/cgroup`, 'utf8').replaceAll('_', '-').includes(uid);
    } catch {
      return false; // it has ended meanwhile
    }
  });

export const isRunning = (pid: number): boolean => processes().some((entry) => entry.pid === pid);
