import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { afterEach, expect, test, vi } from 'vitest';
import { latencyBoundsMs, type RoutingTable } from '../../../api/contract/routing-table.ts';
import { iris, type Served, serve, serverConfig, until } from '../../../test/support/serve.ts';
import { RoutingCounters } from './counters.ts';
import { InternalPort } from './internal-port.ts';
import { type OwnModel, Router } from './router.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function served(version: string): Promise<Served> {
  const router = ({ registry }: Served['service']['metrics']) =>
    new Router({ version, counters: new RoutingCounters(registry) });
  const result = await serve(serverConfig(iris(1), { version }), { router });
  closing.push(() => result.close());
  return result;
}

/** Of a peer that takes connections, and says nothing. */
async function silentPort(): Promise<number> {
  const silent: Server = createServer((socket) => closing.unshift(() => socket.destroy())).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  closing.push(() => silent.close());
  return (silent.address() as AddressInfo).port;
}

const table = (port: number, parts: Partial<RoutingTable>): RoutingTable => ({
  resource: 'default/m',
  generation: 1,
  stable: { version: 'v1' },
  addresses: { v2: [`tcp://127.0.0.1:${port}`] },
  salt: 'v1/v2',
  ...parts,
});

const body = Buffer.from(JSON.stringify({ features: [5.9, 3.2, 4.8, 1.8] }));

/** Requests that come in one turn of the event loop: the versions that have answered. */
const askAtOnce = ({ service }: Served, count: number, headers = {}): Promise<(string | undefined)[]> =>
  Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<string | undefined>((resolve, reject) => {
          service.predict(body, 30_000, (error, _text, version) => (error ? reject(error) : resolve(version)), headers);
        }),
    ),
  );

const sample = async ({ service }: Served, name: string): Promise<number> =>
  Number(new RegExp(`^${name}\\{.*\\} (\\d+)$`, 'm').exec(await service.metrics.registry.metrics())?.[1]);

/** A stable version that gives all to its candidate. */
async function withCandidate(parts: Partial<RoutingTable> = {}): Promise<{ stable: Served; candidate: Served }> {
  const [stable, candidate] = [await served('v1'), await served('v2')];
  const internal = new InternalPort(candidate.service);
  closing.push(() => internal.destroy());
  const port = await internal.listen('127.0.0.1', 0);
  stable.service.router?.apply(table(port, { candidate: { version: 'v2', weight: 100 }, ...parts }));
  return { stable, candidate };
}

test('what two turns bring is one message, and one run there', async () => {
  const { stable, candidate } = await withCandidate();
  const before = { own: 0, runs: 0, rows: 0 };
  // Until there is a connection, all wait for it.
  await until(async () => (await askAtOnce(stable, 1))[0] === 'v2');
  // On a busy machine the candidate may be late at first, which is not what this is about.
  await until(async () => {
    before.own = await sample(stable, 'levada_inference_batch_size_count');
    before.runs = await sample(candidate, 'levada_inference_batch_size_count');
    before.rows = await sample(candidate, 'levada_inference_batch_size_sum');
    const first = askAtOnce(stable, 4);
    await setImmediate();
    return (await Promise.all([first, askAtOnce(stable, 6)])).flat().every((version) => version === 'v2');
  });
  expect(await sample(candidate, 'levada_inference_batch_size_count')).toBe(before.runs + 1);
  expect(await sample(candidate, 'levada_inference_batch_size_sum')).toBe(before.rows + 10);
  expect(await sample(stable, 'levada_inference_batch_size_count')).toBe(before.own);
});

test('a connection that waits for nothing keeps no timer', async () => {
  const { stable } = await withCandidate();
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  closing.unshift(() => vi.useRealTimers());
  const answered = askAtOnce(stable, 3);
  expect(vi.getTimerCount()).toBeGreaterThan(0);
  expect(await answered).toEqual(['v2', 'v2', 'v2']);
  vi.advanceTimersByTime(10);
  expect(vi.getTimerCount()).toBe(0);
});

