/** Shares and their history, drawn with characters: pure, and as wide as they are asked to be. */

const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'] as const;
const levels = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const;

/**
 * A bar of `width` characters. Something is never drawn as nothing, nor less than all as all.
 *
 * @param share from 0 to 1
 */
export function bar(share: number, width: number): string {
  const most = width * eighths.length;
  const nearest = Math.round(Math.min(1, Math.max(0, share)) * most);
  const filled = share <= 0 || share >= 1 ? nearest : Math.min(most - 1, Math.max(1, nearest));
  const drawn = '█'.repeat(Math.floor(filled / eighths.length)) + eighths[filled % eighths.length];
  return drawn.padEnd(width, '·');
}

/**
 * Values over time, oldest first, at most `width` characters. Where there are more values than characters, each shows the
 * greatest of its stretch: a peak stays visible.
 *
 * @param most is as high as it gets; `undefined` among `values` is a gap
 */
export function sparkline(values: readonly (number | undefined)[], most: number, width: number): string {
  const count = Math.min(width, values.length);
  return Array.from({ length: count }, (_, i) => {
    const from = Math.floor((i * values.length) / count);
    const to = Math.floor(((i + 1) * values.length) / count);
    const known = values.slice(from, to).filter((value) => value !== undefined);
    return known.length === 0 ? ' ' : levelOf(Math.max(...known), most);
  }).join('');
}

function levelOf(value: number, most: number): string {
  const share = most > 0 ? Math.min(1, Math.max(0, value / most)) : 0;
  return levels[Math.min(levels.length - 1, Math.floor(share * levels.length))] ?? levels[0];
}
