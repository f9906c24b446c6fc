import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';
import type { FoundCommand } from './command.ts';
import { eachLine } from './lines.ts';

/** How long output may still come after the process has gone. */
const lastOutputMs = 1_000;

export interface GroupEvents {
  line(text: string): void;
}

/** A command with everything that it starts: a process group of its own, which ends as one. */
export class ProcessGroup {
  readonly #child: ChildProcess;
  readonly #guard: ChildProcess | undefined;
  #gone = false;
  #stopping = false;
  /** Whether no process of the group is left. */
  #reaped = false;
  #lastError = { text: '', at: 0 };
  /** How it ended, when the command and its output have. Never rejects. */
  readonly exited: Promise<string>;

  /** @throws when an argument cannot be passed to a process at all */
  constructor({ file, args, cwd }: FoundCommand, env: Readonly<Record<string, string>>, events: GroupEvents) {
    this.#child = spawn(file, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const { pid, stdout, stderr } = this.#child;
    if (pid !== undefined) this.#guard = guard(pid);
    if (stdout) eachLine(stdout, events.line);
    if (stderr) {
      eachLine(stderr, (text) => {
        if (text.trim()) this.#lastError = { text: text.trim().slice(0, 200), at: performance.now() };
        events.line(text);
      });
    }
    this.exited = new Promise((resolve) => {
      const end = (detail: string) => {
        this.#gone = true;
        this.#guard?.kill('SIGKILL');
        const { text, at } = this.#lastError;
        const isRecent = text !== '' && performance.now() - at < 2 * lastOutputMs;
        resolve(isRecent ? `${detail}: ${text}` : detail);
      };
      this.#child.on('error', (error) => {
        if (pid === undefined) end(`it could not be started: ${error.message}`);
      });
      this.#child.on('exit', (code, signal) => {
        const detail = signal ?? `exit code ${code}`;
        const timer = setTimeout(() => end(detail), lastOutputMs);
        this.#child.on('close', () => {
          clearTimeout(timer);
          end(detail);
        });
        // What the command has left behind would hold the port and the output.
        if (!this.#stopping) this.#signal('SIGKILL');
      });
    });
  }

  get pid(): number | undefined {
    return this.#gone ? undefined : this.#child.pid;
  }

  /** Asks all of it to end, and ends it after `killAfterMs`. Resolves when all of it is gone. */
  async stop(killAfterMs: number): Promise<void> {
    this.#stopping = true;
    const deadline = performance.now() + killAfterMs;
    if (!this.#gone) this.#signal('SIGTERM');
    while (this.#signal(0) && performance.now() < deadline) await pause(20);
    this.#signal('SIGKILL');
    await this.exited;
  }

  /** Ends all of it at once. */
  kill(): void {
    this.#stopping = true;
    this.#signal('SIGKILL');
    this.#guard?.kill('SIGKILL');
  }

  /** Whether a process of the group was there to get it. */
  #signal(signal: NodeJS.Signals | 0): boolean {
    const { pid } = this.#child;
    if (pid === undefined || this.#reaped) return false;
    try {
      process.kill(-pid, signal);
      return true;
    } catch {
      this.#reaped = true; // the number may belong to somebody else from now on
      return false;
    }
  }
}

/**
 * A shell that ends the group should this process end without doing so: it waits on a pipe that only this process holds
 * open. Services hold ports; none may outlive `levada up`.
 */
function guard(pid: number): ChildProcess {
  const script = 'read -r _; kill -s TERM -- "-$1" && sleep 5 && kill -s KILL -- "-$1"';
  const shell = spawn('/bin/sh', ['-c', script, 'levada-guard', String(pid)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    env: { PATH: '/usr/bin:/bin' },
  });
  const ignored = () => {
    // Without a shell the group is ended on every orderly way out only.
  };
  shell.on('error', ignored);
  shell.stdin?.on('error', ignored);
  return shell;
}
