import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, test } from 'vitest';
import type { ModelServerConfig } from '../../../api/contract/model-server.ts';
import type { StepAction } from '../../../api/contract/pipeline.ts';
import { fixture, iris, type Served, serve, serverConfig } from '../../../test/support/serve.ts';
import { until } from '../../../test/support/wait.ts';
import type { Emitted, Step } from '../step.ts';
import { contextOf, environment, eventOf, failureOf, type HandlerServer, handlerServer } from '../testing.ts';
import { modelStep } from './model.ts';

type ModelAction = Extract<StepAction, { kind: 'model' }>;

const open: Array<() => PromiseLike<unknown>> = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function served(path: string, overrides: Partial<ModelServerConfig> = {}, unloaded = false): Promise<Served> {
  const server = await serve(serverConfig(path, overrides), { unloaded });
  open.push(() => server.close());
  return server;
}

function stepFor(url: string, inputs: Record<string, unknown>, more: Partial<ModelAction> = {}): Step {
  const step = modelStep({ kind: 'model', ref: 'm', url, inputs, timeoutMs: 60_000, ...more }, environment);
  open.push(() => step.close());
  return step;
}

/** Passes requests on to whatever server `target` names, and keeps them. */
async function recorder(target: () => Served): Promise<HandlerServer> {
  const server = await handlerServer((res, { method, url, headers, body }) => {
    const { host: _, connection: __, 'content-length': ___, ...rest } = headers as Record<string, string>;
    void fetch(target().url + url, { method, headers: rest, ...(method === 'POST' && { body }) }).then(
      async (answer) => {
        const { 'transfer-encoding': ____, ...kept } = Object.fromEntries(answer.headers);
        res.writeHead(answer.status, kept).end(await answer.text());
      },
    );
  });
  open.push(() => server[Symbol.asyncDispose]());
  return server;
}

interface Row {
  readonly features: number[];
  readonly v1: { readonly prediction: number; readonly probabilities: number[] };
}
let rows: Row[];
beforeAll(async () => {
  const file = join(import.meta.dirname, '../../../examples/iris/expected/rows.json');
  ({ rows } = JSON.parse(await readFile(file, 'utf8')) as { rows: Row[] });
});

interface IrisData {
  readonly label: number;
  readonly probabilities: number[];
  readonly model: string;
  readonly version: string;
}

test("a row of each event, scored as scikit-learn scores it; the model's signature is asked for once", async () => {
  const { url } = await recorder(await served(iris(1)).then((server) => () => server));
  const step = stepFor(url, { X: '{% [sepal.length, sepal.width, petal.length, petal.width] %}' });
  const emitted = await Promise.all(
    rows.map(({ features: [a, b, c, d] }) =>
      step.run(eventOf({ sepal: { length: a, width: b }, petal: { length: c, width: d } }), contextOf()),
    ),
  );
  for (const [i, { v1 }] of rows.entries()) {
    const [{ data }] = emitted[i] as [{ data: IrisData }];
    const { label, probabilities, ...rest } = data;
    expect(rest).toEqual({ model: 'm', version: 'v1' });
    expect(label).toBe(v1.prediction);
    for (const [k, p] of v1.probabilities.entries()) expect(Math.abs((probabilities[k] ?? 2) - p)).toBeLessThan(1e-5);
  }
});

test('an answer that is a trial of a rollout is told, with the version that has given it', async () => {
  const server = await served(iris(1));
  const trials: unknown[] = [];
  const header: { trial?: string } = {};
  const proxy = await handlerServer((res, { method, url, headers, body }) => {
    const { host: _, connection: __, 'content-length': ___, ...rest } = headers as Record<string, string>;
    void fetch(server.url + url, { method, headers: rest, ...(method === 'POST' && { body }) }).then(async (answer) => {
      const kept = { 'x-levada-version': 'v2', ...(header.trial && { 'x-levada-trial': header.trial }) };
      res.writeHead(answer.status, kept).end(await answer.text());
    });
  });
  open.push(() => proxy[Symbol.asyncDispose]());
  const step = stepFor(proxy.url, { X: '{% x %}' }, { output: '{% nothing %}' });
  const context = contextOf({ scored: (trial) => trials.push(trial) });
  await failureOf(step.run(eventOf({ x: [1, 2, 3, 4] }), context));
  expect(trials).toEqual([]);
  header.trial = 'v2 then';
  await failureOf(step.run(eventOf({ x: [1, 2, 3, 4] }), context));
  expect(trials).toEqual([{ rollout: 'v2 then', version: 'v2' }]);
  await failureOf(step.run(eventOf({ x: [1, 2] }), context)); // nobody has scored it
  expect(trials).toHaveLength(1);
});

