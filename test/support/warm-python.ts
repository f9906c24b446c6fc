import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { PythonRun } from '../../cli/python.ts';

const server = fileURLToPath(new URL('./warm_python.py', import.meta.url));

/** A Python that has its modules already: dozens of short scripts then cost one import (warm_python.py). */
export class WarmPython {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  static async start(python: string, modules: readonly string[]): Promise<WarmPython> {
    const warm = new WarmPython(python, modules);
    const line = await warm.#line();
    if (line !== 'ready') throw new Error(`${server} said ${line}`);
    return warm;
  }

  private constructor(python: string, modules: readonly string[]) {
    const env = { ...process.env, PYTHONHASHSEED: '0', PYTHONNOUSERSITE: '1', PYTHONDONTWRITEBYTECODE: '1' };
    this.#child = spawn(python, [server, ...modules], { stdio: ['pipe', 'pipe', 'inherit'], env });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** One after the other. @param args the script, and its arguments */
  async run(args: readonly string[]): Promise<PythonRun> {
    this.#child.stdin.write(`${JSON.stringify(args)}\n`);
    const { stdout, stderr, ...end } = JSON.parse(await this.#line()) as PythonRun & { readonly stderr: unknown };
    const lines = (text: string) => text.split('\n').slice(0, text.endsWith('\n') ? -1 : undefined);
    return { ...end, timedOut: false, stdout: lines(stdout).join('\n'), stderr: lines(String(stderr)) };
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin.end();
    await ended;
  }

  async #line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`${server} has ended`);
    return value;
  }
}
