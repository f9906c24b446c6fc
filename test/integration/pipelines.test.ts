/** Pipelines under `levada up`, and the commands that look at them: with handlers that are servers of this process. */
import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { EventPipeline } from '../../api/v1alpha1/event-pipeline.ts';
import type { LiveStep, LocalResource } from '../../cli/up/admin.ts';
import { type HandlerServer, handlerServer } from '../../runtime/steps/testing.ts';
import { type Running, Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';

let workspace: Workspace;
let handler: HandlerServer;
let status = 204;

beforeEach(async () => {
  workspace = await Workspace.create();
  status = 204;
  handler = await handlerServer((res, { url }) => {
    res.writeHead(url === '/fail' ? 400 : status, { 'content-type': 'application/json' });
    res.end(status === 200 ? '{"ok":true}' : undefined);
  });
});
afterEach(async () => {
  await workspace[Symbol.asyncDispose]();
  await handler[Symbol.asyncDispose]();
});

const step = (name: string, more: object) => ({ name, consumes: ['a.in'], ...more });
const call = (path = '/', name = 'handler') => ({ http: { url: `http://${name}${path}` } });
const pipeline = (
  steps: object[],
  name = 'flow',
  sources: object[] = [{ name: 'api', emits: 'a.in', http: { path: '/in' } }],
) => ({
  apiVersion: 'levada.dev/v1alpha1',
  kind: 'EventPipeline',
  metadata: { name },
  spec: { sources, steps },
});
const writeLocal = (hosts: Record<string, string> = { handler: handler.url }) =>
  workspace.write('res/levada.local.yaml', { mounts: { '/models': '../models' }, hosts });

async function up(...resources: Array<{ metadata: { name: string } }>): Promise<Running> {
  await writeLocal();
  for (const resource of resources) await workspace.write(`res/${resource.metadata.name}.json`, resource);
  const running = workspace.spawn(['up', 'res']);
  for (const { metadata } of resources) await running.says(`${metadata.name}: Running`);
  return running;
}

async function post(body: unknown, source = 'flow-api'): Promise<number> {
  const { services } = await workspace.get(source.split('-')[0]);
  const response = await fetch(`${services[source]}/in`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return response.status;
}

/** What `levada status NAME -o json` prints of the steps, this moment. */
async function steps(name = 'flow'): Promise<Record<string, LiveStep>> {
  const live = await workspace.ask<LiveStep[]>('/steps', { pipeline: `default/${name}` });
  return Object.fromEntries(live.map((entry) => [entry.name, entry]));
}

const counted = (name: string, end: 'done' | 'dead' | 'skipped', count: number, of = 'flow') =>
  until(`${count} ${end} in ${name}`, async () => ((await steps(of))[name]?.counts?.[end] ?? 0) >= count);

test('dead letters: listed, shown, replayed, dropped; every verb with its exit code', async () => {
  await up(pipeline([step('good', call()), step('bad', call('/fail'))]));
  // One after the other: those under way together may fail in any order.
  for (const order of [1, 2, 3]) {
    expect(await post({ order })).toBe(202);
    await counted('bad', 'dead', order);
  }

  const table = await workspace.levada('dlq', 'flow', 'ls');
  expect(table.stdout).toMatch(/^STEP {3}ID +TYPE +REASON +ATTEMPT +AGE +ERROR$/m);
  expect(table.stdout.match(/^bad .* a\.in +HandlerRejected +1 .*the handler answered 400/gm)).toHaveLength(3);
  const listed = JSON.parse((await workspace.levada('dlq', 'flow', 'ls', '-o', 'json')).stdout) as {
    items: Array<{ id: string; data: unknown; step: string; traceId: string }>;
  };
  expect(listed.items.map(({ data }) => data)).toEqual([{ order: 1 }, { order: 2 }, { order: 3 }]);
  const [first, second] = listed.items;

  const shown = await workspace.levada('dlq', 'flow', 'show', first!.id);
  expect(shown.stdout).toContain(`id:       ${first!.id}`);
  expect(shown.stdout).toContain('"order": 1');
  expect(shown.stdout).toContain(`traceId:  ${first!.traceId}`);
  expect(await workspace.levada('dlq', 'flow', 'show', 'nothing')).toMatchObject({ code: 1 });
  expect(await workspace.levada('dlq', 'flow', 'replay')).toMatchObject({ code: 2 });
  expect(await workspace.levada('dlq', 'flow', 'drop', first!.id, '--all')).toMatchObject({ code: 2 });
  expect(await workspace.levada('dlq', 'flow', 'burn')).toMatchObject({ code: 2 });
  expect(await workspace.levada('dlq', 'flow', 'ls', '--limit', 'x')).toMatchObject({ code: 2 });
  expect(await workspace.levada('dlq', 'none', 'ls')).toMatchObject({ code: 1 });

  expect(await workspace.levada('dlq', 'flow', 'drop', first!.id)).toMatchObject({
    code: 0,
    stdout: '1 dead letter dropped\n',
  });
  expect(await workspace.levada('dlq', 'flow', 'replay', second!.id)).toMatchObject({
    code: 0,
    stdout: '1 dead letter replayed\n',
  });
  await counted('bad', 'dead', 4);
  // The handler is called again under another key; the step that was fine is not called again.
  const keys = handler.requests.filter(({ url }) => url === '/fail').map(({ headers }) => headers['idempotency-key']);
  expect(new Set(keys).size).toBe(4);
  expect((await steps())['good']?.counts).toMatchObject({ done: 3 });

  await workspace.write('res/flow.json', pipeline([step('good', call()), step('bad', call('/ok'))]));
  await until('the edit', async () => (await workspace.get('flow')).metadata.generation === 2);
  expect(
    (await workspace.levada('dlq', 'flow', 'replay', '--all', '--step', 'bad', '--reason', 'HandlerRejected')).stdout,
  ).toBe('2 dead letters replayed\n');
  await counted('bad', 'done', 2);
  expect(await workspace.levada('dlq', 'flow', 'replay', '--all')).toMatchObject({ code: 1 });
  expect((await workspace.levada('dlq', 'flow', 'ls')).stdout).toBe('no dead letters\n');
});

test('dead letters of a step that is gone stay, and are not replayed into a queue that nobody empties', async () => {
  await up(pipeline([step('good', call()), step('bad', call('/fail'))]));
  await post({ order: 1 });
  await counted('bad', 'dead', 1);
  await workspace.write('res/flow.json', pipeline([step('good', call())]));
  await until('its consumer is gone', async () => {
    const { status: said } = await workspace.get<EventPipeline>('flow');
    return said?.steps.some(({ name, state }) => name === 'bad' && state === 'Draining');
  });
  const refused = await until('it is refused', async () => {
    const found = await workspace.levada('dlq', 'flow', 'replay', '--all', '--step', 'bad');
    // The code of the error, Usage, says how the command ends.
    return found.code === 2 && found;
  });
  expect(refused.stderr).toContain('the step bad is gone from the pipeline');
  expect((await workspace.levada('dlq', 'flow', 'replay', '--all')).stdout).toBe('0 dead letters replayed\n');
  expect((await steps())['bad']).toMatchObject({ dead: 1, waiting: 0 });
  expect((await workspace.levada('dlq', 'flow', 'drop', '--all')).stdout).toBe('1 dead letter dropped\n');
});

test('get and status show pipelines beside models; metrics agree', async () => {
  const running = await up(pipeline([step('good', call()), step('never', { ...call(), when: 'false' })]));
  expect(running.output).toContain('they end with it');
  await post({});
  await counted('good', 'done', 1);
  await counted('never', 'skipped', 1);
  const { stdout } = await workspace.levada('get');
  expect(stdout).toMatch(/^NAME +READY +STEPS +BACKLOG +DEAD +REASON +AGE\nflow +True +2\/2 +0 +0 +Running/);
  const text = (await workspace.levada('status', 'flow')).stdout;
  expect(text).toMatch(/^STEP +RATE +BACKLOG +IN FLIGHT +DEAD +DONE +SKIPPED +RETRIED +BREAKER +MESSAGE$/m);
  expect(text).toMatch(/^good +\d\.\d\/s +0 +0 +0 +1 +0 +0 +Closed/m);
  const url = /^flow +(http\S+\/metrics)$/m.exec(text)?.[1] ?? '';
  const metrics = await (await fetch(url)).text();
  expect(metrics).toContain('levada_step_messages_total{pipeline="default/flow",step="good",end="done"} 1');
  expect(metrics).toContain('levada_step_messages_total{pipeline="default/flow",step="never",end="skipped"} 1');
  expect(metrics).toContain('levada_source_requests_total{pipeline="default/flow",source="api",code="202",error=""} 1');
});

test("another pipeline's events come through an event source, under another name, with the same id", async () => {
  const second = pipeline([{ name: 'take', consumes: ['b.in'], ...call('/second') }], 'second', [
    { name: 'first', emits: 'b.in', event: { pipeline: 'flow', type: 'a.in' } },
  ]);
  await up(pipeline([step('good', call('/first'))]), second);
  await post({ order: 1 });
  await counted('take', 'done', 1, 'second');
  await counted('good', 'done', 1);
  const [a, b] = ['/first', '/second'].map((path) => handler.requests.find(({ url }) => url === path)!);
  expect(b!.headers['ce-type']).toBe('b.in');
  expect(b!.headers['ce-id']).toBe(a!.headers['ce-id']);
  expect(b!.body).toBe(a!.body);
  expect(b!.headers['traceparent']?.slice(0, 35)).toBe(a!.headers['traceparent']?.slice(0, 35));
});

test('a pipeline that is removed handles what is in its queues first', async () => {
  const running = await up(pipeline([step('good', call())]), pipeline([step('other', call())], 'other'));
  status = 503;
  await post({ order: 1 });
  await until('a first attempt', () => handler.requests.length > 0);
  const { rename } = await import('node:fs/promises');
  await rename(workspace.path('res/flow.json'), workspace.path('flow.gone'));
  await until('it is gone', async () => {
    const resources = await workspace.ask<LocalResource[]>('/resources');
    return resources.every(({ resource }) => resource.metadata.name !== 'flow');
  });
  status = 204;
  await until('a second attempt', () => handler.requests.length > 1);
  expect(running.output).not.toContain('dead letters with it');
});

test('a run that ends says what ends with it', async () => {
  const running = await up(pipeline([step('bad', call('/fail'))]));
  await post({});
  await counted('bad', 'dead', 1);
  const { stdout, code } = await running.interrupt();
  expect(stdout).toContain('flow: 0 waiting messages and 1 dead letters end with this run');
  expect(code).toBe(0);
});

test('a container step without a command, and a host that nothing knows: the step waits and says what to do', async () => {
  await writeLocal();
  const resource = pipeline([step('image', { container: { image: 'x:1' } }), step('lost', call('/', 'nowhere'))]);
  await workspace.write('res/flow.json', resource);
  const running = workspace.spawn(['up', 'res']);
  await running.says('flow: ');
  await until('it takes events', async () => (await workspace.get('flow')).services['flow-api'] !== undefined);
  expect(await post({})).toBe(202);
  const text = await until('both breakers are open', async () => {
    await post({});
    if (Object.values(await steps()).some(({ breaker }) => breaker !== 'Open')) return false;
    const { stdout } = await workspace.levada('status', 'flow');
    return /^image .*Open/m.test(stdout) && /^lost .*Open/m.test(stdout) && stdout;
  });
  expect(text).toMatch(/^image .* the host "flow-image" does not resolve: .*services/m);
  expect(text).toMatch(/^lost .* the host "nowhere" does not resolve/m);
  expect(text).toMatch(/^Ready +False .*StepWaiting/m);
});

test('a resource that is not accepted leaves what ran as it was, and says why', async () => {
  await up(pipeline([step('good', call())]));
  await workspace.write('res/flow.json', pipeline([step('good', { ...call(), consumes: ['a.typo'] })]));
  const ready = await until('it is refused', async () => {
    const { status: said } = await workspace.get('flow');
    return said?.conditions.find(({ type, status: value }) => type === 'Accepted' && value === 'False');
  });
  expect(ready.reason).toBe('EventNotEmitted');
  expect(ready.message).toMatch(/spec\.steps\[0\]\.consumes\[0\].*a\.typo.*What ran before goes on/);
  expect(await post({})).toBe(202);
  await counted('good', 'done', 1);
});

test("the guide's example is valid", async () => {
  const guide = await readFile('docs/guides/pipelines.md', 'utf8');
  const [, yaml = ''] = /```yaml\n(apiVersion[\s\S]*?)```/.exec(guide) ?? [];
  await workspace.write('guide/orders.yaml', yaml);
  expect(await workspace.levada('validate', 'guide')).toMatchObject({ code: 0, stdout: '1 resource is valid\n' });
});
