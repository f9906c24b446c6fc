import { describe, expect, it } from 'vitest';
import { modelServers, noProcesses } from '../support/processes.ts';
import { noTerminal, onTerminal } from '../support/terminal.ts';
import { iris, Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';

const esc = '\u001b';

/** What a terminal shows after `output`: relative moves of the cursor, and erased lines. */
function screen(output: string): string[] {
  const lines = [''];
  let [row, column] = [0, 0];
  const write = (text: string) => {
    const before = (lines[row] ?? '').padEnd(column);
    lines[row] = before.slice(0, column) + text + before.slice(column + text.length);
    column += text.length;
  };
  for (const [, parameter = '', command = '', control, text = ''] of output.matchAll(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what drives a terminal
    /\x1b\[([?0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)/g,
  )) {
    if (control === '\n') row++;
    else if (control === '\r' || command === 'G') column = 0;
    else if (command === 'A') row = Math.max(0, row - Number(parameter || 1));
    else if (command === 'B') row += Number(parameter || 1);
    else if (command === 'K') lines[row] = parameter === '2' ? '' : (lines[row] ?? '').slice(0, column);
    else if (text) write(text);
    lines[row] ??= '';
  }
  return Array.from(lines, (line) => line?.trimEnd() ?? '');
}

describe('what levada up shows', () => {
  it.skipIf(noTerminal)(
    `on a terminal is one live table below the lines${noTerminal ? ` (skipped: ${noTerminal})` : ''}`,
    async () => {
      await using ws = await Workspace.create();
      await ws.write('res/iris.yaml', iris());
      const up = ws.spawn(['up', 'res'], onTerminal);
      const shown = () => screen(up.output);
      const rows = () => shown().filter((line) => /^iris +\S+ +.*\d+s$/.test(line));
      const seen = () => shown().join('\n');
      await until('the table says that it serves', () => /^iris +True +v1 +Serving +http/.test(rows()[0] ?? ''), {
        seen,
      });
      await until('the age grows without any other change', () => / [2-9]s$/.test(rows()[0] ?? ''), { seen });
      await ws.write('res/rose.yaml', iris({ serve: 'v2' }, 'rose'));
      await until('the new resource has a row', () => shown().some((line) => /^rose +True +v2/.test(line)), { seen });
      expect(rows()).toHaveLength(1);
      expect(shown().filter((line) => line.startsWith('NAME '))).toHaveLength(1);
      const table = shown().findIndex((line) => line.startsWith('NAME '));
      // What is said stays, above the table.
      for (const text of ['Model versions run as', 'iris: Serving', 'rose: Serving']) {
        const line = shown().findIndex((entry) => entry.startsWith(text));
        expect(line, text).toBeGreaterThanOrEqual(0);
        expect(line, text).toBeLessThan(table);
      }
      expect(up.output).toContain(`${esc}[?25l`);
      up.type('\x03');
      const { code } = await up.ended;
      expect(code).toBe(0);
      // The cursor is back, and no table pretends that something serves.
      expect(up.output.lastIndexOf(`${esc}[?25h`)).toBeGreaterThan(up.output.lastIndexOf(`${esc}[?25l`));
      expect(shown().some((line) => line.startsWith('NAME '))).toBe(false);
      expect(seen()).toContain('draining; Ctrl-C again ends it at once');
      if (!noProcesses) expect(modelServers(ws.folder)).toEqual([]);
    },
  );

  it('elsewhere are plain lines, each once', async () => {
    await using ws = await Workspace.create();
    await ws.write('res/iris.yaml', iris());
    const up = await ws.up();
    await up.says('iris: Serving');
    const { stdout } = await up.interrupt();
    expect(stdout).not.toContain(esc);
    expect(stdout).not.toMatch(/^NAME /m);
    const lines = stdout.trimEnd().split('\n');
    const kinds = lines.map((line) => /^iris: \w+|^iris-v1 \| [a-z ]*[a-z]\b|^[A-Za-z]+/.exec(line)?.[0]);
    expect(kinds).toEqual([
      'Model',
      'iris: Progressing',
      'iris-v1 | model loaded path',
      'iris: Serving',
      'draining',
      'iris-v1 | draining why',
      'iris-v1 | drained',
    ]);
  });
});
