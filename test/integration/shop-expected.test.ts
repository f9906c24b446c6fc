/** Each part of the shop, without the pipeline between them, does what expected/orders.json says. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compileExpression } from '../../api/language/expression.ts';
import { compileTemplate } from '../../api/language/template.ts';
import type { EventPipeline } from '../../api/v1alpha1/event-pipeline.ts';
import { parseResource } from '../../operator/source/parse.ts';
import { startRuntime } from '../support/runtime.ts';
import {
  expectedEvents,
  expectedOrders,
  missingLanguages,
  type RunningServices,
  shopFolder,
  shopResources,
  shopServices,
  startServices,
} from '../support/shop.ts';

const { orders, tolerance } = await expectedOrders();
const resources = await shopResources();
const pipeline = resources.find(({ kind }) => kind === 'EventPipeline') as unknown as EventPipeline;
const step = (name: string) => pipeline.spec.steps.find((entry) => entry.name === name);
const missing = missingLanguages();

test('the resources are valid, and the table has every outcome', () => {
  expect(resources.map((value) => parseResource(value).problems)).toEqual([[], []]);
  expect(orders.length).toBeGreaterThanOrEqual(50);
  for (const type of ['stock.reserved', 'stock.rejected'] as const) {
    expect(orders.filter(({ inventory }) => inventory === type).length).toBeGreaterThan(5);
  }
  expect(new Set(orders.map(({ flagged }) => flagged))).toEqual(new Set([true, false]));
  expect(new Set(orders.flatMap(({ results }) => results.map(({ status }) => status)))).toEqual(new Set([200, 404]));
});

test('the expressions give the rows, and the model the probabilities, that scikit-learn has', async () => {
  const inputs = compileTemplate(step('score')?.model?.inputs);
  const rows = await Promise.all(orders.map(({ order }) => inputs.render(order)));
  const single = (row: readonly number[]) => [...Float32Array.from(row)];
  const asSingle = rows.map((row) => single((row as { X: number[] }).X));
  expect(asSingle).toEqual(orders.map((expected) => single(expected.inputs)));
  const server = await startRuntime(join(shopFolder, 'models/fraud/1'), { model: 'fraud' });
  try {
    const input = { name: 'X', datatype: 'FP32', shape: [orders.length, 4], data: asSingle };
    const response = await fetch(`${server.url}/v2/models/fraud/infer`, {
      method: 'POST',
      body: JSON.stringify({ inputs: [input] }),
    });
    const { outputs } = (await response.json()) as { outputs: Array<{ name: string; data: number[] }> };
    const probabilities = outputs.find(({ name }) => name === 'probabilities')?.data ?? [];
    expect(probabilities).toHaveLength(orders.length * 2);
    const off = orders.map(({ fraud }, index) => Math.abs((probabilities[index * 2 + 1] ?? Number.NaN) - fraud));
    expect(Math.max(...off)).toBeLessThanOrEqual(tolerance);
  } finally {
    await server.stop();
  }
});

test('the score keeps the order, and decides what is flagged', async () => {
  const output = compileTemplate(step('score')?.model?.output, { variables: ['event', 'outputs'] });
  const when = compileExpression(step('flag')?.when ?? '');
  const flag = compileTemplate(step('flag')?.transform);
  for (const expected of orders) {
    const events = expectedEvents(expected, 'id-1');
    const outputs = { label: 0, probabilities: [1 - expected.fraud, expected.fraud] };
    const scored = await output.render(events['order.created'], { outputs });
    expect(scored).toEqual(events['order.scored']);
    expect(await when.evaluate(scored)).toBe(expected.flagged);
    if (expected.flagged) expect(await flag.render(scored)).toEqual(events['order.flagged']);
  }
});

describe.each(['real', 'twin'] as const)('the services (%s)', (kind) => {
  let running: RunningServices | undefined;
  beforeAll(async () => {
    if (missing && kind === 'real') return;
    const declared = Object.entries(await shopServices());
    running = await startServices(
      Object.fromEntries(
        declared.map(([name, { fallback, ...real }]) => [name, kind === 'twin' && fallback ? fallback : real]),
      ),
    );
  });
  afterAll(() => running?.stop());

  const post = async (name: string, path: string, data: unknown) => {
    const response = await fetch(`${running?.origin(name)}${path}`, { method: 'POST', body: JSON.stringify(data) });
    expect(response.status).toBe(200);
    return { type: response.headers.get('ce-type'), data: await response.json() };
  };

  test('reserve and ship', async ({ skip }) => {
    if (!running) skip(missing);
    for (const [index, expected] of orders.entries()) {
      const events = expectedEvents(expected, `order-${index}`);
      const reply = await post('inventory', '/reserve', events['order.created']);
      expect(reply).toEqual({ type: expected.inventory, data: events[expected.inventory] });
      if (expected.inventory === 'stock.rejected') continue;
      expect((await post('orders-shipping', '/book', reply.data)).data).toEqual(events['shipment.booked']);
    }
  });

  test('answer the URLs of the enrichment', async ({ skip }) => {
    if (!running) skip(missing);
    const urls = compileTemplate(step('enrich')?.fanout?.urls);
    for (const expected of orders) {
      const found = (await urls.render(expectedEvents(expected, 'id-1')['order.scored'])) as string[];
      expect(found).toHaveLength(expected.results.length);
      for (const [index, url] of found.entries()) {
        const { hostname, pathname, search } = new URL(url);
        const response = await fetch(`${running?.origin(hostname)}${pathname}${search}`);
        const data = await response.json();
        expect({ status: response.status, ...(response.ok && { data }) }, url).toEqual(expected.results[index]);
      }
    }
  });
});
