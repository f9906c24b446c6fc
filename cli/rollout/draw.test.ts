import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bar, sparkline } from './draw.ts';

const share = fc.double({ min: 0, max: 1, noNaN: true });
const width = fc.integer({ min: 1, max: 60 });

/** Eighths of a character. */
const filled = (text: string): number =>
  [...text].reduce((total, character) => total + ' ▏▎▍▌▋▊▉█'.indexOf(character.replace('·', ' ')), 0);

describe('bar', () => {
  it.each([
    [0, '··········'],
    [0.0001, '▏·········'],
    [0.05, '▌·········'],
    [0.25, '██▌·······'],
    [0.9999, '█████████▉'],
    [1, '██████████'],
  ])('of %d', (value, text) => expect(bar(value, 10)).toBe(text));

  it('has its width, grows with the share, and is empty or full only where that is so', () => {
    fc.assert(
      fc.property(share, share, width, (a, b, columns) => {
        const [less, more] = [bar(Math.min(a, b), columns), bar(Math.max(a, b), columns)];
        expect([...less]).toHaveLength(columns);
        expect(filled(less)).toBeLessThanOrEqual(filled(more));
        expect(filled(bar(a, columns)) === 0).toBe(a === 0);
        expect(filled(bar(a, columns)) === columns * 8).toBe(a === 1);
        // Never further off than the one eighth that keeps it from looking empty or full.
        expect(Math.abs(filled(bar(a, columns)) - a * columns * 8)).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe('sparkline', () => {
  it.each<[(number | undefined)[], number, number, string]>([
    [[], 1, 10, ''],
    [[0, 50, 100], 100, 10, '▁▅█'],
    [[undefined, 0.01, undefined, 0.02], 0.02, 10, ' ▅ █'],
    [[0, 9, 0, 0, 0, 0], 9, 3, '█▁▁'],
    [[3], 0, 10, '▁'],
    [[7], 2, 10, '█'],
  ])('of %j up to %d, %i wide', (values, most, columns, text) => expect(sparkline(values, most, columns)).toBe(text));

  it('has a character for each value or stretch of them, shows every peak, and orders as the values do', () => {
    const values = fc.array(fc.option(share, { nil: undefined }), { maxLength: 200 });
    const heights = ' ▁▂▃▄▅▆▇█';
    fc.assert(
      fc.property(values, width, (found, columns) => {
        const text = [...sparkline(found, 1, columns)];
        expect(text).toHaveLength(Math.min(found.length, columns));
        const peak = Math.max(-1, ...found.filter((value) => value !== undefined));
        const highest = Math.max(0, ...text.map((character) => heights.indexOf(character)));
        expect(highest).toBe(peak < 0 ? 0 : heights.indexOf(sparkline([peak], 1, 1)));
        if (found.length > columns) return;
        for (const [i, a] of found.entries()) {
          const b = found[i + 1];
          const [left, right] = [text[i] ?? '', text[i + 1] ?? ''].map((one) => heights.indexOf(one));
          if (a !== undefined && b !== undefined && a <= b) expect(left).toBeLessThanOrEqual(right ?? 0);
          expect(text[i] === ' ').toBe(a === undefined);
        }
      }),
    );
  });
});
