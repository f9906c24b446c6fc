import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LevadaError } from '../errors.ts';
import { limits } from './limits.ts';
import { compileTemplate, unwrapExpression } from './template.ts';

const detailOf = (value: unknown): string => {
  try {
    compileTemplate(value);
  } catch (error) {
    if (error instanceof LevadaError && error.code === 'ExpressionInvalid') return String(error.params.detail);
    throw error;
  }
  throw new Error('nothing was thrown');
};

describe('unwrapExpression', () => {
  it.each([
    ['{% a %}', 'a'],
    ['{%a%}', 'a'],
    ['{%\n  a &\n  b\n%}', 'a &\n  b'],
    ['{% %}', ''],
    [' {% a %}', undefined],
    ['{% a %} b', undefined],
    ['{{ a }}', undefined],
    ['a', undefined],
  ])('%j', (text, wanted) => {
    expect(unwrapExpression(text)).toBe(wanted);
  });
});

describe('compileTemplate', () => {
  const data = { id: 7, items: [{ sku: 'a' }], none: null };
  it.each<[unknown, unknown]>([
    ['{% id + 1 %}', 8],
    ['{% gone %}', undefined],
    ['{% none %}', null],
    ['id', 'id'],
    [
      { id: '{% id %}', gone: '{% gone %}', kept: 'x', none: null },
      { id: 7, kept: 'x', none: null },
    ],
    [
      ['{% id %}', '{% gone %}', 1, [true, '{% items.sku %}']],
      [7, 1, [true, 'a']],
    ],
    [{ '{% id %}': '{% $event.type %}' }, { '{% id %}': 'order.created' }],
    [{ a: { b: [{ c: '{% items[0] %}' }] } }, { a: { b: [{ c: { sku: 'a' } }] } }],
  ])('%j', async (template, wanted) => {
    const { constant, render } = compileTemplate(template);
    expect(constant).toBe(template === 'id');
    expect(await render(data, { event: { type: 'order.created' } })).toStrictEqual(wanted);
  });

  it('keeps a member __proto__ a member', async () => {
    const template = compileTemplate(JSON.parse('{"__proto__": {"id": "{% id %}"}}'));
    const rendered = await template.render(data);
    expect(JSON.stringify(rendered)).toBe('{"__proto__":{"id":7}}');
    expect(Object.getPrototypeOf(rendered)).toBe(Object.prototype);
  });

  it.each<[unknown, string]>([
    ['{% id + %}', 'Unexpected end of expression'],
    [{ a: [1, { 'b/c': '{% id + %}' }] }, 'a[1][b/c]: Unexpected end of expression'],
    [['{% $nobody %}'], '[0]: position 7: $nobody is not known'],
    ['{% %}', 'Unexpected end of expression'],
  ])('%j names the place', (template, detail) => {
    expect(detailOf(template)).toContain(detail);
  });

  it('bounds nesting', () => {
    const nested = (depth: number): unknown => (depth === 0 ? '{% id %}' : [nested(depth - 1)]);
    expect(compileTemplate(nested(limits.depth)).constant).toBe(false);
    expect(detailOf(nested(limits.depth + 1))).toContain(`nested deeper than ${limits.depth}`);
    expect(detailOf(JSON.parse('['.repeat(100_000) + ']'.repeat(100_000)))).toContain('nested deeper');
  });

  it('a template without expressions is what it is', async () => {
    const literal = fc.jsonValue({ depthSize: 'medium' }).filter((value) => !JSON.stringify(value).includes('{%'));
    await fc.assert(
      fc.asyncProperty(literal, async (value) => {
        const template = compileTemplate(value);
        expect(template.constant).toBe(true);
        expect(await template.render({})).toStrictEqual(value);
      }),
    );
  });

  it('what is beside an expression stays what it is', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        const rendered = await compileTemplate(['{% id %}', { value: '{% $$.given %}', id: '{% id %}' }]).render({
          id: 1,
          given: value,
        });
        expect(JSON.stringify(rendered)).toBe(JSON.stringify([1, { value, id: 1 }]));
      }),
    );
  });
});
