/** Every row of the tables of docs/guides/rabbitmq.md has a test that bears its number. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { root } from '../../support/up.ts';

test('each fault and pitfall of the guide is tested under its number', () => {
  const guide = readFileSync(join(root, 'docs/guides/rabbitmq.md'), 'utf8');
  const rows = [...guide.matchAll(/^\| ([FP]\d+) \|/gm)].map(([, number = '']) => number);
  expect(rows.length).toBeGreaterThan(40);
  expect(new Set(rows).size).toBe(rows.length);
  const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.rabbitmq.test.ts'));
  const text = files.map((name) => readFileSync(join(import.meta.dirname, name), 'utf8')).join('\n');
  // `test('F1: …` and the like, or a number of a table whose rows are tests.
  const tested = new Set([...text.matchAll(/['"`]([FP]\d+)(?::|['"`])/g)].map(([, number = '']) => number));
  expect(rows.filter((number) => !tested.has(number))).toEqual([]);
  expect([...tested].filter((number) => !rows.includes(number))).toEqual([]);
});
