import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { jsonErrorAt, jsonMistake } from './json-place.ts';

const parses = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

describe('the place of a mistake', () => {
  test.each([
    ['', 'it ends too early, at line 1 column 1'],
    ['{"a": 1', 'it ends too early, at line 1 column 8'],
    ['{"a": x}', 'found "x" at line 1 column 7'],
    ['{\n  "a": 1,\n}', 'found "}" at line 3 column 1'],
    ["{'a': 1}", `found "'" at line 1 column 2`],
    ['[1, 2,, 3]', 'found "," at line 1 column 7'],
    ['[1 2]', 'found "2" at line 1 column 4'],
    ['{"a" 1}', 'found "1" at line 1 column 6'],
    ['[1}', 'found "}" at line 1 column 3'],
    ['01', 'found "1" at line 1 column 2'],
    ['NaN', 'found "N" at line 1 column 1'],
    ['"a\nb"', 'found U+000A at line 1 column 3'],
    ['"\\x"', 'found "x" at line 1 column 3'],
    ['"\\u12', 'it ends too early, at line 1 column 6'],
    ['"\\u12g4"', 'found "g" at line 1 column 6'],
    ['{} {}', 'found "{" at line 1 column 4'],
    ['\ufeff{}', 'found U+FEFF at line 1 column 1'],
    ['[😀]', 'found "😀" at line 1 column 2'],
  ])('%j', (text, mistake) => expect(jsonMistake(text)).toBe(mistake));

  const json = fc.json();
  const broken = fc
    .tuple(json, fc.nat(), fc.nat(3), fc.constantFrom('', '"', '{', ']', ',', ':', '\\', '-', '0', 'e', ' ', '\n', 'u'))
    .map(
      ([text, at, cut, put]) =>
        text.slice(0, at % (text.length + 1)) + put + text.slice((at % (text.length + 1)) + cut),
    );

  test('there is one exactly when JSON.parse finds one', () => {
    fc.assert(
      fc.property(fc.oneof(json, broken, fc.string()), (text) => {
        expect(jsonErrorAt(text) === undefined).toBe(parses(text));
      }),
      { numRuns: 3_000 },
    );
  });

  test('V8 names the same place where it names one', () => {
    let named = 0;
    fc.assert(
      fc.property(broken, (text) => {
        try {
          JSON.parse(text);
        } catch (error) {
          const place = /at position (\d+)/.exec((error as Error).message)?.[1];
          // V8 points behind a bad escape and into a number; ours is within the same token.
          if (place === undefined) return;
          named++;
          expect(Math.abs(Number(place) - (jsonErrorAt(text) ?? Number.NaN))).toBeLessThanOrEqual(5);
        }
      }),
      { numRuns: 3_000 },
    );
    expect(named).toBeGreaterThan(100);
  });

  test('a text of a megabyte is no problem, in width or in depth', () => {
    expect(jsonErrorAt(`"${'a'.repeat(1e6)}`)).toBe(1e6 + 1);
    expect(jsonErrorAt('['.repeat(1e6))).toBe(1e6);
    expect(jsonErrorAt(`${'1'.repeat(1e6)}x`)).toBe(1e6);
  });
});
