/** Rows of docs/guides/outcomes.md: expressions, models, fan-out. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OutcomeShop, rowsOf, shares } from '../../support/outcomes.ts';
import { until } from '../../support/wait.ts';

const ghost = `---
apiVersion: levada.dev/v1alpha1
kind: ModelDeployment
metadata: { name: ghost }
spec: { versions: [{ name: v1, uri: "file:///models/ghost" }] }
`;

let run: OutcomeShop;
beforeAll(async () => {
  run = await OutcomeShop.start(({ steps }) => {
    /** A step that one user's orders reach. */
    const forUser = (user: number, name: string, more: object) =>
      steps.push({ name, consumes: ['order.created'], when: `user_id = ${user}`, emits: ['x.done'], ...more });
    forUser(1, 'type', { when: 'user_id = 1 ? status : false', transform: '{% $ %}' });
    forUser(2, 'fails', { transform: '{% $number(status) %}' });
    forUser(3, 'endless', { transform: '{% ( $f := function($x) { $f($x) }; $f(1) ) %}' });
    forUser(4, 'recursion', { transform: '{% ( $f := function($x) { 1 + $f($x) }; $f(1) ) %}' });
    forUser(5, 'input', { model: { ref: 'fraud', inputs: { X: '{% [total_amount, 2] %}' } } });
    forUser(6, 'absent', { model: { ref: 'ghost', inputs: { X: '{% [1] %}' } } });
    const urls =
      "{% ['http://nowhere/x', 'http://inventory/stock/mouse', 'http://169.254.169.254/latest/meta-data'] %}";
    const output = "{% { 'order_id': order_id, 'results': $results } %}";
    forUser(7, 'fan', { fanout: { urls, output, timeout: '2s' }, emits: ['fan.out'] });
    Object.assign(steps.find(({ name }) => name === 'sink')!, { consumes: ['order.enriched', 'fan.out'] });
  }, ghost);
});
afterAll(() => run?.[Symbol.asyncDispose]());

const counts = async (name: string) => (await run.shop.steps())[name]?.counts;

async function dies(user: number, step: string, reason: string, error: RegExp): Promise<void> {
  const letter = await run.dead(step, await run.order({ user_id: user }));
  expect(letter).toMatchObject({ reason, attempt: 1 });
  expect(letter.error).toMatch(error);
}

const rows: Record<string, () => Promise<void>> = {
  async 'when-false'() {
    await run.shop.idle();
    const before = (await counts('fan'))?.skipped ?? 0;
    await run.emitted('order.enriched', await run.order({ user_id: 100 }));
    await until('it is skipped', async () => ((await counts('fan'))?.skipped ?? 0) === before + 1);
  },
  'when-type': () => dies(1, 'type', 'ExpressionWrongType', /found "pending"; allowed: true or false/),
  'expression-fails': () => dies(2, 'fails', 'ExpressionFailed', /pending/),
  'expression-endless': () => dies(3, 'endless', 'ExpressionLimit', /steps|step/),
  'expression-recursion': () => dies(4, 'recursion', 'ExpressionLimit', /deep|depth|steps/),
  'model-input': () => dies(5, 'input', 'ModelInputMismatch', /inputs\.X.*model fraud takes/),
  async 'model-not-ready'() {
    await Promise.all([1, 2, 3].map(() => run.order({ user_id: 6 })));
    const open = await until('the breaker is open', async () => {
      const found = (await run.shop.steps())['absent'];
      return found?.breaker !== 'Closed' && found;
    });
    expect(open).toMatchObject({ dead: 0 });
    expect(open.message).toMatch(/not ready|no model|is not there/);
  },
  async 'fanout-url-fails'() {
    const id = await run.order({ items: ['fault:500', 'laptop', 'fault:hang'], user_id: 8 });
    const { data } = await run.emitted('order.enriched', id);
    const results = data['results'] as Array<{ status: unknown; error?: string; data?: { item?: string } }>;
    expect(results.map(({ status }) => status)).toEqual(['error', 200, 'timeout', 200, 200]);
    expect(results[0]?.error).toContain('500');
    expect(results[1]?.data?.item).toBe('laptop');
    const { data: fan } = await run.emitted('fan.out', await run.order({ user_id: 7 }));
    expect(fan['results']).toMatchObject([{ status: 'error' }, { status: 200 }, { status: 'error' }]);
  },
  async 'fanout-metadata'() {
    const { data } = await run.emitted('fan.out', await run.order({ user_id: 7 }));
    const [, , metadata] = data['results'] as Array<{ url: string; status: unknown; error: string }>;
    expect(metadata).toMatchObject({ url: 'http://169.254.169.254/latest/meta-data', status: 'error' });
    expect(metadata?.error).toMatch(/link-local|metadata/);
  },
  async duplicate() {
    await run.shop.idle();
    const before = await counts('inventory');
    const event = {
      'ce-specversion': '1.0',
      'ce-id': 'twice',
      'ce-source': '/test',
      'ce-type': 'order.created',
    };
    const order = { items: ['laptop'], user_id: 9, total_amount: 1 };
    for (const _ of [1, 2]) expect((await run.shop.post(order, event)).status).toBe(200);
    await until(
      'the second one is known',
      async () => (await counts('inventory'))?.duplicate === (before?.duplicate ?? 0) + 1,
    );
    expect((await counts('inventory'))?.done).toBe((before?.done ?? 0) + 1);
  },
};

test('every row of the guide has a test', () => {
  expect(Object.keys(rows).sort()).toEqual(rowsOf(...shares.expressions).sort());
});

// What leaves something waiting comes last.
const inOrder = Object.entries(rows).sort(
  ([a], [b]) => Number(a === 'model-not-ready') - Number(b === 'model-not-ready'),
);
test.each(inOrder)('%s', (_, check) => check());