test('what waits for a shadow that says nothing is bounded; the rest is dropped, and counted', async () => {
  const port = await silentPort();
  const stable = await served('v1');
  stable.service.router?.apply(table(port, { shadow: { version: 'v2', percent: 100 } }));
  expect(await askAtOnce(stable, 300)).toEqual(Array(300).fill('v1'));
  expect(await sample(stable, 'levada_routing_shadow_dropped_total')).toBe(300 - 256);
  // Those that waited are given up, and there is room again.
  await until(async () => (await sample(stable, 'levada_routing_failures_total')) > 0);
});

test('a candidate has half of what the caller allows while the stable version’s times are not known, and then what they say', async () => {
  const port = await silentPort();
  const stable = await served('v1');
  stable.service.router?.apply(table(port, { candidate: { version: 'v2', weight: 100 } }));
  const ask = (ms: number) =>
    new Promise<string | undefined>((resolve, reject) => {
      stable.service.predict(body, ms, (error, _text, version) => (error ? reject(error) : resolve(version)), {});
    });
  /** Upper bounds of the times that it was given and was late with. */
  const given = () => {
    const count = stable.service.router?.counters.report({}).counts.find(({ version }) => version === 'v2');
    return (count?.late ?? []).flatMap((n, i) => (n > 0 ? [latencyBoundsMs[i] ?? Number.POSITIVE_INFINITY] : []));
  };
  expect(await ask(2_000)).toBe('v1');
  const [half = 0] = given();
  expect(half).toBeGreaterThan(900);
  expect(half).toBeLessThan(1_300);
  // Its answer in the candidate's stead has told how long it takes; without that, this would take 15 s.
  expect(await ask(30_000)).toBe('v1');
  const [least = 0, same] = given();
  expect(same).toBe(half);
  expect(least).toBeGreaterThan(240);
  expect(least).toBeLessThan(900);
});

test('of a key only the first request is compared with the stable version', async () => {
  const sticky = { header: 'x-user-id' };
  const compare = { outputs: ['label'], percent: 100 };
  const { stable } = await withCandidate({ sticky, compare });
  const ask = (key: string) => askAtOnce(stable, 10, { 'x-user-id': key });
  const count = () => stable.service.router?.counters.report({}).counts.find(({ by }) => by === 'sticky');
  // On a busy machine the candidate may be late at first.
  let asked = 0;
  await until(async () => (await ask(`user-${asked++}`)).every((version) => version === 'v2'));
  await until(() => (count()?.compared?.['label']?.n ?? 0) > 0);
  expect((await ask('another')).every((version) => version === 'v2')).toBe(true);
  await until(() => (count()?.compared?.['label']?.n ?? 0) > 1);
  expect(count()?.compared?.['label']?.n).toBeLessThanOrEqual(asked + 1);
  expect(count()?.keys?.n).toBe(asked + 1);
});