test('requests carry the trace and what is left of the deadline', async () => {
  const server = await served(iris(1));
  const proxy = await recorder(() => server);
  const step = stepFor(proxy.url, { X: [1, 2, 3, 4] }, { timeoutMs: 5000 });
  await step.run(eventOf({}), contextOf({ tracestate: 'a=1' }));
  await step.run(eventOf({}), contextOf());
  expect(proxy.requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
    'GET /v2/models/m',
    'POST /v2/models/m/infer',
    'POST /v2/models/m/infer',
  ]);
  const [, first] = proxy.requests;
  expect(first?.headers).toMatchObject({ traceparent: contextOf().traceparent, tracestate: 'a=1' });
  for (const { headers } of proxy.requests) {
    expect(Number(headers['x-request-timeout-ms'])).toBeGreaterThan(0);
    expect(Number(headers['x-request-timeout-ms'])).toBeLessThanOrEqual(5000);
  }
});

test('`output` makes the data of the outputs, the data and the event', async () => {
  const { url } = await served(iris(1));
  const run = (output: string, data: unknown = { order: 7, x: [5.1, 3.5, 1.4, 0.2] }): Promise<Emitted[]> =>
    stepFor(url, { X: '{% x %}' }, { output }).run(eventOf(data), contextOf());
  expect(
    await run(
      '{% {"order": order, "class": $outputs.label, "of": $event.type, "best": $round($max($outputs.probabilities), 3)} %}',
    ),
  ).toEqual([{ data: { order: 7, class: 0, of: 'order.created', best: 1 } }]);
  expect(await failureOf(run('{% nothing %}'))).toMatchObject({ code: 'ExpressionFailed' });
});

test('inputs see the attributes of the event', async () => {
  const { url } = await served(iris(1));
  const step = stepFor(url, { X: '{% [$event.attempt, 3.5, 1.4, $number($event.weight)] %}' });
  const event = eventOf(null, { extensions: { weight: '0.2' } });
  expect(await step.run(event, contextOf())).toMatchObject([{ data: { label: 0 } }]);
});

test('every datatype goes in and comes out exactly', async () => {
  const { url } = await served(fixture('identity-all'));
  const values = {
    BOOL: [true, false],
    INT8: [-128, 127],
    INT16: [-32_768, 32_767],
    INT32: [-2_147_483_648, 2_147_483_647],
    INT64: ['-9223372036854775808', '9223372036854775807'],
    UINT8: [0, 255],
    UINT16: [0, 65_535],
    UINT32: [0, 4_294_967_295],
    UINT64: [7, '18446744073709551615'],
    FP16: [-65_504, 0.5],
    FP32: [-1.5, 0.25],
    FP64: [1e-300, Math.PI],
    BYTES: ['a"b\n', '中'],
  };
  const [emitted] = await stepFor(url, { ...values, BYTES: '{% words %}' }).run(
    eventOf({ words: values.BYTES }),
    contextOf(),
  );
  const renamed = Object.fromEntries(Object.entries(values).map(([name, value]) => [`${name}_out`, value]));
  expect(emitted?.data).toEqual({ ...renamed, model: 'm', version: 'v1' });
});

test('several inputs, free dimensions, no batch, a batch of one', async () => {
  const run = async (model: string, inputs: Record<string, unknown>) => {
    const { url } = await served(fixture(model));
    return (await stepFor(url, inputs).run(eventOf({ two: [3, 4] }), contextOf()))[0]?.data;
  };
  const softmax = (x: number) => expect.closeTo(Math.exp(x) / (2 * Math.exp(1) + Math.exp(2)), 6) as number;
  expect(await run('two-inputs', { a: [1, 2], b: '{% two %}' })).toMatchObject({ sum: [4, 6], product: [3, 8] });
  expect(await run('free-dims', { X: [1, 1, 2] })).toMatchObject({
    sum: 4,
    share: [softmax(1), softmax(1), softmax(2)],
  });
  expect(await run('fixed-batch-1', { X: [1, 2, 3] })).toMatchObject({ Y: [expect.any(Number), expect.any(Number)] });
  const four = [
    [1, 2, 3],
    [1, 2, 3],
    [1, 2, 3],
    [1, 2, 3],
  ];
  const { Y } = (await run('fixed-batch-4', { X: four })) as { Y: number[][] };
  expect(Y.map((row) => row.length)).toEqual([2, 2, 2, 2]);
});

