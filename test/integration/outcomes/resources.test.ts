/** Rows of docs/guides/outcomes.md: mistakes in the resource, made while it runs. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OutcomeShop, rowsOf, shares } from '../../support/outcomes.ts';
import { until } from '../../support/wait.ts';

type Step = Record<string, unknown>;
type Edit = (
  steps: Step[],
  step: (name: string) => Step,
  spec: { sources: object[]; events: Record<string, unknown> },
) => void;

let run: OutcomeShop;
beforeAll(async () => {
  run = await OutcomeShop.start();
});
afterAll(() => run?.[Symbol.asyncDispose]());

/** The edit, the code, what its message says; `whole`: the edit is refused, and makes no status. */
const rows: Record<string, { edit: Edit; code: string; says: RegExp; whole?: boolean }> = {
  'resource-expression': {
    edit: (_, step) => Object.assign(step('flag'), { when: 'fraud > (' }),
    code: 'ExpressionInvalid',
    says: /spec\.steps\[4\]\.when: not an expression: .*position/,
  },
  'resource-regex': {
    edit: (_, step) => Object.assign(step('flag'), { when: '$contains(order_id, /(a)\\1/)' }),
    code: 'ExpressionInvalid',
    says: /spec\.steps\[4\]\.when/,
  },
  'resource-schema': {
    edit: (_, __, { events }) => Object.assign(events, { 'order.scored': { schema: { type: 'objekt' } } }),
    code: 'SchemaInvalid',
    says: /spec\.events\[?.*order\.scored.*schema/,
  },
  'resource-assign': {
    edit: (_, __, { sources }) =>
      Object.assign((sources[0] as { http: { assign: object } }).http.assign, { status: 'done' }),
    code: 'AssignBreaksSchema',
    says: /spec\.sources\[0\]\.http\.assign\.status.*"done"/,
  },
  'resource-not-emitted': {
    edit: (_, step) => Object.assign(step('flag'), { consumes: ['order.scord'] }),
    code: 'EventNotEmitted',
    says: /spec\.steps\[4\]\.consumes\[0\].*order\.scord.*emitted are: .*order\.scored/,
  },
  'resource-cycle': {
    edit: (_, step) => Object.assign(step('flag'), { emits: ['order.scored'] }),
    code: 'EventCycle',
    says: /flag emits order\.scored/,
  },
  'resource-model': {
    edit: (_, step) => Object.assign(step('score')['model'] as object, { ref: 'frod' }),
    code: 'ModelNotFound',
    says: /spec\.steps\[2\]\.model\.ref.*"frod".*there are: fraud/,
  },
  'resource-duplicate': {
    edit: (steps, step) => void steps.push(step('flag')),
    code: 'DuplicateName',
    says: /the name "flag" is used twice/,
    whole: true,
  },
  'resource-duration': {
    edit: (_, step) => Object.assign(step('enrich')['fanout'] as object, { timeout: '5 minutes' }),
    code: 'InvalidValue',
    says: /fanout\.timeout: found "5 minutes"/,
    whole: true,
  },
  'resource-yaml-trap': {
    edit: (_, step) => Object.assign(step('flag'), { emits: ['ON'] }),
    code: 'InvalidType',
    says: /emits\[0\]: found on \(a boolean for kubectl: quote it\)/,
    whole: true,
  },
};

const accepted = async () => (await run.shop.resource()).status?.conditions.find(({ type }) => type === 'Accepted');

test('every row of the guide has a test', () => {
  expect(Object.keys(rows).sort()).toEqual(rowsOf(...shares.resources).sort());
});

test.each(Object.entries(rows))('%s', async (name, { edit, code, says, whole }) => {
  const from = run.shop.running.output.length;
  const before = await run.shop.resource();
  await run.edit(({ steps, sources, events }) => {
    edit(steps, (wanted) => steps.find((entry) => entry['name'] === wanted) as Step, { sources, events });
  });
  if (name === 'resource-yaml-trap') await unquote();
  if (whole) {
    await run.shop.running.says('the edit is refused as a whole', { from });
    expect(run.shop.running.output.slice(from)).toMatch(says);
    expect(run.shop.running.output.slice(from)).toContain(`(${code})`);
    expect((await run.shop.resource()).metadata.generation).toBe(before.metadata.generation);
  } else {
    const found = await until(`${code}`, async () => {
      const condition = await accepted();
      return condition?.status === 'False' && condition.reason === code && condition;
    });
    expect(found.message).toMatch(says);
  }
  const validated = await run.shop.workspace.levada('validate', 'shop');
  expect(validated.stdout + validated.stderr).toContain(`(${code})`);
  expect(validated.code).toBe(code === 'ModelNotFound' ? 0 : 1);
  // What ran before goes on.
  await run.emitted('order.enriched', await run.order());
  await run.edit(() => {});
  await until('it is mended', async () => (await accepted())?.status === 'True');
});

/** As a person writes it: `emits: [on]`. */
async function unquote(): Promise<void> {
  const { readFile } = await import('node:fs/promises');
  const file = run.shop.workspace.path('shop/shop.yaml');
  const text = await readFile(file, 'utf8');
  await run.shop.workspace.write('shop/shop.yaml', text.replace(/- "?ON"?\n/, '- on\n'));
}
