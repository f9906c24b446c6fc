import { readdirSync, readFileSync } from 'node:fs';

/** USER_HZ: the unit of times in /proc, the same on every Linux that Node runs on. */
const tickMicros = 10_000;

/** A process and everything that descends from it. */
function tree(pid: number): number[] {
  const pids = [pid];
  for (const parent of pids) {
    try {
      for (const task of readdirSync(`/proc/${parent}/task`)) {
        const children = readFileSync(`/proc/${parent}/task/${task}/children`, 'utf8').trim();
        if (children !== '') pids.push(...children.split(' ').map(Number));
      }
    } catch {
      // It has just ended.
    }
  }
  return pids;
}

export interface Usage {
  cpuMicros: number;
  rssBytes: number;
}

/** CPU time (user and system, all threads) and resident memory, summed over a process's tree. */
export function usage(pid: number): Usage {
  const total = { cpuMicros: 0, rssBytes: 0 };
  for (const member of tree(pid)) {
    try {
      const stat = readFileSync(`/proc/${member}/stat`, 'utf8');
      // The command in parentheses may hold spaces; what follows it starts with field 3.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      total.cpuMicros += (Number(fields[11]) + Number(fields[12])) * tickMicros;
      const status = readFileSync(`/proc/${member}/status`, 'utf8');
      total.rssBytes += Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
    } catch {
      // It has just ended.
    }
  }
  return total;
}

export interface CoreTimes {
  /** User, nice and system time: work of processes. Interrupts are apart because they belong to no process. */
  processMicros: number;
  idleMicros: number;
  stealMicros: number;
  totalMicros: number;
}

export function coreTimes(core: number): CoreTimes {
  const line = readFileSync('/proc/stat', 'utf8')
    .split('\n')
    .find((text) => text.startsWith(`cpu${core} `));
  if (line === undefined) throw new Error(`/proc/stat has no core ${core}`);
  const ticks = line.split(/\s+/).slice(1, 9).map(Number);
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, , , steal = 0] = ticks;
  return {
    processMicros: (user + nice + system) * tickMicros,
    idleMicros: (idle + iowait) * tickMicros,
    stealMicros: steal * tickMicros,
    totalMicros: ticks.reduce((sum, tick) => sum + tick, 0) * tickMicros,
  };
}
