import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { plainScalar } from './scalar.ts';
import { readYaml } from './yaml.ts';

/** What kubectl itself reads; it needs no cluster for this. */
function kubectl(text: string): { items?: unknown; error?: string } {
  const args = ['annotate', '--local', '--filename=-', '--output=json', 'x=y'];
  const { status, stdout, stderr } = spawnSync('kubectl', args, { input: text, encoding: 'utf8' });
  return status === 0 ? { items: JSON.parse(stdout).spec.items } : { error: stderr };
}

const head = 'apiVersion: levada.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {name: x}\nspec:\n  items:\n';
const hasKubectl = spawnSync('kubectl', ['version', '--client']).status === 0;

describe.skipIf(!hasKubectl)(`with kubectl${hasKubectl ? '' : ' (skipped: there is none on PATH)'}`, () => {
  it('numbers, booleans and nulls are the same', () => {
    const odd = fc.string({ unit: fc.constantFrom(...'0178xobeEXfn._+-yYN~'), maxLength: 7 });
    const words = fc.constantFrom(
      'yes',
      'Off',
      'ON',
      'null',
      'NULL',
      '0777',
      '1_000',
      '0x1F',
      '1e999',
      '2020-01-01',
      '1:30',
    );
    // A - alone is a list, and 0b-1 is -1 for Go's ParseInt, which is not worth a rule.
    const plain = fc.oneof(odd, words).filter((text) => !/^-*$|^\.\.\.|0b[-+]|^[-+]?\.(?:nan|inf)$/i.test(text));
    fc.assert(
      fc.property(fc.array(plain, { minLength: 200, maxLength: 400 }), (texts) => {
        const { items } = kubectl(head + texts.map((text) => `  - ${text}\n`).join(''));
        expect(texts.map(plainScalar)).toEqual(items);
      }),
      { numRuns: 10 },
    );
  });

  it.each([
    '  - &a {p: 1}\n  - {<<: *a, q: 2}\n  - {<<: [*a, {p: 3, r: 4}]}\n',
    "  - |\n    yes\n  - >-\n    a\n    b\n\n    c\n  - \"\\u00e9\\n\"\n  - 'it''s'\n",
    '  - !!str 1\n  - {a: , b: ~}\n  - [a, [b], {c: d}]\n  - http://x:80/#a\n',
    '  - a: &x 1\n    b: &y [*x]\n    c: &x 2\n    d: *y\n    e: *x\n',
  ])('values are the same: %j', (text) => {
    const { documents, problems } = readYaml(head + text);
    expect(problems).toEqual([]);
    expect(documents.map(({ value }) => (value as { spec: { items: unknown } }).spec.items)).toEqual([
      kubectl(head + text).items,
    ]);
  });

  it.each([
    '  -\tx\n',
    '  - .nan\n',
    '  - *nothing\n',
    '  - &a [*a]\n',
    '  - "\\/"\n',
    '  - ? [a]\n    : b\n',
    '--- {a: 1}\n',
  ])('both refuse %j', (text) => {
    expect(readYaml(head + text).problems).not.toEqual([]);
    expect(kubectl(head + text).error).toBeDefined();
  });
});
