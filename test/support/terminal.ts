import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const python = [process.env['LEVADA_PYTHON'], 'python3', 'python'].find(
  (command) => command && spawnSync(command, ['-c', 'import pty, os; os.waitstatus_to_exitcode']).status === 0,
);

/** Why there is no pseudo-terminal here; `undefined` where there is. */
export const noTerminal = python ? undefined : 'no Python with the module pty: there is no pseudo-terminal';

/** What a command goes behind to run under a terminal of 120 columns. */
export const onTerminal: readonly string[] = [
  python ?? '',
  fileURLToPath(new URL('terminal.py', import.meta.url)),
  process.execPath,
];
