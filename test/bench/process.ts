import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const compileCache = join(tmpdir(), 'levada-bench-compile-cache');

/** Core 0 is the server's, core 1 the load generator's. */
export const serverCore = 0;
export const loadCore = 1;

export interface Launch {
  command: string;
  args: string[];
  env?: Record<string, string>;
}

export interface StartedProcess {
  pid: number;
  /** The end of what it printed, for error messages. */
  log(): string;
  exited(): boolean;
  stop(): Promise<void>;
}

const running = new Set<ChildProcess>();

/** Kills what this run started and has not stopped. For the ways out that skip `finally`. */
export function killAll(): void {
  for (const child of running) child.kill('SIGKILL');
}

/** Has {@link killAll} know of a process that was started elsewhere. */
export function track(child: ChildProcess): void {
  running.add(child);
  child.once('exit', () => running.delete(child));
}

/** Output goes to a file: a pipe would make this process work for every line that a server logs. */
export function start(launch: Launch, options: { logPath: string; core?: number }): StartedProcess {
  const { command, args } = pinned(launch, options.core);
  const output = openSync(options.logPath, 'w');
  const { NODE_OPTIONS: _, ...inherited } = process.env;
  const child = spawn(command, args, {
    stdio: ['ignore', output, output],
    // All Node servers keep compiled code, as Python does and as `levada up` tells its processes to.
    env: { ...inherited, NODE_ENV: 'production', NODE_COMPILE_CACHE: compileCache, ...launch.env },
  });
  closeSync(output);
  running.add(child);
  let ended = false;
  const exit = new Promise<void>((resolve) => {
    const end = () => {
      ended = true;
      running.delete(child);
      resolve();
    };
    child.once('exit', end);
    child.once('error', end);
  });
  if (child.pid === undefined) throw new Error(`cannot start ${launch.command}`);
  return {
    pid: child.pid,
    log: () => readFileSync(options.logPath, 'utf8').slice(-2000),
    exited: () => ended,
    stop: async () => {
      child.kill('SIGTERM');
      await Promise.race([exit, sleep(5000, undefined, { ref: false })]);
      if (!ended) child.kill('SIGKILL');
      await exit;
    },
  };
}

/** `taskset` replaces itself by the command, so the pid is the command's. */
export function pinned(launch: Launch, core: number | undefined): Launch {
  if (core === undefined) return launch;
  return { ...launch, command: 'taskset', args: ['-c', String(core), launch.command, ...launch.args] };
}

export interface ClientRun {
  core: number;
  timeoutMs: number;
  /** Of stdout, as they come. */
  onLine?(line: string, pid: number): void;
}

/** Runs a client to its end, on its core. @returns what it printed */
export async function runToEnd(launch: Launch, { core, timeoutMs, onLine }: ClientRun): Promise<string> {
  const { command, args } = pinned(launch, core);
  const { NODE_OPTIONS: _, ...inherited } = process.env;
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...inherited, NODE_ENV: 'production', ...launch.env },
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  track(child);
  let output = '';
  let errors = '';
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    output += `${line}\n`;
    onLine?.(line, child.pid ?? 0);
  });
  child.stderr.on('data', (chunk) => (errors += chunk));
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (...end) => resolve(end));
  });
  if (code === 0) return output;
  const end = signal === null ? `ended with ${code}` : `was ended by ${signal} (after ${timeoutMs / 1000} s at most)`;
  throw new Error(`${args.join(' ')} ${end}:\n${(output + errors).slice(-2000)}`);
}

/** The same. @returns what it printed after RESULT */
export async function runClient(launch: Launch, run: ClientRun): Promise<unknown> {
  const output = await runToEnd(launch, run);
  const line = output.split('\n').find((text) => text.startsWith('RESULT '));
  if (line === undefined) throw new Error(`${launch.args.join(' ')} printed no result:\n${output.slice(-2000)}`);
  return JSON.parse(line.slice('RESULT '.length));
}

/** Waits until GET `url` answers 200. */
export async function ready(started: StartedProcess, url: string, timeoutMs = 60_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (performance.now() < deadline) {
    if (started.exited()) throw new Error(`the server ended before it was ready:\n${started.log()}`);
    const status = await fetch(url, { signal: AbortSignal.timeout(5000) }).then(
      async (response) => {
        await response.arrayBuffer();
        return response.status;
      },
      () => 0,
    );
    if (status === 200) return;
    await sleep(10);
  }
  throw new Error(`not ready after ${timeoutMs / 1000} s (${url}):\n${started.log()}`);
}
