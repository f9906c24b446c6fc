import fc from 'fast-check';
import jsonata from 'jsonata';
import { describe, expect, it } from 'vitest';
import { errorCodeOf } from '../errors.ts';
import { compileExpression } from './expression.ts';

/** Expressions of any shape: most of them mean nothing. */
const { expression: anyExpression } = fc.letrec<{ expression: string }>((tie) => ({
  expression: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom('a', 'b', '$', '$$', 'list', '1', '"x"', 'true', 'null', '1e300', '[]', '{}', '*', '**', '/x+/'),
    fc.constantFrom('$sum', '$string', '$map', '$now', '$each', '$event', 'function($x) { $x }'),
    fc
      .tuple(
        tie('expression'),
        fc.constantFrom('+', '*', '&', '=', '<', 'and', 'in', '.', '~>', '??'),
        tie('expression'),
      )
      .map((parts) => `(${parts.join(' ')})`),
    fc.tuple(tie('expression'), tie('expression')).map(([from, to]) => `[${from}..${to}]`),
    fc.tuple(tie('expression'), tie('expression')).map(([left, right]) => `${left}[${right}]`),
    fc.tuple(tie('expression'), tie('expression')).map(([key, value]) => `{$string(${key}): ${value}}`),
    fc.tuple(tie('expression'), tie('expression')).map(([list, key]) => `${list}{$string(${key}): $}`),
    fc.tuple(tie('expression'), tie('expression')).map(([list, by]) => `${list}^(${by})`),
    fc.tuple(tie('expression'), tie('expression')).map(([of, by]) => `${of} ~> |${by}|{"y": ${of}}|`),
    fc
      .tuple(fc.constantFrom('map', 'filter', 'reduce', 'sort', 'single'), tie('expression'), tie('expression'))
      .map(([name, list, body]) => `$${name}(${list}, function($p, $q) { ${body} })`),
    fc
      .tuple(
        fc.constantFrom(
          'pad',
          'join',
          'split',
          'replace',
          'append',
          'zip',
          'distinct',
          'spread',
          'formatNumber',
          'merge',
        ),
        fc.array(tie('expression'), { minLength: 1, maxLength: 3 }),
      )
      .map(([name, args]) => `$${name}(${args.join()})`),
    tie('expression').map((body) => `($f := function($p) { ${body} ~> $f }; $f(1))`),
  ),
}));

describe('whatever is written', () => {
  it('ends as JSON or as an error with a code, and leaves data alone', async () => {
    await fc.assert(
      fc.asyncProperty(anyExpression, async (text) => {
        const data = { a: 1, b: 'x y', list: [{ a: 2 }, { a: 1, b: [] }, 'x', []] };
        const before = JSON.stringify(data);
        let found: unknown;
        try {
          found = await compileExpression(text).evaluate(data, { event: { id: '1' } });
        } catch (error) {
          expect(String(errorCodeOf(error))).toMatch(/^Expression(Invalid|Failed|Limit|WrongType)$/);
        }
        expect(JSON.stringify(data)).toBe(before);
        if (found !== undefined) expect(JSON.parse(JSON.stringify(found))).toStrictEqual(found);
      }),
      { numRuns: 60 },
    );
  });

  it('is what JSONata makes of it, where that has no limits to mind', async () => {
    const scalar = fc.oneof(
      fc.integer({ min: -9, max: 9 }),
      fc.string({ unit: 'grapheme', maxLength: 8 }),
      fc.boolean(),
    );
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'ü', '😀', ' '), maxLength: 12 });
    const integer = fc.integer({ min: -15, max: 15 });
    const calls = fc.oneof(
      fc.tuple(fc.constant('$substring(t, n)')),
      fc.tuple(fc.constant('$substring(t, n, m)')),
      fc.tuple(fc.constant('$pad(t, n)')),
      fc.tuple(fc.constant('$pad(t, n, u)')),
      fc.tuple(fc.constant('$length(t)')),
      fc.tuple(fc.constant('$split(t, u)')),
      fc.tuple(fc.constant('$split(t, u, $abs(m))')),
      fc.tuple(fc.constant('u = "" ? 1 : $replace(t, u, "<$0>")')),
      fc.tuple(fc.constant('u = "" ? 1 : $replace(t, u, "-", $abs(m))')),
      fc.tuple(fc.constant('$replace(t, /(a+)(b)?/, "<$2$1$$>")')),
      fc.tuple(fc.constant('$match(t, /[ab]+|😀/)')),
      fc.tuple(fc.constant('$split(t, /a|ü/)')),
      fc.tuple(fc.constant('$distinct(list)')),
      fc.tuple(fc.constant('$append(list, n)')),
      fc.tuple(fc.constant('$append(n, list)')),
      fc.tuple(fc.constant('$spread({"a": list, "b": [{"c": n}, m]})')),
      fc.tuple(fc.constant('$sort(list.$string())')),
      fc.tuple(fc.constant('$sort(list, function($a, $b) { $length($string($a)) > $length($string($b)) })')),
      fc.tuple(fc.constant('[$max([n, m]), $min([n, m, 0])]')),
      fc.tuple(fc.constant('list{$type($): $}')),
      fc.tuple(fc.constant('$join(list.$string(), u)')),
    );
    await fc.assert(
      fc.asyncProperty(calls, text, text, integer, integer, fc.array(scalar), async ([call], t, u, n, m, list) => {
        const data = { t, u, n, m, list };
        const theirs = await jsonata(call).evaluate(structuredClone(data));
        const wanted = theirs === undefined ? undefined : JSON.parse(JSON.stringify(theirs));
        expect(await compileExpression(call).evaluate(data)).toEqual(wanted);
      }),
      { numRuns: 600 },
    );
  });
});
