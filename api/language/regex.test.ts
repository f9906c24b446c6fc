import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LimitExceeded, Meter } from './meter.ts';
import { compileRegex } from './regex.ts';

/** All matches, as JavaScript's own engine finds them. */
function matches(source: string, text: string) {
  const search = compileRegex(source).search(text, new Meter());
  const found: Array<[number, number, ...unknown[]]> = [];
  for (let from = 0; from <= text.length; ) {
    const match = search.next(from);
    if (match === undefined) break;
    found.push([match.start, match.end, ...match.groups]);
    from = match.end > match.start ? match.end : match.end + 1;
  }
  return found;
}

describe('compileRegex', () => {
  it('finds what JavaScript finds', () => {
    const atom = fc.constantFrom('a', 'b', '[ab]', '.', '(a)', '(?:ab)', '(b|ab)', '\\w', '[^a]', '\\b', '^', '$');
    const pattern = fc
      .array(fc.tuple(atom, fc.constantFrom('', '', '*', '+?', '?', '{1,2}')), { minLength: 1, maxLength: 5 })
      .map((parts) => parts.map(([a, q]) => (/[\^$]|\\b/.test(a) && a !== '[^a]' ? a : a + q)).join(''));
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', ' ', 'ä'), maxLength: 10 });
    fc.assert(
      fc.property(pattern, text, (source, input) => {
        const wanted = [...input.matchAll(new RegExp(source, 'g'))].map((match) => [
          match.index,
          match.index + match[0].length,
        ]);
        expect(matches(source, input).map(([start, end]) => [start, end])).toEqual(wanted);
      }),
      { numRuns: 500 },
    );
  });

  it('gives groups, and counts in UTF-16 as JavaScript does', () => {
    expect(matches('(?<n>\\d)|(x)', '😀1x')).toEqual([
      [2, 3, '1', undefined],
      [3, 4, undefined, 'x'],
    ]);
  });

  it.each([
    ['^b$', 'm', 'a\nb', true],
    ['^b$', '', 'a\nb', false],
    ['B', 'i', 'abc', true],
    ['a.b', '', 'a\nb', false],
    ['a.b', 's', 'a\nb', true],
    ['ü', 'i', 'Ü', true],
  ])('/%s/%s on %j', (source, flags, text, wanted) => {
    expect(compileRegex(source, flags).test(text, new Meter())).toBe(wanted);
  });

  it.each(['(?=a)', '(?!a)', '(?<=a)b', '(?<!a)b', '(a)\\1', '(', 'a**', '[b-a]'])('refuses /%s/', (source) => {
    expect(() => compileRegex(source)).toThrow(/is not one of RE2/);
  });

  it('counts what is looked at, not what is found', () => {
    const text = 'a'.repeat(20_000);
    const each = (source: string) => {
      const search = compileRegex(source).search(text, new Meter());
      for (let from = 0; from < text.length; from++) search.next(from);
    };
    expect(() => each('a')).not.toThrow();
    expect(() => each('a(.*b)?')).toThrow(LimitExceeded);
  });
});
