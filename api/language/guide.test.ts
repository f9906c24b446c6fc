import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { eventPipeline } from '../v1alpha1/event-pipeline.ts';
import { compileExpression } from './expression.ts';
import { limits } from './limits.ts';
import { compileTemplate, unwrapExpression } from './template.ts';

// The guide's examples are run, so that they stay true.
const guide = readFileSync(new URL('../../docs/guides/expressions.md', import.meta.url), 'utf8');

const fenced = (language: string) =>
  [...guide.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map((match) => match[1] ?? '');

const data = JSON.parse(fenced('json')[0] ?? '');
const variables = { event: { id: 'e1', type: 'order.created' } };

const section = guide.slice(guide.indexOf('## Examples'), guide.indexOf('## Limits'));
const examples = [...section.matchAll(/^\| (`+) ?(.+?) ?\1 \| (?:`(.+)`|nothing) \|$/gm)].map(
  ([, , expression = '', result]) => [expression, result === undefined ? undefined : JSON.parse(result)] as const,
);

describe('examples of the guide', () => {
  it('are found', () => {
    expect(examples.length).toBeGreaterThan(25);
  });

  it.each(examples)('%s', async (expression, result) => {
    expect(await compileExpression(expression).evaluate(data, variables)).toEqual(result);
  });

  it('the pipeline is one, and its expressions hold for the data', async () => {
    const [document] = parseAllDocuments(fenced('yaml')[0] ?? '');
    const { spec } = eventPipeline.parse(document?.toJS());
    const http = spec.sources[0]?.http;
    const body = await compileTemplate(http?.assign).render(data, variables);
    expect(body).toEqual({ order_id: expect.stringMatching(/^[0-9a-f-]{36}$/), channel: 'web' });
    expect(await compileTemplate(http?.response.body).render(data, variables)).toEqual({
      order_id: 7,
      status: 'accepted',
    });
    const [enrich, slim] = spec.steps;
    const evaluate = (text = '', more: object = {}) =>
      compileExpression(unwrapExpression(text) ?? text, { variables: ['event', ...Object.keys(more)] }).evaluate(data, {
        ...variables,
        ...more,
      });
    expect(await evaluate(enrich?.when)).toBe(true);
    expect(await evaluate(enrich?.idempotency?.key)).toBe(7);
    expect(await evaluate(enrich?.fanout?.urls)).toEqual(['http://catalog/items/a-1', 'http://catalog/items/b-2']);
    expect(await evaluate(enrich?.fanout?.output, { results: [1] })).toEqual({ ...data, results: [1] });
    expect(await evaluate(slim?.transform)).toEqual({ order_id: 7, skus: ['a-1', 'b-2'] });
  });

  it('what it calls a mistake is one', () => {
    for (const text of ['sum(items.price)', '$eval("1")', '/(?=a)/', '$nobody', 'function($x)<n:n>{ $x }']) {
      expect(() => compileExpression(text), text).toThrow('not an expression');
    }
  });

  it('the limits are those that hold', () => {
    const table = guide.slice(guide.indexOf('## Limits'), guide.indexOf('## What is different'));
    const numbers = [...table.matchAll(/ \| ([\d,]+) \|$/gm)].map((match) => Number(match[1]?.replaceAll(',', '')));
    const { text, steps, active, scopes, items, characters, depth } = limits;
    expect(numbers).toEqual([text, steps, active, scopes, items, characters, depth]);
  });

  it('sorts as many as it says', async () => {
    const list = Array.from({ length: 99_991 }, (_, index) => ({ n: (index * 7919) % 99_991 }));
    const ordered = (count: number, text: string) => compileExpression(text).evaluate({ list: list.slice(0, count) });
    await expect(ordered(99_991, '$sort(list.n)[[0..2]]')).resolves.toEqual([0, 1, 2]);
    await expect(ordered(5_000, '$sort(list, function($a, $b) { $a.n > $b.n })[0].n')).resolves.toBe(0);
    await expect(ordered(3_000, 'list^(n)[0].n')).resolves.toBe(0);
  });
});