test.each<[string, unknown, string]>([
  ['too few', '{% [1, 2, 3] %}', 'inputs.X: found a list of 3; model m takes a list of 4 (FP32 [4])'],
  ['text', '{% [1, 2, 3, name] %}', 'inputs.X[3]: found "x"; model m takes a finite number'],
  ['nothing', '{% missing %}', 'inputs.X: found nothing; model m takes FP32 [4]'],
])('%s is refused before anything runs', async (_, X, message) => {
  const server = await served(iris(1));
  const proxy = await recorder(() => server);
  const error = await failureOf(stepFor(proxy.url, { X }).run(eventOf({ name: 'x' }), contextOf()));
  expect(error.code).toBe('ModelInputMismatch');
  expect(error.message).toContain(message);
  expect(proxy.requests.map(({ method }) => method)).toEqual(['GET']);
});

test('an input that the model does not have is named', async () => {
  const { url } = await served(iris(1));
  const error = await failureOf(stepFor(url, { X: [1, 2, 3, 4], Z: 1 }).run(eventOf({}), contextOf()));
  expect(error.message).toBe('inputs.Z: found this input; model m takes X');
});

test('an expression that fails is what the event ends with', async () => {
  const { url } = await served(iris(1));
  const error = await failureOf(stepFor(url, { X: '{% $number(name) %}' }).run(eventOf({ name: 'x' }), contextOf()));
  expect(error.code).toBe('ExpressionFailed');
});

test('versions that share the traffic: each is asked about once, not again at each turn', async () => {
  const servers = [await served(iris(1)), await served(iris(2), { version: 'v2' })] as const;
  let turn = 0;
  const proxy = await recorder(() => servers[turn as 0 | 1]);
  const step = stepFor(proxy.url, { X: [1, 2, 3, 4] });
  const versions: unknown[] = [];
  for (turn of [0, 1, 0, 1, 0, 1]) {
    const [emitted] = await step.run(eventOf({}), contextOf());
    versions.push((emitted?.data as IrisData | undefined)?.version);
  }
  expect(versions).toEqual(['v1', 'v2', 'v1', 'v2', 'v1', 'v2']);
  expect(proxy.requests.filter(({ method }) => method === 'GET')).toHaveLength(2);
});

test.each<[value: unknown, header: string | undefined]>([
  ['ann', 'ann'],
  [42, '42'],
  ['größe', Buffer.from('größe').toString('latin1')],
  [undefined, undefined],
])('the key %j goes along as a header', async (user, header) => {
  const proxy = await recorder(await served(iris(1)).then((server) => () => server));
  const step = stepFor(proxy.url, { X: [1, 2, 3, 4] }, { sticky: 'user' });
  await step.run(eventOf({ user }), contextOf());
  expect(proxy.requests.map(({ headers }) => headers['x-levada-key'])).toEqual([undefined, header]);
});

test.each([[true], [{ id: 1 }], ['a\nb']])('%j is no key', async (user) => {
  const { url } = await served(iris(1));
  const step = stepFor(url, { X: [1, 2, 3, 4] }, { sticky: 'user' });
  const error = await failureOf(step.run(eventOf({ user }), contextOf()));
  expect(error.code).toBe('ExpressionWrongType');
});

test('another version with another signature: inputs that fit the new one are not held against the old one', async () => {
  const old = await served(fixture('two-inputs'), { version: 'v1' });
  const next = await served(fixture('logits'), { version: 'v2' });
  let now = old;
  const proxy = await recorder(() => now);
  const step = stepFor(proxy.url, { a: '{% a %}', b: '{% b %}', X: '{% X %}' });
  expect(await step.run(eventOf({ a: [1, 2], b: [3, 4] }), contextOf())).toMatchObject([{ data: { version: 'v1' } }]);
  now = next;
  // What fits the new model, checked against the old signature at first.
  expect(await step.run(eventOf({ X: [1, 2] }), contextOf())).toMatchObject([{ data: { version: 'v2' } }]);
  now = old;
  // What fits neither the new signature nor the model that serves is refused, after another look.
  const error = await failureOf(step.run(eventOf({ a: [1, 2] }), contextOf()));
  expect(error.message).toBe('inputs.b: found nothing; model m takes FP32 [2]');
  expect(await step.run(eventOf({ a: [1, 2], b: [3, 4] }), contextOf())).toMatchObject([{ data: { version: 'v1' } }]);
  now = next;
  // What fits the old signature is sent, and refused by the new model: the new signature says why.
  const refused = await failureOf(step.run(eventOf({ a: [1, 2], b: [3, 4] }), contextOf()));
  expect(refused.message).toBe('inputs.a: found this input; model m takes X');
});

