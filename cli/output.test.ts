import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FileProblem } from '../operator/source/load.ts';
import { readYaml } from '../operator/source/yaml.ts';
import { counted, problemLine, toYaml } from './output.ts';

describe('toYaml', () => {
  it('quotes what kubectl would take for something else', () => {
    expect(toYaml([{ a: 'yes', b: '0o17', c: '1:30', d: 'v1', e: '', on: 1 }, { f: [true, null] }])).toBe(
      'a: "yes"\nb: "0o17"\nc: "1:30"\nd: v1\ne: ""\n"on": 1\n---\nf:\n  - true\n  - null\n',
    );
  });

  it('is undone by readYaml', () => {
    const text = fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.string({ unit: fc.constantFrom(...'01789xobeE._+-yn:# \n') }),
    );
    const value = fc.dictionary(text, fc.oneof(text, fc.array(text), fc.dictionary(text, fc.jsonValue())));
    fc.assert(
      fc.property(fc.array(value), (values) => {
        const { documents, problems } = readYaml(toYaml(values));
        expect(problems).toEqual([]);
        expect(documents.map((document) => document.value)).toEqual(
          values.map((entry) => JSON.parse(JSON.stringify(entry))),
        );
      }),
      { examples: [[[{ a: { '<<': 0 }, b: '<<' }]]] },
    );
  });
});

describe('problemLine', () => {
  const problem: FileProblem = {
    code: 'InvalidValue',
    path: 'spec.a',
    message: 'found 1',
    file: 'a.yaml',
    line: 2,
    column: 3,
  };
  it.each<[Partial<FileProblem>, string]>([
    [{}, 'a.yaml:2:3: spec.a: found 1 (InvalidValue)'],
    [{ path: '' }, 'a.yaml:2:3: found 1 (InvalidValue)'],
    [{ path: '', line: 0 }, 'a.yaml: found 1 (InvalidValue)'],
    [{ path: '', line: 0, message: 'a.yaml: not there' }, 'a.yaml: not there (InvalidValue)'],
    [{ message: 'found \u001b[31mred\u0007\n' }, 'a.yaml:2:3: spec.a: found red�� (InvalidValue)'],
  ])('of %j', (change, line) => expect(problemLine({ ...problem, ...change })).toBe(line));
});

it.each([
  [0, '0 problems'],
  [1, '1 problem'],
  [2, '2 problems'],
])('counted %i', (count, text) => expect(counted(count, 'problem')).toBe(text));
