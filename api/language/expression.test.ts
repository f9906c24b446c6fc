import { describe, expect, it } from 'vitest';
import { errorCodeOf, LevadaError } from '../errors.ts';
import { compileExpression, expectType, type Variables } from './expression.ts';
import { limits } from './limits.ts';

const order = {
  order_id: 7,
  total_amount: 12.5,
  user: { name: 'Ana', tags: ['new', 'eu'] },
  items: [
    { sku: 'a-1', price: 5, quantity: 2 },
    { sku: 'b-2', price: 2.5, quantity: 1 },
  ],
  one: [{ sku: 'c-3' }],
  none: [],
  note: 'Call +49 170 123, or +351 91 456',
};

const evaluate = (text: string, data: unknown = order, variables: Variables = { event: { id: 'e1' } }) =>
  compileExpression(text).evaluate(data, variables);

async function errorOf(work: () => unknown): Promise<LevadaError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof LevadaError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('what expressions give', () => {
  it.each<[string, unknown]>([
    ['total_amount > 10', true],
    ['items.sku', ['a-1', 'b-2']],
    ['one.sku', 'c-3'],
    ['[one.sku]', ['c-3']],
    ['one.sku[]', ['c-3']],
    ['nothing', undefined],
    ['[nothing]', []],
    ['none', []],
    ['$sum(items.(price * quantity))', 12.5],
    ['{"id": $event.id, "gone": nothing}', { id: 'e1' }],
    ['items{sku: price}', { 'a-1': 5, 'b-2': 2.5 }],
    ['none{"a": 1}', { a: 1 }],
    ['items^(price).sku', ['b-2', 'a-1']],
    ['$sort(items, function($a, $b) { $a.price > $b.price }).sku', ['b-2', 'a-1']],
    ['$distinct([1, 1, {"a": 1, "b": 2}, {"b": 2, "a": 1}, "1"])', [1, { a: 1, b: 2 }, '1']],
    ['user ~> |$|{"name": "Eva"}, "tags"|', { name: 'Eva' }],
    [
      'items@$i#$n.{"n": $n, "sku": $i.sku}',
      [
        { n: 0, sku: 'a-1' },
        { n: 1, sku: 'b-2' },
      ],
    ],
    ['items.price.%.sku', ['a-1', 'b-2']],
    ['$count(**)', 18],
    ['$append(nothing, null)', null],
    ['$max([1, 3, 2]) - $min([1, 3, 2])', 2],
    ['$pad("5", -3, "0") & $pad("5", 3)', '0055  '],
    ['$fromMillis(0, "[Y0001]-[M01]-[D01]")', '1970-01-01'],
    ['$toMillis("1970-01-02", "[Y]-[M]-[D]")', 86_400_000],
    ['$formatNumber(1234.5, "#,##0.00")', '1,234.50'],
    ['($f := function($n) { $n < 2 ? 1 : $n * $f($n - 1) }; $f(5))', 120],
    ['($f := function($n, $sum) { $n = 0 ? $sum : $f($n - 1, $sum + $n) }; $f(1000, 0))', 500_500],
    ['$map(?, function($x) { $x + 1 })([1, 2])', [2, 3]],
    ['($add := function($a, $b) { $a + $b }; $add(?, 2)(3))', 5],
    ['nothing ?? "none"', 'none'],
    ['-0', 0],
  ])('%s', async (text, wanted) => {
    const found = await evaluate(text);
    expect(found).toStrictEqual(wanted);
    // A list of JSONata's is a list with further members.
    if (Array.isArray(found)) expect(Object.keys(found)).toEqual(Object.keys([...found]));
  });

  it.each<[string, unknown]>([
    ['$contains(note, /\\+49/)', true],
    ['$match(note, /\\+(\\d+) (\\d+)/).groups[0]', ['49', '351']],
    ['$match(note, /\\+(\\d+) (\\d+)/).index', [5, 21]],
    ['$replace(note, /\\+(\\d+)/, "00$1")', 'Call 0049 170 123, or 00351 91 456'],
    ['$replace("ab", /(a)(x)?/, "[$1$2]")', '[a]b'],
    ['$split("a1b22c", /\\d+/)', ['a', 'b', 'c']],
    ['$split("A,b;C", /[,;]/, 2)', ['A', 'b']],
    ['$contains("HELLO", /hello/i)', true],
    ['$match("a\\nb", /^b$/m).match', 'b'],
    ['$contains("a\\nb", /^b$/)', false],
    ['$match("1😀x", /x/).index', 3],
    ['$contains("abc", /b/) ?: "no"', true],
    ['$contains("xyz", /b/) ?: "no"', 'no'],
    ['/l+/("hello").start', 2],
    ['items[sku ~> /^b/].sku', 'b-2'],
  ])('regular expression %s', async (text, wanted) => {
    expect(await evaluate(text)).toStrictEqual(wanted);
  });

  it.each([
    'constructor',
    '__proto__',
    'user.constructor',
    '"text".constructor',
    '$lookup($, "__proto__")',
    '$sum.implementation',
    '$sum.constructor',
    'items.__proto__.constructor("return 1")',
  ])('%s leads nowhere', async (text) => {
    const found = await evaluate(text).catch(errorCodeOf);
    expect([undefined, 'ExpressionFailed']).toContain(found);
  });

  it('keeps a member __proto__ a member', async () => {
    const found = await evaluate('{"__proto__": {"polluted": true}}');
    expect(JSON.stringify(found)).toBe('{"__proto__":{"polluted":true}}');
    expect(Object.getPrototypeOf(found)).toBe(Object.prototype);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  it('gives a new UUID each time, from where it is told', async () => {
    let count = 0;
    const expression = compileExpression('[$uuid(), $uuid()]', { uuid: () => `u${++count}` });
    expect(await expression.evaluate({})).toEqual(['u1', 'u2']);
    expect(await evaluate('$uuid()')).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  });

  it('knows the variables that it is told of', async () => {
    const expression = compileExpression('$outputs.p[0] > 0.5 and $event.id = "e1"', {
      variables: ['event', 'outputs'],
    });
    expect(await expression.evaluate({}, { outputs: { p: [0.7] }, event: { id: 'e1' } })).toBe(true);
  });
});

describe('mistakes in expressions', () => {
  it.each([
    ['total >', 'Unexpected end of expression (position 7)'],
    ['a b', 'Syntax error: "b" (position 3)'],
    ['"text', 'String literal must be terminated by a matching quote (position 5)'],
    ['a ~> $eval', 'position 10: $eval is not supported'],
    ['($f := $eval; $f("1"))', 'position 12: $eval is not supported'],
    ['$map(["1"], $eval)', '$eval is not supported'],
    ['($eval := 1; 2)', '$eval is not supported, not even as a name of your own'],
    ['$foo + 1', 'position 4: $foo is not known; allowed: $$, $event and the functions of JSONata'],
    ['$sums(items.price)', 'position 5: $sums is not known'],
    ['function($x) { $y }', '$y is not known'],
    ['sum(items.price)', 'position 4: sum is a field; the function is $sum'],
    ['$contains(a, /(?=b)/)', 'position 20: the regular expression /(?=b)/ is not one of RE2'],
    ['$contains(a, /(a)\\1/)', 'the regular expression /(a)\\1/ is not one of RE2'],
    ['$contains(a, /a{1000}a{1000}a{1000}a{1000}a{1000}a{1000}/)', 'is too large'],
    ['function($x)<n:n>{ $x }', 'a function with a signature <…> is not supported'],
    [`"${'x'.repeat(limits.text)}"`, `${limits.text + 2} characters; at most ${limits.text} are allowed`],
    [`${'('.repeat(20)}a${' ?? 1)'.repeat(20)}`, 'more than 6 of ?? and ?: inside the left side of each other'],
  ])('%s', async (text, detail) => {
    const error = await errorOf(() => compileExpression(text));
    expect(error.code).toBe('ExpressionInvalid');
    expect(String(error.params.detail)).toContain(detail);
  });

  it.each([
    'a ?? b ?? c ?? d ?? e ?? f ?? g ?? h ?? "last"',
    `{${Array.from({ length: 20 }, (_, index) => `"k${index}": $sum(a.b) ?? (c ?? 0)`).join()}}`,
  ])('many ?? in a row are none: %s', async (text) => {
    await expect(evaluate(text)).resolves.toBeDefined();
  });
});

describe('limits', () => {
  const twice = '$reduce([1..40], function($a, $b) { [[$a, $a]] }, "x")';
  const deep = JSON.parse('['.repeat(5000) + ']'.repeat(5000));
  const data = {
    text: 'x'.repeat(3_000_000),
    numbers: Array.from({ length: 300_000 }, (_, index) => index),
    items: Array.from({ length: 50_000 }, (_, index) => ({ sku: `s${index}`, price: index % 97 })),
    keys: Object.fromEntries(Array.from({ length: 50_000 }, (_, index) => [`k${index}`, [index]])),
    inner: [Array.from({ length: 90_000 }, (_, index) => ({ a: index }))],
  };

  it.each([
    '($f := function($x) { $f($x) }; $f(1))',
    '($f := function($x) { $f($x) + 1 }; $f(1))',
    '($f := function($x) { [$f($x), $f($x)] }; $f(1))',
    '($f := function($x) { $g($x) }; $g := function($x) { $f($x) }; $f(1))',
    '[1..10000000]',
    '[1..99999].[1..99999]',
    '$map([1..1000], function($i) { [1..99999] })',
    '$pad("x", 1e9)',
    '$pad("x", -1e308, "ab")',
    '$reduce([1..60], function($a, $b) { $a & $a }, "x")',
    twice,
    `$string(${twice})`,
    `${twice} = 1`,
    `-${twice}`,
    `{${twice}: 1}`,
    `$boolean(${twice})`,
    `${twice} ? 1 : 2`,
    `{"a": 1}[${twice}]`,
    '$join($map([1..99999], function($i) { "0123456789012345678901234567890123456789012345678" }))',
    '$replace(text, "x", text)',
    '$replace(text, /x/, text)',
    '$replace(text, /x/, "yy")',
    '$split(text, "")',
    '$split(text, /x/)',
    '$match(text, /x/)',
    '$map([1..100000], function($i) { $contains(text, /a(.*b)?/) })',
    '$map([1..100000], function($i) { $substring($$.text, $i, 1) })',
    '$map([1..100000], function($i) { $$.text = $$.text & "" })',
    '$map([1..100000], function($i) { $$.inner.b })',
    '$map([1..100000], function($i) { $sum($$.numbers) })',
    '$map([1..100000], function($i) { $$.numbers ? 1 : 2 })',
    '$map([1..100000], function($i) { 5 in $$.numbers })',
    '$map([1..1000], function($i) { $count($$.items.**) })',
    '$map([1..1000], function($i) { $pad("", 1000000) })',
    'items^(price)',
    '$sort(items, function($a, $b) { $a.sku > $b.sku })',
    '$sort(numbers)',
    '$shuffle(numbers)',
    '$zip(numbers, numbers)',
    'keys.*',
    '$spread(numbers)',
    '$string(items, true)',
    '$formatNumber(5, $pad("", 1000, "0"))',
    '$event.deep',
    '$event.deep = [$event.deep]',
    '$event.deep.**',
    '$string($event.deep)',
    '$formatInteger(1e300, "I")',
    `${'('.repeat(100)}1${')'.repeat(100)}`,
  ])('%s', async (text) => {
    const error = await errorOf(() => evaluate(text, data, { event: { deep } }));
    expect(`${error.code}: ${error.message}`).toMatch(/^ExpressionLimit: /);
    expect(error.message.length).toBeLessThan(400);
  });

  it.each<[string, unknown]>([
    ['$max(numbers)', 299_999],
    ['$sum(items.price) > 0', true],
    ['$count((items{"one": sku}).one)', 50_000],
    ['$count($distinct(items))', 50_000],
    ['$length(text)', 3_000_000],
    ['$contains(text, /(x+x+)+y/)', false],
    ['$count(items[price = 5])', 516],
    ['$count($split($substring(text, 0, 90000), "x"))', 90_001],
  ])('large data is no mistake: %s', async (text, wanted) => {
    expect(await evaluate(text, data)).toBe(wanted);
  });

  it('counts work, not time: the same steps whatever else runs', async () => {
    const text = '$count($map([1..20000], function($i) { $i * 2 }))';
    const all = await Promise.all(Array.from({ length: 8 }, () => evaluate(text)));
    expect(all).toEqual(all.map(() => 20_000));
  });

  it('gives other work a turn meanwhile', async () => {
    let turns = 0;
    let running = true;
    const turn = () => {
      turns++;
      if (running) setImmediate(turn);
    };
    setImmediate(turn);
    await evaluate('$count($map([1..50000], function($i) { $i * 2 }))');
    running = false;
    expect(turns).toBeGreaterThan(5);
  });
});

describe('failures', () => {
  it.each([
    ['"a" + 1', 'ExpressionFailed', 'The left side of the "+" operator must evaluate to a number (position 5)'],
    ['$number(note)', 'ExpressionFailed', 'Unable to cast value to a number'],
    ['$number("x")', 'ExpressionFailed', '(position 8, "number")'],
    ['$sum(items.sku)', 'ExpressionFailed', 'Argument 1 of function "sum" must be an array of "numbers" (position 5)'],
    ['$error("no stock")', 'ExpressionFailed', 'no stock (position 7, "error")'],
    ['1/0', 'ExpressionFailed', 'the number Infinity, which JSON cannot hold'],
    ['{"a": [1, 0/0]}', 'ExpressionFailed', 'the number NaN at a[1], which JSON cannot hold'],
    ['$formatNumber(1/0, "0.0e0")', 'ExpressionFailed', 'Number out of range'],
    ['$formatNumber(1, "#", {"grouping-separator": ""})', 'ExpressionFailed', 'the option "grouping-separator"'],
    ['$fromMillis(0, "[Y,*-100000000]")', 'ExpressionFailed', 'has a width in [Y,*-100000000] that is none'],
    ['$fromMillis(0, "[Y,0x7fffffff]")', 'ExpressionFailed', 'has a width'],
    ['$toMillis("x", "[FNn][MNn][PN]")', 'ExpressionFailed', 'has "[MNn]" without a separator before it'],
    ['$toMillis("1", "[Yw]")', 'ExpressionFailed', 'numbers as words can only be written'],
    ['{"f": $sum}', 'ExpressionFailed', 'a function cannot be a member of a map'],
    ['(function($f) { {"then": $f} })(function($a, $b) { 1 })', 'ExpressionFailed', 'a function cannot be a member'],
    ['$ ~> |$sum|{"implementation": 1}|', 'ExpressionFailed', 'a function cannot be changed'],
    ['($f := function($x) { 1 }; $ ~> |$f|{"body": 1}|)', 'ExpressionFailed', 'a function cannot be changed'],
    ['$sum', 'ExpressionWrongType', 'found a function; allowed: JSON'],
    ['[function($x) { $x }]', 'ExpressionWrongType', 'found a function at [0]; allowed: JSON'],
    ['/a/', 'ExpressionWrongType', 'found a function; allowed: JSON'],
    ['$spread($sum)', 'ExpressionWrongType', 'found a function'],
  ])('%s', async (text, code, message) => {
    const error = await errorOf(() => evaluate(text));
    expect(error.code).toBe(code);
    expect(error.message).toContain(message);
    expect(error.message.startsWith(text.slice(0, 100))).toBe(true);
  });

  it('shows a part of long values', async () => {
    const error = await errorOf(() => evaluate('$number(text)', { text: 'secret'.repeat(10_000) }));
    expect(error.message.length).toBeLessThan(500);
  });
});

describe('data stays as it is', () => {
  it.each([
    'none{"a": 1}',
    'items[]',
    '$$ ~> |$$|{"changed": true}|',
    '$ ~> |$event|{"changed": true}|',
    '($clone := function($x) { $x }; $ ~> |items|{"price": 0}|)',
    'user(1)',
    '$map([none], function($x) { $x{"a": 1} })',
    '[none, [none]].{"a": 1}',
    '$sort(items.price)',
    '$reverse(items)',
  ])('%s', async (text) => {
    const data = structuredClone(order);
    const variables = { event: { id: 'e1', list: [] } };
    await evaluate(text, data, variables).catch(errorCodeOf);
    expect(JSON.stringify([data, variables])).toBe(JSON.stringify([order, { event: { id: 'e1', list: [] } }]));
    expect(data).toStrictEqual(order);
  });

  it('the result shares nothing with it', async () => {
    const data = { list: [{ a: 1 }] };
    const found = (await evaluate('list[0]', data)) as { a: number };
    found.a = 2;
    expect(data.list[0]?.a).toBe(1);
  });
});

describe('several evaluations at once', () => {
  it('do not see each other', async () => {
    const expression = compileExpression(
      '($n := $event.n; $map([1..50], function($i) { $replace($string($i), /\\d/, $string($n)) })[0])',
    );
    const found = await Promise.all([1, 2, 3, 4].map((n) => expression.evaluate({}, { event: { n } })));
    expect(found).toEqual(['1', '2', '3', '4']);
  });

  it('each keep their own time and budget', async () => {
    const expression = compileExpression(
      '($a := $millis(); $count([1..n].($ * 2)); $a = $millis() and $now() = $now())',
    );
    const found = await Promise.allSettled([10, 50_000, 90_000, 20].map((n) => expression.evaluate({ n })));
    expect(found.map((each) => (each.status === 'fulfilled' ? each.value : errorCodeOf(each.reason)))).toEqual([
      true,
      true,
      true,
      true,
    ]);
  });
});

describe('expectType', () => {
  it.each([
    [true, 'boolean', true],
    ['a', 'string', 'a'],
    [5, 'number', 5],
    ['k', 'key', 'k'],
    [42, 'key', '42'],
    [['a', 'b'], 'strings', ['a', 'b']],
    [[], 'strings', []],
    ['a', 'strings', ['a']],
  ] as const)('%j as %s', (value, kind, wanted) => {
    expect(expectType(value, 'x', kind)).toEqual(wanted);
  });

  it.each([
    [undefined, 'boolean', 'x: found nothing; allowed: true or false'],
    ['true', 'boolean', 'x: found "true"; allowed: true or false'],
    [1, 'boolean', 'x: found 1; allowed: true or false'],
    [5, 'string', 'x: found 5; allowed: text'],
    ['5', 'number', 'x: found "5"; allowed: a number'],
    ['', 'key', 'x: found ""; allowed: text that is not empty, or a number'],
    [undefined, 'key', 'found nothing'],
    [{}, 'key', 'found a map'],
    [['a', 5], 'strings', 'x: found 5 at [1]; allowed: a list of text'],
    [undefined, 'strings', 'found nothing'],
    [{}, 'strings', 'found a map'],
  ] as const)('%j as %s is refused', async (value, kind, message) => {
    const error = await errorOf(() => expectType(value, 'x', kind));
    expect(error.code).toBe('ExpressionWrongType');
    expect(error.message).toContain(message);
  });
});