test('another version with the same signature: its answer counts, and its signature is asked for next', async () => {
  const [v1, v2] = [await served(iris(1), { version: 'v1' }), await served(iris(2), { version: 'v2' })];
  let now = v1;
  const proxy = await recorder(() => now);
  const step = stepFor(proxy.url, { X: [5.1, 3.5, 1.4, 0.2] });
  const versions: unknown[] = [];
  const run = async () => {
    const [emitted] = await step.run(eventOf({}), contextOf());
    versions.push((emitted as { data: IrisData }).data.version);
  };
  await run();
  now = v2;
  await run();
  await run();
  await run();
  expect(versions).toEqual(['v1', 'v2', 'v2', 'v2']);
  expect(proxy.requests.map(({ method }) => method).join(' ')).toBe('GET POST POST GET POST POST');
});

test('a model that is not loaded yet is not there; later it is', async () => {
  const server = await served(iris(1), {}, true);
  const step = stepFor(server.url, { X: [5.1, 3.5, 1.4, 0.2] });
  const error = await failureOf(step.run(eventOf({}), contextOf()));
  expect(error).toMatchObject({ code: 'HandlerUnavailable', params: { status: 503, retryAfterMs: 1000 } });
  expect(error.message).toContain('it answered 503: ModelNotReady: the model is not ready');
  await server.service.load();
  expect(await step.run(eventOf({}), contextOf())).toMatchObject([{ data: { label: 0 } }]);
});

test('another model behind the address is a mistake that waiting does not mend', async () => {
  const { url } = await served(iris(1));
  const error = await failureOf(stepFor(url, { X: [1, 2, 3, 4] }, { ref: 'fraud' }).run(eventOf({}), contextOf()));
  expect(error.code).toBe('HandlerRejected');
  expect(error.message).toBe('the handler answered 404: UnknownModel: no model "fraud" here; this is m');
});

test('a model that throws on an input, or gives NaN, does so at each attempt', async () => {
  const throws = await served(fixture('fails-when-negative'));
  const error = await failureOf(stepFor(throws.url, { X: [-1, -1] }).run(eventOf({}), contextOf()));
  expect(error).toMatchObject({ code: 'HandlerRejected', params: { status: 500 } });
  expect(error.message).toContain('InferenceFailed: ');
  expect(await stepFor(throws.url, { X: [1, 1] }).run(eventOf({}), contextOf())).toHaveLength(1);
  const nan = await served(fixture('nan-output'));
  const notFinite = await failureOf(stepFor(nan.url, { X: [-1, -1] }).run(eventOf({}), contextOf()));
  expect(notFinite.code).toBe('HandlerRejected');
  expect(notFinite.message).toContain('OutputNotFinite: ');
});

const metadata = {
  name: 'm',
  versions: ['v1'],
  inputs: [{ name: 'X', datatype: 'FP32', shape: [-1, 1] }],
  outputs: [],
};
const good = {
  model_name: 'm',
  model_version: 'v1',
  outputs: [{ name: 'Y', datatype: 'FP32', shape: [1, 1], data: [1] }],
};

/** A server of the protocol that is not ours. */
async function foreign(
  infer: { status?: number; body?: unknown; headers?: Record<string, string> },
  meta: unknown = metadata,
) {
  const server = await handlerServer((res, { method }) => {
    const { status = 200, body = good, headers = {} } = method === 'GET' ? { body: meta } : infer;
    res.writeHead(status, headers).end(typeof body === 'string' ? body : JSON.stringify(body));
  });
  open.push(() => server[Symbol.asyncDispose]());
  return server;
}

test.each<[number, Record<string, string>, string]>([
  [400, { 'x-levada-error': 'InvalidJson' }, 'HandlerRejected'],
  [400, { 'x-levada-error': 'WrongShape' }, 'HandlerRejected'],
  [400, {}, 'HandlerRejected'],
  [422, {}, 'HandlerRejected'],
  [429, { 'x-levada-error': 'QueueFull', 'retry-after': '1' }, 'HandlerBusy'],
  [500, {}, 'HandlerFailed'],
  [500, { 'x-levada-error': 'InternalError' }, 'HandlerFailed'],
  [500, { 'x-levada-error': 'NobodyKnows' }, 'HandlerFailed'],
  [503, { 'x-levada-error': 'MemoryBudget', 'retry-after': '1' }, 'HandlerUnavailable'],
  [504, { 'x-levada-error': 'DeadlineExceeded' }, 'HandlerTimeout'],
  [302, { location: '/' }, 'HandlerRejected'],
])('an answer %i %j is %s', async (status, headers, code) => {
  const { url } = await foreign({ status, headers, body: { error: 'no' } });
  const error = await failureOf(stepFor(url, { X: 1 }).run(eventOf({}), contextOf()));
  expect(error.code).toBe(code);
  expect(error.params['retryAfterMs']).toBe('retry-after' in headers ? 1000 : undefined);
});

