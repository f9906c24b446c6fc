import type { Command } from 'commander';
import { vi } from 'vitest';

/** Runs a command in this process, as its line in main.ts does, and gives what it printed. */
export async function run(
  command: Command,
  ...args: string[]
): Promise<{ stdout: string; stderr: string; exitCode: typeof process.exitCode }> {
  const stdout: string[] = [];
  const stderr: string[] = [];
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => stdout.push(String(text)) > 0),
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => stderr.push(String(text)) > 0),
  ];
  process.exitCode = undefined;
  try {
    await command.exitOverride().parseAsync(args, { from: 'user' });
    return { stdout: stdout.join(''), stderr: stderr.join(''), exitCode: process.exitCode };
  } finally {
    process.exitCode = undefined;
    for (const spy of spies) spy.mockRestore();
  }
}
