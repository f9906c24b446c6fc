import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from './testing.ts';
import { validateCommand } from './validate.ts';

let folder: string;
beforeAll(async () => {
  folder = relative(process.cwd(), await mkdtemp(join(tmpdir(), 'levada-validate-')));
  const head = (name: string) =>
    `apiVersion: levada.dev/v1alpha1\nkind: ModelDeployment\nmetadata: { name: ${name} }\nspec:\n`;
  await writeFile(
    join(folder, 'good.yaml'),
    `${head('good')}  versions: [{ name: v1, uri: file:///m }]\n---\nkind: ConfigMap\napiVersion: v1\nmetadata: { name: db }\n`,
  );
  await writeFile(join(folder, 'bad.yaml'), `${head('no')}  versions:\n  - { name: v1, ury: file:///m }\n`);
});
afterAll(() => rm(folder, { recursive: true }));

describe('levada validate', () => {
  it('says that all is well, and what it left out', async () => {
    expect(await run(validateCommand(), join(folder, 'good.yaml'))).toEqual({
      stdout: '1 resource is valid\n',
      stderr: `${folder}/good.yaml: ignored: v1 ConfigMap db (not a levada.dev kind)\n`,
      exitCode: 0,
    });
  });

  it('prints every problem with its place', async () => {
    const { stdout, exitCode } = await run(validateCommand(), folder, 'nowhere.yaml');
    expect(stdout.replaceAll(`${folder}/`, '').split('\n')).toEqual([
      'nowhere.yaml: no such file or folder (FileNotFound)',
      'bad.yaml:3:19: metadata.name: found no (a boolean for kubectl: quote it); allowed: a string (InvalidType)',
      'bad.yaml:6:5: spec.versions[0].uri: required, but missing (MissingField)',
      'bad.yaml:6:17: spec.versions[0].ury: unknown field `ury`; allowed: name, uri, sha256, secretRef (did you mean uri?) (UnknownField)',
      '4 problems in 2 files',
      '',
    ]);
    expect(exitCode).toBe(1);
  });

  it('prints a form for machines', async () => {
    const good = await run(validateCommand(), '-o', 'json', join(folder, 'good.yaml'));
    const file = `${folder}/good.yaml`;
    expect(JSON.parse(good.stdout)).toEqual({
      valid: true,
      resources: [{ kind: 'ModelDeployment', name: 'default/good', file, line: 1 }],
      problems: [],
      notes: [`${file}: ignored: v1 ConfigMap db (not a levada.dev kind)`],
    });
    const bad = await run(validateCommand(), '-o', 'json', join(folder, 'bad.yaml'));
    expect(JSON.parse(bad.stdout)).toMatchObject({
      valid: false,
      problems: [{ line: 3, column: 19, code: 'InvalidType' }, {}, {}],
    });
    expect(bad.exitCode).toBe(1);
  });

  it.each([[[]], [['-o', 'xml', 'a']], [['--nonsense', 'a']]])('refuses the arguments %j', async (args) => {
    await expect(run(validateCommand(), ...args)).rejects.toMatchObject({ name: 'CommanderError' });
  });
});