test('servers that are not ours: the version is where the protocol has it', async () => {
  const { url } = await foreign({});
  expect(await stepFor(url, { X: 1 }).run(eventOf({}), contextOf())).toEqual([
    { data: { Y: [1], model: 'm', version: 'v1' } },
  ]);
  const bare = await foreign({ body: { outputs: [{ name: 'Y', shape: [1, 2], data: [[1, 2]] }] } });
  expect(await stepFor(bare.url, { X: 1 }).run(eventOf({}), contextOf())).toEqual([
    { data: { Y: [1, 2], model: 'm', version: 'v1' } },
  ]);
});

test.each<[string, unknown, unknown]>([
  ['metadata that is not JSON', '<p>', good],
  ['metadata without inputs', { name: 'm' }, good],
  ['an unknown datatype', { inputs: [{ name: 'X', datatype: 'toString', shape: [1] }] }, good],
  ['a shape that is none', { inputs: [{ name: 'X', datatype: 'FP32', shape: ['x'] }] }, good],
  ['an input without a name', { inputs: [{ datatype: 'FP32', shape: [1] }] }, good],
  ['an answer that is not JSON', metadata, '{"outputs":'],
  ['an answer without outputs', metadata, {}],
  ['an answer that is a list', metadata, []],
  ['an output without a shape', metadata, { outputs: [{ name: 'Y', data: [1] }] }],
  ['fewer elements than the shape says', metadata, { outputs: [{ name: 'Y', shape: [1, 2], data: [1] }] }],
  ['a shape that no memory holds', metadata, { outputs: [{ name: 'Y', shape: [1, 2 ** 40], data: [1] }] }],
])('%s is not what was agreed', async (_, meta, body) => {
  const { url } = await foreign({ body }, meta);
  const error = await failureOf(stepFor(url, { X: 1 }).run(eventOf({}), contextOf()));
  expect(error.code).toBe('ReplyInvalid');
});

test('a server that hangs is given up at the deadline, whichever request it hangs in', async () => {
  for (const hanging of ['GET', 'POST']) {
    const server = await handlerServer((res, { method }) => {
      if (method !== hanging) res.writeHead(200).end(JSON.stringify(metadata));
    });
    open.push(() => server[Symbol.asyncDispose]());
    const hung = await failureOf(stepFor(server.url, { X: 1 }, { timeoutMs: 500 }).run(eventOf({}), contextOf()));
    expect(hung).toMatchObject({ code: 'HandlerTimeout', params: { found: 500 } });
  }
});

test('aborting one message leaves the others the signature that it asked for', async () => {
  const waiting: Array<() => void> = [];
  const server = await handlerServer((res, { method }) => {
    waiting.push(() => res.writeHead(200).end(JSON.stringify(method === 'GET' ? metadata : good)));
  });
  open.push(() => server[Symbol.asyncDispose]());
  const step = stepFor(server.url, { X: 1 });
  const controller = new AbortController();
  const aborted = step.run(eventOf({}), contextOf({ signal: controller.signal }));
  const other = step.run(eventOf({}), contextOf());
  await until('the signature is asked for', () => waiting.length === 1);
  const reason = new Error('drained');
  controller.abort(reason);
  await expect(aborted).rejects.toBe(reason);
  for (const answer of waiting.splice(0)) answer();
  await until('the model is asked', () => waiting.length === 1);
  for (const answer of waiting.splice(0)) answer();
  expect(await other).toMatchObject([{ data: { Y: [1] } }]);
  await expect(step.run(eventOf({}), contextOf({ signal: controller.signal }))).rejects.toBe(reason);
});

test('expressions and addresses are checked when the step is made', () => {
  const code = (value: string) => expect.objectContaining({ code: value }) as Error;
  expect(() => stepFor('http://m', { X: '{% ( %}' })).toThrow(code('ExpressionInvalid'));
  expect(() => stepFor('http://m', { X: 1 }, { output: '{% ) %}' })).toThrow(code('ExpressionInvalid'));
  expect(() => stepFor('http://[', { X: 1 })).toThrow(code('InvalidValue'));
});