test('a caller without the time for both versions is answered here, and is a trial of neither', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  closing.push(() => vi.useRealTimers());
  // Takes 12 ms.
  const submit: OwnModel['batcher']['submit'] = (_inputs, _rows, _deadline, done) => {
    vi.advanceTimersByTime(12);
    done(undefined, [], 0, performance.now());
    return () => {};
  };
  const router = new Router({ version: 'v1', counters: new RoutingCounters(new Registry()) });
  router.attach({ inputs: [], outputs: [], batcher: { submit, joinable: false } as unknown as OwnModel['batcher'] });
  const answers: unknown[] = [];
  const ask = (ms: number) => {
    const began = performance.now();
    const work = { inputs: [], rows: 1, began, deadline: began + ms, headers: {}, write: () => '' };
    router.submit(work, (error, _body, version, trial) => answers.push([error, version, trial]));
  };
  const countOf = (version: string) => router.counters.report({}).counts.find((one) => one.version === version);
  const nobody = { rollout: 'v2 then', addresses: { v2: [] } };

  // While nothing is known of its own time, the candidate is asked.
  router.apply(table(1, { ...nobody, candidate: { version: 'v2', weight: 100 } }));
  ask(20);
  expect(countOf('v2')?.failures).toEqual([{ blame: 'candidate', reason: 'breaker', count: 1 }]);
  router.apply(table(1, { ...nobody, candidate: { version: 'v2', weight: 0 } }));
  for (let i = 0; i < 100; i++) ask(20);
  const own = countOf('v1')?.requests;
  router.apply(table(1, { ...nobody, candidate: { version: 'v2', weight: 100 } }));
  answers.length = 0;
  ask(20);
  expect(answers).toEqual([[undefined, 'v1', undefined]]);
  expect(countOf('v1')?.requests).toBe(own);
  expect(countOf('v2')?.failures).toEqual([
    { blame: 'candidate', reason: 'breaker', count: 1 },
    { blame: 'unclear', reason: 'no-time', count: 1 },
  ]);
  ask(30_000);
  expect(countOf('v2')?.failures[0]?.count).toBe(2);
});

/** A router whose model ends its runs when it is told to. */
function holding() {
  const ends: (() => void)[] = [];
  const submit: OwnModel['batcher']['submit'] = (_inputs, _rows, _deadline, done) => {
    ends.push(() => done(undefined, [], 0, 1));
    return () => {};
  };
  const router = new Router({ version: 'v1', counters: new RoutingCounters(new Registry()) });
  router.attach({ inputs: [], outputs: [], batcher: { submit, joinable: false } as unknown as OwnModel['batcher'] });
  const trials: unknown[] = [];
  const work = { inputs: [], rows: 1, began: 0, deadline: 1, headers: {}, write: () => '' };
  const ask = () => router.submit(work, (_error, _body, _version, trial) => trials.push(trial));
  return { router, ask, trials, end: () => ends.splice(0).forEach((end) => void end()) };
}
const candidate = { version: 'v2', weight: 0 };

test('what was drawn by one table is a trial of its rollout, also when it is answered under another', () => {
  const { router, ask, trials, end } = holding();
  for (const rollout of ['the first', 'the second']) {
    router.apply(table(1, { rollout, candidate, addresses: { v2: [] } }));
    ask();
  }
  end();
  expect(trials).toEqual(['the first', 'the second']);
});

test('a version that is the stable one no more shows nothing to the shadow', () => {
  const { router, ask, end } = holding();
  const shadow = { version: 'v3', percent: 100 };
  const shown = () => router.counters.report({}).counts.find(({ by }) => by === 'shadow')?.requests;
  router.apply(table(1, { candidate, shadow, addresses: { v2: [], v3: [] } }));
  ask();
  end();
  expect(shown()).toBe(1);
  ask();
  router.apply(table(1, { stable: { version: 'v2' }, shadow, addresses: { v3: [] } }));
  end();
  expect(shown()).toBe(1);
});

test('it says which outputs are to be compared that its model has not, and which it has', () => {
  const { router } = holding();
  const named = (...names: string[]) => names.map((name) => ({ name, datatype: 'FP32', shape: [-1] }));
  const compare = (...outputs: string[]) =>
    router.apply(table(1, { candidate, compare: { outputs, percent: 1 }, addresses: { v2: [] } }));
  const said = () => router.report({}).unknownOutputs;
  const batcher = { submit: () => () => {}, joinable: false } as unknown as OwnModel['batcher'];
  compare('label', 'score');
  expect(said()).toEqual({ wanted: ['label', 'score'], has: [] });
  router.attach({ inputs: [], outputs: named('label', 'x'.repeat(300)) as OwnModel['outputs'], batcher });
  expect(said()).toEqual({ wanted: ['score'], has: ['label', 'x'.repeat(256)] });
  compare('label');
  expect(said()).toBeUndefined();
  router.apply(table(1, { candidate, addresses: { v2: [] } }));
  expect(said()).toBeUndefined();
});