describe('levada validate, between resources', () => {
  const head = (name: string, namespace = 'default') =>
    `apiVersion: levada.dev/v1alpha1\nkind: EventPipeline\nmetadata: { name: ${name}, namespace: ${namespace} }\nspec:\n`;
  const orders = `${head('orders')}
  events:
    order.created:
      schema: { type: object, properties: { status: { const: new } }, additionalProperties: false }
    order.create: {}
  sources:
  - name: api
    emits: order.created
    http:
      path: /orders/
      assign:
        status: old
        id: "{% ( %}"
  - { name: own, emits: order.copied, event: { pipeline: orders, type: order.created } }
  - name: other
    emits: order.shipped
    event:
      pipeline: shipping
      type: shiped
  steps:
  - name: check
    when: total >
    consumes:
    - order.created
    - order.paid
    http: { url: "http://checks:99999/" }
    emits: [order.created]
  - name: score
    consumes: [order.created]
    model: { ref: fraud, inputs: { X: "{% total %}" } }
    emits: [order.scored]
`;
  const shipping = (namespace?: string) => `${head('shipping', namespace)}
  sources: [{ name: api, emits: shipped, http: { path: / } }]
  steps: [{ name: log, consumes: [shipped], http: { url: http://log } }]
`;
  const follows = `${head('follows')}
  sources: [{ name: from, emits: left, event: { pipeline: shipping, type: shipped } }]
  steps: [{ name: score, consumes: [left], model: { ref: fraud, inputs: {} }, emits: [scored] }]
`;
  const fraud = `apiVersion: levada.dev/v1alpha1\nkind: ModelDeployment\nmetadata: { name: fraud }\nspec: { versions: [{ name: v1, uri: file:///m }] }\n`;

  /** Runs the command on files of a folder of their own; what it prints names them without the folder. */
  async function validated(files: Record<string, string>, ...args: string[]) {
    const own = await mkdtemp(join(folder, 'case-'));
    for (const [name, text] of Object.entries(files)) await writeFile(join(own, name), text);
    const { stdout, stderr, exitCode } = await run(validateCommand(), own, ...args);
    const lines = (text: string) => text.replaceAll(`${own}/`, '').split('\n').slice(0, -1);
    return { stdout: lines(stdout), stderr: lines(stderr), exitCode };
  }

  it('prints every mistake with its place; what is only missing is a note', async () => {
    const { stdout, stderr, exitCode } = await validated({ 'orders.yaml': orders, 'shipping.yaml': shipping() });
    const notAnExpression = expect.stringMatching(/: not an expression: .+ \(ExpressionInvalid\)$/);
    const emitted = 'emitted are: order.created, order.copied, order.shipped, order.scored (EventNotEmitted)';
    expect(stdout.map((line) => line.replace(/(?<=: )not an expression: .*/, '…'))).toEqual([
      `orders.yaml:9:5: spec.events[order.create]: nothing emits "order.create"; ${emitted}`,
      'orders.yaml:16:17: spec.sources[0].http.assign.status: no event could meet the schema of order.created: status: found "old"; allowed: new (AssignBreaksSchema)',
      'orders.yaml:17:13: spec.sources[0].http.assign.id: …',
      'orders.yaml:23:13: spec.sources[2].event.type: nothing emits "shiped"; emitted are: shipped (EventNotEmitted)',
      'orders.yaml:25:5: spec.steps[0]: events go round in a circle: check emits order.created, which check consumes (EventCycle)',
      'orders.yaml:26:11: spec.steps[0].when: …',
      `orders.yaml:29:7: spec.steps[0].consumes[1]: nothing emits "order.paid"; ${emitted}`,
      'orders.yaml:30:18: spec.steps[0].http.url: found "http://checks:99999/"; allowed: a URL with a host and a port that exist (InvalidValue)',
      '8 problems in 1 file',
    ]);
    expect([stdout[2], stdout[5]]).toEqual([notAnExpression, notAnExpression]);
    expect(stderr).toEqual([
      'note: orders.yaml:18:58: spec.sources[1].event.pipeline: there is no other EventPipeline "orders" in this namespace; there are: shipping (PipelineNotFound)',
      'note: orders.yaml:34:19: spec.steps[1].model.ref: there is no ModelDeployment "fraud" in this namespace; there are: none (ModelNotFound)',
    ]);
    expect(exitCode).toBe(1);
  });

  it('takes references to what is in other files of the same namespace, whatever their order', async () => {
    const files = { 'a.yaml': follows, 'b.yaml': `${fraud}---\n${shipping()}` };
    expect(await validated(files)).toEqual({ stdout: ['3 resources are valid'], stderr: [], exitCode: 0 });
  });

  it('says what is not there, or is in another namespace, and succeeds: it may be applied from elsewhere', async () => {
    const missing = await validated({ 'a.yaml': follows, 'b.yaml': shipping('team') });
    expect(missing).toEqual({
      stdout: ['2 resources are valid'],
      stderr: [
        'note: a.yaml:6:59: spec.sources[0].event.pipeline: there is no other EventPipeline "shipping" in this namespace; there are: none (PipelineNotFound)',
        'note: a.yaml:7:58: spec.steps[0].model.ref: there is no ModelDeployment "fraud" in this namespace; there are: none (ModelNotFound)',
      ],
      exitCode: 0,
    });
  });

  it('has them in the form for machines', async () => {
    const { stdout, exitCode } = await validated({ 'a.yaml': follows }, '-o', 'json');
    expect(JSON.parse(stdout.join('\n'))).toMatchObject({
      valid: true,
      problems: [],
      notes: [expect.stringContaining('PipelineNotFound'), expect.stringContaining('ModelNotFound')],
    });
    expect(exitCode).toBe(0);
    const bad = await validated({ 'a.yaml': follows.replace('[left]', '[right]') }, '-o', 'json');
    expect(JSON.parse(bad.stdout.join('\n'))).toMatchObject({
      valid: false,
      problems: [{ file: 'a.yaml', line: 7, column: 37, path: 'spec.steps[0].consumes[0]', code: 'EventNotEmitted' }],
    });
    expect(bad.exitCode).toBe(1);
  });
});
