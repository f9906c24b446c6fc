/** Edits of a pipeline under load: those that are valid lose nothing, twenty that are not change nothing. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import type { EventPipeline } from '../../api/v1alpha1/event-pipeline.ts';
import { Shop } from '../support/shop-up.ts';
import { root } from '../support/up.ts';
import { until } from '../support/wait.ts';

type Spec = { sources: Part[]; steps: Part[]; events: Record<string, unknown> };
type Part = Record<string, unknown> & { name: string };

/** Of the valid ones, which are drawn at random. `npm run prove -- local` has fifty. */
const edits = process.env['LEVADA_PROVE'] ? 50 : 20;
const seed = Number(process.env['LEVADA_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
let state = seed;
/** In [0, below). A linear congruence is random enough to choose edits. */
const pick = (below: number): number => {
  state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
  return Math.floor((state / 2 ** 31) * below);
};

let shop: Shop;
let sink: ChildProcess;
let client: ChildProcess;
let pristine: { spec: Spec };
let rest: string;
const posted: Array<{ status: number; order_id?: string }> = [];

const sinkFile = () => shop.workspace.path('sink.jsonl');
const sinkStep = (type: string) => ({
  name: `to-${type.replace('.', '-')}`,
  consumes: [type],
  http: { url: 'http://sink/' },
});

beforeAll(async () => {
  console.log(`seed ${seed}`);
  shop = await Shop.start(async (workspace) => {
    sink = spawn(process.execPath, [join(root, 'test/support/sink.ts'), workspace.path('sink.jsonl')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [port] = (await once(sink.stdout!, 'data')) as [Buffer];
    const local = readFileSync(workspace.path('shop/levada.local.yaml'), 'utf8');
    await workspace.write(
      'shop/levada.local.yaml',
      `${local}hosts: { sink: "http://127.0.0.1:${String(port).trim()}" }\n`,
    );
    const [first = '', second = ''] = readFileSync(workspace.path('shop/shop.yaml'), 'utf8').split('---\n');
    pristine = parse(first) as { spec: Spec };
    pristine.spec.steps.push(...['stock.reserved', 'stock.rejected', 'order.scored', 'order.enriched'].map(sinkStep));
    rest = second;
    await workspace.write('shop/shop.yaml', text(pristine));
  });
  const url = `${shop.services['orders-api']}/orders/`;
  client = spawn(process.execPath, [join(root, 'test/support/orders-client.ts'), url, '0', '2', String(seed), '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  createInterface({ input: client.stdout! }).on('line', (line) =>
    posted.push(JSON.parse(line) as (typeof posted)[number]),
  );
});
afterAll(async () => {
  client?.kill('SIGKILL');
  sink?.kill('SIGKILL');
  await shop?.[Symbol.asyncDispose]();
});

const text = (resource: object): string => `${stringify(resource)}---\n${rest}`;
const copy = (): { spec: Spec } => structuredClone(pristine);
const step = ({ spec }: { spec: Spec }, name: string): Part => spec.steps.find((entry) => entry.name === name)!;
const write = (resource: object) => shop.workspace.write('shop/shop.yaml', text(resource));

/** Each makes the pipeline another one, without taking away what the ledger counts. */
const valid: Array<(resource: { spec: Spec }, turn: number) => void> = [
  ({ spec }, turn) =>
    void spec.steps.push({ ...sinkStep('order.created'), name: `extra-${turn}`, when: 'total_amount > 50' }),
  ({ spec }, turn) =>
    void spec.steps.push({
      name: `calc-${turn}`,
      consumes: ['order.scored'],
      transform: '{% {"x": fraud} %}',
      emits: ['x.y'],
    }),
  (resource) => Object.assign(step(resource, 'inventory'), { concurrency: 1 + pick(30) }),
  (resource) => Object.assign(step(resource, 'inventory'), { retry: { maxAttempts: 5 + pick(5) } }),
  (resource) => Object.assign(step(resource, 'enrich')['fanout'] as object, { timeout: `${1 + pick(5)}s` }),
  (resource) => Object.assign(step(resource, 'score'), { concurrency: 1 + pick(60) }),
  (resource) => Object.assign(step(resource, 'flag'), { when: `fraud > 0.${1 + pick(9)}` }),
  (resource) =>
    Object.assign(step(resource, 'shipping'), { idempotency: { key: 'order_id', retention: `${1 + pick(9)}h` } }),
  ({ spec }) =>
    Object.assign(spec.events, { 'order.scored': { schema: { type: 'object', required: ['order_id', 'fraud'] } } }),
  ({ spec }) => {
    spec.steps.reverse();
  },
  (resource) => Object.assign(step(resource, 'to-order-scored')['http'] as object, { timeout: `${2 + pick(8)}s` }),
];

/** An edit that leaves the resource a resource. */
const changed = (edit: (resource: { spec: Spec }) => void) => (resource: { spec: Spec }) => {
  edit(resource);
  return resource;
};

const invalid: Array<[name: string, edit: (resource: { spec: Spec }) => object | string, reason?: string]> = [
  ['broken YAML', () => 'spec: [oops\n'],
  ['a tab', () => 'spec:\n\tsteps: []\n'],
  ['a key twice', () => 'apiVersion: a\napiVersion: b\n'],
  ['an unknown field', (r) => ({ ...r, spec: { ...r.spec, stepz: [] } })],
  ['an unknown kind', (r) => ({ ...r, kind: 'EventPipelines' })],
  ['no steps', (r) => ({ ...r, spec: { ...r.spec, steps: [] } })],
  ['two steps with one name', changed((r) => void r.spec.steps.push(sinkStep('order.scored')))],
  [
    'a step without a member',
    changed((r) => {
      delete step(r, 'inventory')['http'];
    }),
  ],
  ['a step with two', changed((r) => void Object.assign(step(r, 'inventory'), { transform: '{% 1 %}' }))],
  [
    'a duration in words',
    changed((r) => void Object.assign(step(r, 'enrich')['fanout'] as object, { timeout: '5 minutes' })),
  ],
  ['a number for a name', changed((r) => void Object.assign(step(r, 'flag'), { name: 12 }))],
  ['a boolean for a type', changed((r) => void Object.assign(step(r, 'flag'), { emits: [true] }))],
  ['concurrency 0', changed((r) => void Object.assign(step(r, 'score'), { concurrency: 0 }))],
  [
    'an event that nothing emits',
    changed((r) => void Object.assign(step(r, 'flag'), { consumes: ['order.scred'] })),
    'EventNotEmitted',
  ],
  ['a circle', changed((r) => void Object.assign(step(r, 'flag'), { emits: ['order.scored'] })), 'EventCycle'],
  ['a bad expression', changed((r) => void Object.assign(step(r, 'flag'), { when: 'fraud >' })), 'ExpressionInvalid'],
  ['$eval', changed((r) => void Object.assign(step(r, 'flag'), { when: '$eval("true")' })), 'ExpressionInvalid'],
  [
    'no such model',
    changed((r) => void Object.assign(step(r, 'score')['model'] as object, { ref: 'frod' })),
    'ModelNotFound',
  ],
  [
    'a bad schema',
    changed((r) => void Object.assign(r.spec.events, { 'order.scored': { schema: { type: 'objekt' } } })),
    'SchemaInvalid',
  ],
  ['an assigned value that breaks the schema', (r) => assignStatus(r, 'done'), 'AssignBreaksSchema'],
];

function assignStatus(resource: { spec: Spec }, status: string): object {
  const http = resource.spec.sources[0]!['http'] as { assign: Record<string, unknown> };
  http.assign['status'] = status;
  return resource;
}

const sunk = () =>
  readFileSync(sinkFile(), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { type: string; data: { order_id: string } });
const condition = ({ status }: EventPipeline, type: string) => status?.conditions.find((entry) => entry.type === type);
/** Traffic goes on: so many more answers. */
const flows = (count: number) => {
  const from = posted.length;
  return until(`${count} more orders`, () => posted.length >= from + count);
};

test(`${edits} valid edits under load lose nothing, and fail no request`, { timeout: 900_000 }, async () => {
  await flows(50);
  for (let turn = 0; turn < edits; turn++) {
    const { metadata } = await shop.resource();
    const next = copy();
    const chosen = new Set(Array.from({ length: 1 + pick(3) }, () => valid[pick(valid.length)]!));
    // Each once: a step that is added twice would have the name of another one.
    for (const edit of chosen) edit(next, turn);
    // No two are the same once defaults are filled in.
    Object.assign((next.spec.sources[0]!['http'] as { response: { body: object } }).response.body, { turn });
    await write(next);
    await until(`edit ${turn} is taken up`, async () => {
      const now = await shop.resource();
      const accepted = condition(now, 'Accepted');
      if (accepted?.status !== 'True') throw new Error(accepted?.message);
      return (
        (now.metadata.generation ?? 0) > (metadata.generation ?? 0) &&
        now.status?.observedGeneration === now.metadata.generation
      );
    });
    await flows(5);
  }
  await write(pristine);
  await until('the first one is back', async () =>
    Object.keys(await shop.steps()).every((name) => !/^(extra|calc)-/.test(name)),
  );
});

test('twenty invalid edits change nothing', { timeout: 900_000 }, async () => {
  expect(invalid).toHaveLength(20);
  for (const [name, edit, reason] of invalid) {
    const before = await shop.resource();
    const from = shop.running.output.length;
    const next = edit(copy());
    await shop.workspace.write('shop/shop.yaml', typeof next === 'string' ? next : text(next));
    if (reason === undefined) {
      await shop.running.says('the edit is refused as a whole; what ran goes on running', { from });
      const now = await shop.resource();
      expect([name, now.metadata.generation, now.spec]).toEqual([name, before.metadata.generation, before.spec]);
    } else {
      const said = await until(`${name} is not accepted`, async () => {
        const accepted = condition(await shop.resource(), 'Accepted');
        return accepted?.status === 'False' && accepted;
      });
      expect([name, said.reason]).toEqual([name, reason]);
      expect(said.message).toContain('What ran before goes on');
    }
    const counts = (await shop.steps())['enrich']?.counts?.done ?? 0;
    await flows(5);
    await until(`${name}: events still end`, async () => ((await shop.steps())['enrich']?.counts?.done ?? 0) > counts);
    await write(pristine);
    await until(`${name} is undone`, async () => {
      const now = await shop.resource();
      return (
        condition(now, 'Accepted')?.status === 'True' && now.status?.observedGeneration === now.metadata.generation
      );
    });
  }
});

test('every order that was accepted has come to its end', { timeout: 300_000 }, async () => {
  const ended = once(client, 'close');
  client.kill('SIGTERM');
  await ended;
  const refused = posted.filter(({ status }) => status !== 200);
  expect(refused).toEqual([]);
  const steps = await shop.idle();
  const events = sunk();
  const ids = (type: string) =>
    events
      .filter((entry) => entry.type === type)
      .map(({ data }) => data.order_id)
      .sort();
  const accepted = posted.map(({ order_id }) => order_id).sort();
  console.log(`${accepted.length} orders`);
  expect(ids('order.scored')).toEqual(accepted);
  expect(ids('order.enriched')).toEqual(accepted);
  expect([...ids('stock.reserved'), ...ids('stock.rejected')].sort()).toEqual(accepted);
  expect(await shop.deadLetters()).toEqual([]);
  expect(steps['inventory']?.counts?.done).toBe(accepted.length);
});
