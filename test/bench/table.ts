import type { Verdict } from './bars.ts';

export function markdownTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((cell, column) => Math.max(cell.length, ...rows.map((row) => (row[column] ?? '').length)));
  const line = (cells: readonly string[]) =>
    `| ${widths.map((width, i) => (cells[i] ?? '').padEnd(width)).join(' | ')} |`;
  return [line(header), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rows.map(line)].join('\n');
}

/** Three significant digits, and thousands grouped. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3;
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function verdictTable(verdicts: readonly Verdict[]): string {
  const measured = verdicts.filter(({ outcome }) => outcome !== 'not measured');
  const rows = measured.map(({ name, unit, better, goal, fatal, outcome, figure: spread }) => {
    const sign = better === 'higher' ? '≥' : '≤';
    const withUnit = (value: number) => (unit === 'ms' ? `${value} ms` : `${value}${unit}`);
    return [
      outcome,
      name,
      spread ? figure(spread.median) : '–',
      spread ? `${figure(spread.min)} – ${figure(spread.max)}` : '–',
      `${sign} ${withUnit(goal)}`,
      fatal === undefined ? 'no' : `${sign} ${withUnit(fatal)}`,
    ];
  });
  const table = markdownTable(['', 'bar', 'median', 'min – max', 'goal', 'must'], rows);
  const missing = verdicts.length - measured.length;
  const note = `${missing} of ${verdicts.length} bars were not measured in this run.`;
  return [...(measured.length > 0 ? [table] : []), ...(missing > 0 ? [note] : [])].join('\n\n');
}
