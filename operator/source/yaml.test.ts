import { describe, expect, it } from 'vitest';
import { readYaml } from './yaml.ts';

const values = (text: string) => {
  const { documents, problems } = readYaml(text);
  expect(problems).toEqual([]);
  return documents.map(({ value }) => value);
};

/** `line:column code message` of every problem. */
const problems = (text: string) =>
  readYaml(text).problems.map(({ line, column, code, message }) => `${line}:${column} ${code} ${message}`);

/** Of this process's own time: a machine that is busy with other things makes it no slower. */
function msSince(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

describe('readYaml reads, as kubectl does,', () => {
  it.each<[string, string, unknown[]]>([
    ['booleans of YAML 1.1', 'a: [yes, "yes", off, !!str on]', [{ a: [true, 'yes', false, 'on'] }]],
    ['numbers of YAML 1.1', 'a: [0777, 0x1F, 1_000, 08, 1:30]', [{ a: [511, 31, 1000, 8, '1:30'] }]],
    ['times as text', 'a: 2020-01-01', [{ a: '2020-01-01' }]],
    ['several documents, and no empty one', '# c\n---\na: 1\n---\n---\n# x\n--- # c\nb: 2\n', [{ a: 1 }, { b: 2 }]],
    ['anchors', 'a: &x {p: 1}\nb: *x\nc: [*x]', [{ a: { p: 1 }, b: { p: 1 }, c: [{ p: 1 }] }]],
    ['the anchor before, where a name is used again', 'a: &x 1\nb: *x\nc: &x 2\nd: *x', [{ a: 1, b: 1, c: 2, d: 2 }]],
    ['an anchor in an anchor as it was', 'a: &x 1\nb: &y [*x]\nc: &x 2\nd: *y', [{ a: 1, b: [1], c: 2, d: [1] }]],
    ['merge keys', 'a: &x {p: 1, q: 2}\nb: {<<: *x, p: 5}', [{ a: { p: 1, q: 2 }, b: { p: 5, q: 2 } }]],
    ['earlier maps of a merge first', 'b:\n  <<: [{p: 1}, {p: 2, q: 3}]', [{ b: { p: 1, q: 3 } }]],
    ['a quoted << as a key', 'a: {"<<": 1}', [{ a: { '<<': 1 } }]],
    ['block texts', 'a: |\n  yes\n  - 0777\nb: >-\n  x\n  y\n', [{ a: 'yes\n- 0777\n', b: 'x y' }]],
    [
      'JSON, tabs and escapes',
      '{\n\t"a": "\\/ \\ud83d\\ude00",\n\t"b": [1e3, true]}',
      [{ a: '/ 😀', b: [1000, true] }],
    ],
    ['Windows line ends and a byte order mark', '\ufeffa: 1\r\nb: yes\r\n', [{ a: 1, b: true }]],
    ['the items of a List', 'apiVersion: v1\nkind: List\nitems: [{a: 1}, {b: 2}]', [{ a: 1 }, { b: 2 }]],
    ['__proto__ as a key like others', 'a: {__proto__: {x: 1}}', [JSON.parse('{"a": {"__proto__": {"x": 1}}}')]],
    ['nothing from an empty file', '', []],
  ])('%s', (_, text, expected) => expect(values(text)).toEqual(expected));
});

describe('readYaml refuses', () => {
  it.each<[string, string, string[]]>([
    [
      'a key twice',
      'a: 1\nb:\n  c: 1\n  c: 2\n  d: 3\n  c: 3\na: 4',
      [
        '4:3 YamlDuplicateKey a key appears twice: c',
        '6:3 YamlDuplicateKey a key appears twice: c',
        '7:1 YamlDuplicateKey a key appears twice: a',
      ],
    ],
    ['a key twice in different spelling', 'a: {b: 1, "b": 2}', ['1:11 YamlDuplicateKey a key appears twice: b']],
    [
      'keys that kubectl makes text of',
      'yes: 1\n1: 2\n~: 3',
      [
        '1:1 InvalidType found the key yes (a boolean for kubectl: quote it); allowed: a string',
        '2:1 InvalidType found the key 1 (a number for kubectl: quote it); allowed: a string',
        '3:1 InvalidType found the key ~ (null for kubectl: quote it); allowed: a string',
      ],
    ],
    ['keys that are no scalars', '? [a]\n: 1', ['1:3 InvalidType found a list as key; allowed: a string']],
    [
      'numbers that JSON lacks',
      'a: [.nan,\n  -.inf]',
      [
        '1:5 InvalidValue found .nan; allowed: a finite number (JSON has no other)',
        '2:3 InvalidValue found -.inf; allowed: a finite number (JSON has no other)',
      ],
    ],
    [
      'half characters',
      'a: {b: "\\ud83d"}',
      [
        '1:8 YamlSyntax not valid YAML: found the escape \\ud8; allowed: the character itself (only JSON has this escape)',
        '1:8 InvalidValue found half of a surrogate pair; allowed: Unicode text',
      ],
    ],
    [
      'tags',
      'a: !!binary aGk=\nb: !foo {c: 1}\n!!int 1: x',
      [
        '1:13 YamlSyntax not valid YAML: found the tag "tag:yaml.org,2002:binary"; allowed: !!str',
        '2:9 YamlSyntax not valid YAML: found the tag "!foo"; allowed: !!str',
        '3:7 YamlSyntax not valid YAML: found the tag "tag:yaml.org,2002:int"; allowed: !!str',
      ],
    ],
    [
      '<< after other keys',
      'a: &x {p: 1}\nb: {p: 2, <<: *x}',
      [
        '2:11 YamlSyntax not valid YAML: found << after other keys; allowed: << first (kubectl lets it replace the keys before it)',
      ],
    ],
    [
      '<< of no map',
      'a:\n  <<: 5',
      ['2:7 YamlSyntax not valid YAML: << takes a map, an alias of a map, or a list of these'],
    ],
    ['an alias of nothing', 'a: *x', ['1:4 YamlSyntax not valid YAML: *x has no &x before it']],
    [
      'an anchor that holds itself',
      'a: &x [1, *x]',
      ['1:11 YamlAliasLimit too many aliases: what &x marks contains itself'],
    ],
    [
      'documents that kubectl drops',
      'a: 1\n...\nb: 2',
      ['2:1 YamlSyntax not valid YAML: found ... ; allowed: --- between documents (kubectl drops what follows ...)'],
    ],
    [
      'text beside ---',
      '--- {a: 1}',
      ['1:1 YamlSyntax not valid YAML: found text beside ---; allowed: the document on the lines after it'],
    ],
    [
      'directives',
      '%YAML 1.2\n---\na: 1',
      ['1:1 YamlSyntax not valid YAML: found a directive; allowed: none (kubectl refuses them)'],
    ],
    ['tabs that indent', 'a:\n  -\tb\n', ['2:4 YamlSyntax not valid YAML: found a tab that indents; allowed: spaces']],
    [
      'control characters',
      'a: 1\nb: "x\u0000"',
      ['2:6 YamlSyntax not valid YAML: found U+0000; allowed: printable text'],
    ],
    ['line ends of old Macs', 'a: 1\rb: 2', ['1:5 YamlSyntax not valid YAML: found U+000D; allowed: printable text']],
    [
      'escapes of JSON only',
      'a: "\\/"',
      [
        '1:4 YamlSyntax not valid YAML: found the escape \\/; allowed: the character itself (only JSON has this escape)',
      ],
    ],
  ])('%s', (_, text, expected) => expect(problems(text)).toEqual(expected));

  it('syntax errors, with their place, and reads the other documents', () => {
    const { documents, problems: found } = readYaml('a: [1\n---\nb: 2\n---\nc: {x\n---\nd: yes\n');
    expect(documents.map(({ value }) => value)).toEqual([{ b: 2 }, { d: true }]);
    expect(found.map(({ code, line }) => `${line} ${code}`)).toEqual(['2 YamlSyntax', '6 YamlSyntax']);
  });
});

describe('readYaml ends quickly', () => {
  const laughs = ['a: &a [x, x, x, x, x, x, x, x, x]']
    .concat([...'bcdefghijk'].map((name, index) => `${name}: &${name} [${Array(9).fill(`*${'abcdefghij'[index]}`)}]`))
    .join('\n');
  const merges = ['m0: &m0 {p: 1}']
    .concat(Array.from({ length: 40 }, (_, i) => `m${i + 1}: &m${i + 1} {<<: [*m${i}, *m${i}], q${i}: 1}`))
    .join('\n');
  const size = 2 * 1024 * 1024;
  const written = `a: &a [${'x, '.repeat(1000)}x]\n${Array.from({ length: 500 }, (_, i) => `b${i}: *a\n`).join('')}`;

  it.each([
    ['a billion laughs', laughs, 'YamlAliasLimit'],
    ['merges that double', merges, 'YamlAliasLimit'],
    ['one large anchor, often', written, 'YamlAliasLimit'],
    ['open brackets', '['.repeat(size), 'YamlSyntax'],
    ['open braces', '{'.repeat(size), 'YamlSyntax'],
    ['lists in lists', '- '.repeat(size / 2), 'YamlSyntax'],
    ['deep indentation', Array.from({ length: 2000 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'), 'YamlSyntax'],
  ])('with %s', (_, text, code) => {
    const before = process.memoryUsage().heapUsed;
    const start = process.cpuUsage();
    const found = readYaml(text).problems;
    expect(msSince(start)).toBeLessThan(2000);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(100e6);
    expect(found.map((problem) => problem.code)).toEqual([code]);
  });

  it('with many repeated keys, which it all reports', () => {
    const text = 'a: 1\n'.repeat(50_000);
    const start = process.cpuUsage();
    expect(readYaml(text).problems).toHaveLength(49_999);
    expect(msSince(start)).toBeLessThan(5000);
  });
});

describe('a document locates', () => {
  const text =
    'x: &a {p: 1}\nspec:\n  versions:\n  - name: v1\n    uri:\n      "file"\n    "a.b/c": {}\n  - *a\n  m:\n    <<: *a\n    e:\n';
  it.each([
    ['the value', 'spec.versions[0].name', '4:11'],
    ['a value on the next line', 'spec.versions[0].uri', '6:7'],
    ['the key of a map', 'spec.versions[0][a.b/c]', '7:5'],
    ['the item that lacks a field', 'spec.versions[0].sha256', '4:5'],
    ['the key of a map that lacks a field', 'spec.serve', '2:1'],
    ['an alias', 'spec.versions[1]', '8:5'],
    ['what an alias stands for', 'spec.versions[1].p', '1:11'],
    ['what was merged', 'spec.m.p', '1:11'],
    ['the key of an empty value', 'spec.m.e', '11:5'],
    ['the document', '', '1:1'],
  ])('%s: %s', (_, path, place) => {
    const { line, column } = readYaml(text).documents[0]!.locate({ code: 'InvalidValue', path });
    expect(`${line}:${column}`).toBe(place);
  });

  it('an unknown field at its key, and items of a List in the file', () => {
    const [, second] = readYaml('kind: List\napiVersion: v1\nitems:\n- {}\n- spec:\n    foo: 1\n').documents;
    expect(second!.locate({ code: 'UnknownField', path: 'spec.foo' })).toEqual({ line: 6, column: 5 });
    expect(second!.locate({ code: 'MissingField', path: 'kind' })).toEqual({ line: 5, column: 3 });
  });
});
