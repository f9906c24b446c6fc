import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { publicKeyText, signRoutingTable } from '../operator/drivers/routing/signing.ts';
import { load, newKey, type Pod, Pods, put, samples } from '../test/support/routing.ts';
import { call, fixture, iris, post, type Reply } from '../test/support/serve.ts';
import { until } from '../test/support/wait.ts';

const pods = new Pods();
afterEach(() => pods.close());

/** Row 70 of the example's expected rows: version 1 says 1, version 2 says 2. */
const flower = [5.9, 3.2, 4.8, 1.8];
const features = { features: flower };
const inputs = (data: number[], width = data.length) => ({
  inputs: [{ name: 'X', datatype: 'FP32', shape: [data.length / width, width], data }],
});
const infer = (pod: Pod, data: number[], headers = {}, width = data.length) =>
  post(`${pod.url}/v2/models/m/infer`, inputs(data, width), headers);
const versionOf = ({ headers }: Reply) => headers.get('x-levada-version');
const tally = (replies: readonly Reply[]) => {
  const counts: Record<string, number> = {};
  for (const reply of replies) {
    expect(reply.status, reply.text).toBe(200);
    counts[String(versionOf(reply))] = (counts[String(versionOf(reply))] ?? 0) + 1;
  }
  return counts;
};
const sum = (counts: Record<string, number>) => Object.values(counts).reduce((total, count) => total + count, 0);
const requests = (pod: Pod) => samples(pod, 'levada_routing_requests_total', 'target', 'by');
const failures = (pod: Pod) => samples(pod, 'levada_routing_failures_total', 'target', 'blame', 'reason');
/** A busy machine makes any process late, and after three times it is not asked for a second: no fault of the code. */
const isSlowMachine = (key: string) => /\/candidate\/(late|breaker)$/.test(key);
const faults = async (pod: Pod) =>
  Object.fromEntries(Object.entries(await failures(pod)).filter(([key]) => !isSlowMachine(key)));
const isAnsweredBy = (pod: Pod, version: string, headers = {}) =>
  until(`${version} answers`, async () => versionOf(await infer(pod, flower, headers)) === version);

/** The two versions of the example: both good. */
async function example(): Promise<[stable: Pod, candidate: Pod]> {
  return Promise.all([pods.start('v1', iris(1)), pods.start('v2', iris(2))]);
}
const share = (weight: number, version = 'v2') => ({ candidate: { version, weight } });

describe('the split', () => {
  test('an answer says which rollout it is a trial of: what was drawn, and of a key its first request', async () => {
    const [stable, candidate] = await example();
    const trialOf = (reply: Reply) => [versionOf(reply), reply.headers.get('x-levada-trial')];
    const match = [{ header: { 'x-beta': 'true' }, version: 'v2' }];
    await pods.tell(stable, pods.table(stable, [candidate], { ...share(100), match, rollout: 'v2 then' }));
    await isAnsweredBy(stable, 'v2');
    expect(trialOf(await infer(stable, flower))).toEqual(['v2', 'v2 then']);
    expect(trialOf(await infer(stable, flower, { 'x-beta': 'true' }))).toEqual(['v2', null]);
    expect(trialOf(await infer(stable, flower, { 'x-levada-key': 'a' }))).toEqual(['v2', 'v2 then']);
    expect(trialOf(await infer(stable, flower, { 'x-levada-key': 'a' }))).toEqual(['v2', null]);
    await pods.tell(stable, pods.table(stable, [candidate], { ...share(0), rollout: 'v2 then' }));
    expect(trialOf(await infer(stable, flower))).toEqual(['v1', 'v2 then']);
    expect(trialOf(await infer(stable, flower, { 'x-levada-key': 'b' }))).toEqual(['v1', 'v2 then']);
    expect(trialOf(await infer(stable, flower, { 'x-levada-key': 'b' }))).toEqual(['v1', null]);
    await pods.tell(stable, pods.table(stable, [candidate], {}));
    expect(trialOf(await infer(stable, flower))).toEqual(['v1', null]);
  });

  test('by weight, over both protocols: off by at most one; each side answers as itself', async () => {
    const [stable, candidate] = await example();
    expect(tally([await post(`${stable.url}/predict`, features)])).toEqual({ v1: 1 });
    await pods.tell(stable, pods.table(stable, [candidate], share(25)));
    const replies: Reply[] = [];
    for (let round = 0; round < 20; round++) {
      const some = Array.from({ length: 20 }, (_, i) =>
        i % 2 ? post(`${stable.url}/predict`, features) : infer(stable, flower),
      );
      replies.push(...(await Promise.all(some)));
    }
    const counts = tally(replies);
    const decided = await requests(stable);
    expect(sum(decided)).toBe(400);
    expect(Math.abs((decided['v2/weight'] ?? 0) - 100)).toBeLessThanOrEqual(1);
    expect((counts['v2'] ?? 0) + sum(await failures(stable))).toBe(decided['v2/weight']);
    expect(counts['v2']).toBeGreaterThan(0);
    for (const reply of replies) {
      const version = versionOf(reply);
      const expected = version === 'v1' ? 1 : 2;
      if ('prediction' in reply.json) expect(reply.json.prediction).toBe(expected);
      else {
        expect(reply.json.model_version).toBe(version);
        expect(reply.json.outputs[0].data).toEqual([expected]);
      }
    }
    expect(await faults(stable)).toEqual({});
    const served = await samples(stable, 'levada_routing_served_seconds_count', 'target');
    expect(served).toEqual({ v1: decided['v1/weight'], v2: counts['v2'] });
    // The candidate has counted them as well; nobody has called its own port.
    const asked = await samples(candidate, 'levada_inference_requests_total', 'protocol', 'code');
    expect(asked['internal/200']).toBeGreaterThanOrEqual(counts['v2'] ?? 0);
    expect(Object.keys(asked).filter((key) => !key.startsWith('internal/'))).toEqual([]);
    expect(await requests(candidate)).toEqual({});
  });

  test('every datatype, many rows, strings and integers of 64 bits go there and back as they are', async () => {
    const [stable, candidate] = (await Promise.all(
      ['v1', 'v2'].map((version) => pods.start(version, fixture('identity-all'))),
    )) as [Pod, Pod];
    const { json: metadata } = await call(`${stable.url}/v2/models/m`);
    const body = {
      id: 'mine',
      inputs: metadata.inputs.map(({ name, datatype }: { name: string; datatype: string }) => ({
        ...{ name, datatype, shape: [3, 2] },
        data:
          datatype === 'BOOL'
            ? [true, false, true, true, false, false]
            : datatype === 'BYTES'
              ? ['', 'a', 'längere 文字', '🙂', 'x'.repeat(1000), 'b']
              : [0, 1, 2, 3, 4, 5],
      })),
    };
    const big = JSON.stringify(body).replace(/("INT64","shape":\[3,2\],"data":\[)0/, '$1-9223372036854775808');
    const own = await post(`${stable.url}/v2/models/m/infer`, big);
    expect(versionOf(own)).toBe('v1');
    await pods.tell(stable, pods.table(stable, [candidate], share(100)));
    const other = await until('v2 answers', async () => {
      const reply = await post(`${stable.url}/v2/models/m/infer`, big);
      return versionOf(reply) === 'v2' && reply;
    });
    expect(other.text).toContain('-9223372036854775808');
    expect(other.text.replace('"model_version":"v2"', '"model_version":"v1"')).toBe(own.text);
    expect(await faults(stable)).toEqual({});
  });

  test('a key stays on its side, over both headers; as the weight grows, keys only move to the candidate', async () => {
    const [stable, candidate] = await example();
    const sticky = { header: 'x-user-id' };
    const users = Array.from({ length: 100 }, (_, i) => `user-${i}`);
    let before = new Set<string>();
    let decided = 0;
    for (const weight of [5, 25, 50]) {
      await pods.tell(stable, pods.table(stable, [candidate], { ...share(weight), sticky, salt: 'v1/v2' }));
      const late = sum(await failures(stable));
      const inside = new Set<string>();
      for (const header of ['x-user-id', 'x-levada-key']) {
        const replies = await Promise.all(users.map((user) => infer(stable, flower, { [header]: user })));
        users.forEach((user, i) => {
          if (versionOf(replies[i] as Reply) === 'v2') inside.add(user);
        });
      }
      // Whoever is in over one header is in over the other; a late candidate hides it (see isSlowMachine).
      const hidden = sum(await failures(stable)) - late;
      const all = (await requests(stable))['v2/sticky'] ?? 0;
      expect(all - decided).toBeGreaterThanOrEqual(2 * inside.size);
      expect(all - decided).toBeLessThanOrEqual(2 * inside.size + hidden);
      expect([...before].filter((user) => !inside.has(user)).length).toBeLessThanOrEqual(hidden);
      const p = weight / 100;
      expect(Math.abs((all - decided) / 2 - 100 * p)).toBeLessThanOrEqual(3 * Math.sqrt(100 * p * (1 - p)));
      [before, decided] = [inside, all];
    }
    expect(await faults(stable)).toEqual({});
  });

  test('match comes first; three versions get their shares', async () => {
    const [stable, ...others] = (await Promise.all(
      ['v1', 'v2', 'v3'].map((version) => pods.start(version, iris(1))),
    )) as [Pod, Pod, Pod];
    const weights = { v1: 50, v2: 30, v3: 20 };
    await pods.tell(
      stable,
      pods.table(stable, others, {
        split: Object.entries(weights).map(([version, weight]) => ({ version, weight })),
        match: [{ header: { 'x-beta': 'true' }, version: 'v3' }],
      }),
    );
    tally(await Promise.all(Array.from({ length: 20 }, () => infer(stable, flower, { 'x-beta': 'true' }))));
    tally(await Promise.all(Array.from({ length: 100 }, () => infer(stable, flower))));
    const decided = await requests(stable);
    expect(decided['v3/match']).toBe(20);
    expect(sum(decided)).toBe(120);
    for (const [version, weight] of Object.entries(weights)) {
      expect(Math.abs((decided[`${version}/weight`] ?? 0) - weight)).toBeLessThanOrEqual(2);
    }
    await isAnsweredBy(stable, 'v3', { 'x-beta': 'true' });
  });

  test('what the client has wrong is answered without asking anybody', async () => {
    const [stable, candidate] = await example();
    await pods.tell(stable, pods.table(stable, [candidate], share(100)));
    expect((await infer(stable, [1, 2, 3])).error).toBe('WrongShape');
    expect((await post(`${stable.url}/predict`, { features: [1] })).status).toBe(422);
    expect(await requests(stable)).toEqual({});
  });
});

describe('a model that does harm: callers see none of it', () => {
  const harmful = new Pods();
  let stable: Pod;
  const candidates = new Map<string, Pod>();
  const names = ['wider', 'logits', 'doubled-rows', 'nan-output', 'huge-alloc-on-demand', 'two-inputs'];

  beforeAll(async () => {
    // Gives its input back; fails when it is negative.
    stable = await harmful.start('v1', fixture('fails-when-negative'));
    for (const name of names) candidates.set(name, await harmful.start(name, fixture(name)));
  });
  afterAll(() => harmful.close());

  /** The failures of one candidate, by blame and reason, that have come since. */
  async function failuresOf(name: string): Promise<() => Promise<Record<string, number>>> {
    const before = await failures(stable);
    return async () =>
      Object.fromEntries(
        Object.entries(await failures(stable))
          .filter(([key, count]) => key.startsWith(`${name}/`) && count !== before[key])
          .map(([key, count]) => [key.slice(name.length + 1), count - (before[key] ?? 0)]),
      );
  }

  test.each([
    ['wider', 'signature', 'outputs of another shape than the stable version has', [1, 2]],
    ['logits', 'signature', 'outputs of another name', [1, 2]],
    ['two-inputs', 'signature', 'other inputs', [1, 2]],
    ['doubled-rows', 'signature', 'another number of rows than was asked for', [1, 2]],
    ['nan-output', 'not-finite', 'infinities where the stable version has numbers', [0, 1]],
    ['huge-alloc-on-demand', 'error', 'runs that fail for want of memory', [500_000, 0]],
  ])('%s (%s): %s', async (name, reason, _what, data) => {
    const seen = await failuresOf(name);
    await harmful.tell(stable, harmful.table(stable, [candidates.get(name) as Pod], share(100, name)));
    const replies: Awaited<ReturnType<typeof infer>>[] = [];
    // On a machine that is slow enough it is late, and then not asked for a second.
    const counts = await until('it is seen to fail', async () => {
      replies.push(...(await Promise.all(Array.from({ length: 8 }, () => infer(stable, data)))));
      const now = await seen();
      return now[`candidate/${reason}`] !== undefined && now;
    });
    expect(tally(replies)).toEqual({ v1: replies.length });
    for (const { json } of replies) expect(json.outputs[0].data).toEqual(data);
    const { [`candidate/${reason}`]: found = 0, ...others } = counts;
    expect(found).toBeGreaterThan(0);
    expect(found + sum(others)).toBe(replies.length);
    expect(Object.keys(others).filter((key) => !isSlowMachine(`/${key}`))).toEqual([]);
  });

  test('a pod that has another version than the table says', async () => {
    const seen = await failuresOf('v9');
    const table = harmful.table(stable, [], share(100, 'v9'));
    await harmful.tell(stable, { ...table, addresses: { v9: [(candidates.get('nan-output') as Pod).address] } });
    expect(tally([await infer(stable, [1, 2])])).toEqual({ v1: 1 });
    expect(Object.keys(await seen())).toEqual(['candidate/signature']);
  });

  test("what fails on both sides is the client's, and is answered as the stable version does", async () => {
    await harmful.tell(stable, harmful.table(stable, []));
    const alone = await infer(stable, [-1, 1]);
    expect(alone.error).toBe('InferenceFailed');
    const seen = await failuresOf('nan-output');
    await harmful.tell(stable, harmful.table(stable, [candidates.get('nan-output') as Pod], share(100, 'nan-output')));
    const both = await infer(stable, [-1, 1]);
    expect([both.status, both.text]).toEqual([alone.status, alone.text]);
    expect(Object.keys(await seen())).toEqual([expect.stringMatching(/^client\/(not-finite|late)$/)]);
  });

  test('NaNs that the stable version has as well are no failure of the candidate', async () => {
    const same = await harmful.start('v1', fixture('nan-output'));
    await harmful.tell(same, harmful.table(same, [candidates.get('nan-output') as Pod], share(100, 'nan-output')));
    expect((await infer(same, [-1, 1])).error).toBe('OutputNotFinite');
    expect(Object.keys(await failures(same))).toEqual([expect.stringMatching(/^nan-output\/client\//)]);
  });
});

describe('a candidate that is not there: callers see none of it', () => {
  test('killed with SIGKILL under load, and started again: it gets its share again', async () => {
    const [stable, candidate] = await example();
    await pods.tell(stable, pods.table(stable, [candidate], share(50)));
    const callers = load(stable, features, 8, '/predict');
    await until('both answer', () => (callers.versions['v2'] ?? 0) > 50);
    candidate.child.kill('SIGKILL');
    await candidate.exit();
    const before = callers.answered();
    await until('many more are answered', () => callers.answered() > before + 300);
    const seen = await failures(stable);
    expect(Object.keys(seen).filter((key) => !/^v2\/candidate\/(unreachable|breaker|late)$/.test(key))).toEqual([]);
    expect(sum(seen)).toBeGreaterThan(100);
    expect((await call(`http://127.0.0.1:${stable.admin}/readyz`)).status).toBe(200);
    const again = await pods.start('v2', iris(2));
    await pods.tell(stable, pods.table(stable, [again], share(50)));
    const atRestart = callers.versions['v2'] ?? 0;
    await until('it answers again', () => (callers.versions['v2'] ?? 0) > atRestart + 50);
    await callers.stop();
    expect(callers.failures).toEqual([]);
  });

  test('stopped with SIGSTOP under load: late at first, then not asked; continued, it comes back', async () => {
    const [stable, candidate] = await example();
    await pods.tell(stable, pods.table(stable, [candidate], share(50)));
    const callers = load(stable, features, 8, '/predict');
    await until('both answer', () => (callers.versions['v2'] ?? 0) > 50);
    candidate.child.kill('SIGSTOP');
    await until('the breaker is open', async () => ((await failures(stable))['v2/candidate/breaker'] ?? 0) > 50);
    expect((await failures(stable))['v2/candidate/late']).toBeGreaterThan(0);
    candidate.child.kill('SIGCONT');
    const before = callers.versions['v2'] ?? 0;
    await until('it answers again', () => (callers.versions['v2'] ?? 0) > before + 50);
    await callers.stop();
    expect(callers.failures).toEqual([]);
  });

  test('it hangs, and callers leave sooner than its time is over: they count all the same', async () => {
    const [stable, candidate] = await example();
    await pods.tell(stable, pods.table(stable, [candidate], share(100)));
    await isAnsweredBy(stable, 'v2');
    candidate.child.kill('SIGSTOP');
    const before = (await failures(stable))['v2/candidate/late'] ?? 0;
    const impatient = () =>
      call(`${stable.url}/predict`, {
        method: 'POST',
        body: JSON.stringify(features),
        signal: AbortSignal.timeout(100),
      });
    await until('they are counted', async () => {
      await impatient().catch(() => {});
      return ((await failures(stable))['v2/candidate/late'] ?? 0) >= before + 3;
    });
  });

  test('nobody listens there', async () => {
    const stable = await pods.start('v1', iris(1));
    const table = pods.table(stable, [], { ...share(100), addresses: { v2: ['tcp://127.0.0.1:1'] } });
    await pods.tell(stable, table);
    expect(tally(await Promise.all(Array.from({ length: 20 }, () => infer(stable, flower))))).toEqual({ v1: 20 });
    const seen = await failures(stable);
    expect(seen['v2/candidate/unreachable']).toBeGreaterThan(0);
    expect(sum(seen)).toBe(20);
  });

  test('its model is not loaded yet', async () => {
    const stable = await pods.start('v1', iris(1));
    const candidate = await pods.start('v2', iris(2), {}, { isReady: false, args: ['--load-after-ms', '3000'] });
    await until('it is there', () => call(`http://127.0.0.1:${candidate.admin}/livez`).then(() => true));
    await pods.tell(stable, pods.table(stable, [candidate], share(100)));
    expect(tally([await infer(stable, flower)])).toEqual({ v1: 1 });
    await isAnsweredBy(stable, 'v2');
  });

  test('one of its two pods goes, politely: not one failure', async () => {
    const [stable, ...both] = (await Promise.all([
      pods.start('v1', iris(1)),
      pods.start('v2', iris(2)),
      pods.start('v2', iris(2)),
    ])) as [Pod, Pod, Pod];
    await pods.tell(stable, pods.table(stable, both, share(50)));
    const callers = load(stable, features, 8, '/predict');
    const served = async (pod: Pod) =>
      (await samples(pod, 'levada_inference_requests_total', 'protocol'))['internal'] ?? 0;
    await until('both are asked', async () => Math.min(...(await Promise.all(both.map(served)))) > 20);
    both[0]?.child.kill('SIGTERM');
    expect(await both[0]?.exit()).toEqual({ code: 0, signal: null });
    const before = callers.versions['v2'] ?? 0;
    await until('the other one answers', () => (callers.versions['v2'] ?? 0) > before + 100);
    await callers.stop();
    expect(callers.failures).toEqual([]);
    expect(await faults(stable)).toEqual({});
  });
});

describe('the shadow', () => {
  test('gets copies of its share, after the answer; nobody sees what it makes of them', async () => {
    const [stable, shadow] = await Promise.all([
      pods.start('v1', fixture('fails-when-negative')),
      pods.start('v2', fixture('nan-output')),
    ]);
    await pods.tell(stable, pods.table(stable, [shadow], { shadow: { version: 'v2', percent: 50 } }));
    for (let i = 0; i < 20; i++) expect(tally([await infer(stable, [i % 2, 1])])).toEqual({ v1: 1 });
    const copies = await until('copies have come to their end', async () => {
      const count = (await requests(stable))['v2/shadow'] ?? 0;
      return count >= 9 && count;
    });
    expect(copies).toBeLessThanOrEqual(11);
    expect((await requests(stable))['v1/weight']).toBe(20);
    expect(await samples(shadow, 'levada_inference_requests_total', 'protocol')).toHaveProperty('internal');
  });

  test('one that hangs holds nobody up', async () => {
    const [stable, shadow] = await example();
    await pods.tell(stable, pods.table(stable, [shadow], { shadow: { version: 'v2', percent: 100 } }));
    shadow.child.kill('SIGSTOP');
    const callers = load(stable, features, 8, '/predict');
    await until('its failures are counted', async () => ((await failures(stable))['v2/candidate/breaker'] ?? 0) > 100);
    await callers.stop();
    expect(callers.failures).toEqual([]);
    expect(Object.keys(callers.versions)).toEqual(['v1']);
  });
});

describe('the table', () => {
  const running = async (pod: Pod) => (await call(`http://127.0.0.1:${pod.admin}/status`)).json.routing;

  test('changes under load: no request fails, and each change is in force when it is acknowledged', async () => {
    const [stable, candidate] = await example();
    const callers = load(stable, features, 4, '/predict');
    let fallbacks = 0;
    for (let flip = 0; flip < 40; flip++) {
      const weight = flip % 2 ? 100 : 0;
      await pods.tell(stable, pods.table(stable, [candidate], share(weight)));
      const counts = tally(await Promise.all([infer(stable, flower), post(`${stable.url}/predict`, features)]));
      if (weight === 0) expect(counts).toEqual({ v1: 2 });
      else fallbacks += counts['v1'] ?? 0;
    }
    await callers.stop();
    expect(callers.failures).toEqual([]);
    expect(callers.versions['v2']).toBeGreaterThan(0);
    expect(callers.versions['v1']).toBeGreaterThan(0);
    expect(await faults(stable)).toEqual({});
    expect(fallbacks).toBeLessThanOrEqual(sum(await failures(stable)));
  });

  test('another stable version: the pod answers everything itself from then on', async () => {
    const [stable, candidate] = await example();
    await pods.tell(stable, pods.table(stable, [candidate], share(100)));
    await isAnsweredBy(stable, 'v2');
    const other = pods.table(candidate, [stable], { stable: { version: 'v3' } });
    await pods.tell(stable, other);
    await pods.tell(candidate, other);
    expect(tally([await infer(stable, flower)])).toEqual({ v1: 1 });
    expect(tally([await infer(candidate, flower)])).toEqual({ v2: 1 });
  });

  test('the candidate becomes the stable version: keys that it has stay with it, also in pods of the old one', async () => {
    const [stable, candidate] = await example();
    const sticky = { header: 'x-user-id' };
    const users = Array.from({ length: 40 }, (_, i) => `user-${i}`);
    const versions = () =>
      Promise.all(users.map(async (user) => versionOf(await infer(stable, flower, { 'x-user-id': user }))));
    const shadow = (version: string) => ({ shadow: { version, percent: 100 } });
    const parts = { ...share(50), ...shadow('v2'), sticky, salt: 'v1/v2', rollout: 'v2 then' };
    await pods.tell(stable, pods.table(stable, [candidate], parts));
    // On a busy machine the candidate may be late at first.
    const before = await until('keys of both', async () => {
      const late = sum(await failures(stable));
      const found = await versions();
      return late === sum(await failures(stable)) && found;
    });
    expect(new Set(before)).toEqual(new Set(['v1', 'v2']));
    const promoted = pods.table(candidate, [stable], { ...shadow('v1'), sticky, salt: 'v2' });
    await pods.tell(stable, promoted);
    await pods.tell(candidate, promoted);
    await until('each key stays', async () => {
      const late = sum(await failures(stable));
      const found = await versions();
      if (late !== sum(await failures(stable))) return false;
      expect(found).toEqual(before);
      return true;
    });
    const reply = await infer(stable, flower);
    expect([reply.headers.get('connection'), reply.headers.get('x-levada-trial')]).toEqual(['close', null]);
    // The shadow is now that of the new version's pods.
    expect(await requests(stable)).not.toHaveProperty('v1/shadow');
    // It goes back: then the table decides again.
    await pods.tell(stable, pods.table(stable, [candidate], { ...share(0), sticky, salt: 'v1/v2' }));
    expect(new Set(await versions())).toEqual(new Set(['v1']));
  });

  test('an older generation is refused, and so is another table of the same; the same table is not', async () => {
    const [stable, candidate] = await example();
    const [first, second] = [pods.table(stable, [candidate], share(0)), pods.table(stable, [candidate], share(100))];
    expect(await running(stable)).toEqual({});
    await pods.tell(stable, second);
    await pods.tell(stable, second);
    for (const table of [first, { ...second, ...share(50) }]) {
      const { status, error, json } = await put(stable, signRoutingTable(table, pods.key));
      expect([status, error]).toEqual([409, 'RoutingTableOutdated']);
      expect(json.error).toContain(`is not newer than ${second.generation}`);
    }
    expect(await running(stable)).toEqual({ generation: second.generation, ...share(100) });
    await isAnsweredBy(stable, 'v2');
  });

  test('only what the operator has signed, for this resource, is taken', async () => {
    const stable = await pods.start('v1', iris(1));
    const table = pods.table(stable, []);
    const signed = signRoutingTable(table, pods.key);
    const refused = async (body: unknown) => {
      const { status, error } = await put(stable, body);
      return [status, error];
    };
    expect(await refused({ ...signed, table: { ...table, salt: 'other' } })).toEqual([403, 'RoutingTableUnsigned']);
    expect(await refused({ ...signed, signature: '' })).toEqual([403, 'RoutingTableUnsigned']);
    expect(await refused(signRoutingTable(table, newKey()))).toEqual([403, 'RoutingTableUnsigned']);
    const others = { ...signRoutingTable(table, newKey()), keyId: signed.keyId };
    expect(await refused(others)).toEqual([403, 'RoutingTableUnsigned']);
    const foreign = signRoutingTable({ ...table, resource: 'default/other' }, pods.key);
    expect(await refused(foreign)).toEqual([403, 'RoutingTableForeign']);
    for (const body of ['', '{', 'null', '[]', '{"table":1,"signature":"","keyId":""}', '{"table":{}}']) {
      expect(await refused(body)).toEqual([400, 'RoutingTableInvalid']);
    }
    expect(await refused(' '.repeat(2 ** 20 + 1))).toEqual([413, 'BodyTooLarge']);
    expect(await running(stable)).toEqual({});
    await pods.tell(stable, table);
  });

  test('signed with the current key or with the one before', async () => {
    const [current, previous] = [newKey(), generateKeyPairSync('ed25519').privateKey];
    const folder = pods.keys(current, previous);
    const stable = await pods.start('v1', iris(1), { routing: { resource: 'default/m', folder } });
    for (const key of [previous, current]) {
      const table = pods.table(stable, []);
      expect((await put(stable, signRoutingTable(table, key))).json).toEqual({
        generation: table.generation,
      });
    }
    // A key that is made known later counts from then on.
    const next = newKey();
    const table = pods.table(stable, []);
    expect((await put(stable, signRoutingTable(table, next))).status).toBe(403);
    writeFileSync(join(folder, 'keys.json'), JSON.stringify([next, current].map(publicKeyText)));
    expect((await put(stable, signRoutingTable(table, next))).status).toBe(200);
  });

  test('a process without a public key takes none, and says no generation', async () => {
    const stable = await pods.start('v1', iris(1), { routing: undefined as never }); // JSON leaves it out
    const { status, error } = await put(stable, signRoutingTable(pods.table(stable, []), pods.key));
    expect([status, error]).toEqual([501, 'RoutingUnsupported']);
    expect(await running(stable)).toBe(undefined);
  });

  test('is read from the file at the start, and kept when nobody tells another', async () => {
    const candidate = await pods.start('v2', iris(2));
    const table = pods.table({ ...candidate, version: 'v1' }, [candidate], share(100));
    const routing = { resource: 'default/m', folder: pods.write(table) };
    const stable = await pods.start('v1', iris(1), { routing });
    expect(await running(stable)).toEqual({ generation: table.generation, ...share(100) });
    await isAnsweredBy(stable, 'v2');
  });

  test.each([
    ['is not there', undefined],
    ['is broken', '{'],
    ['is signed by somebody else', 'foreign'],
  ])('of a file that %s: the process answers everything itself', async (_name, content) => {
    const folder = pods.keys(pods.key);
    const path = join(folder, 'table.json');
    const table = pods.table({ version: 'v1' } as Pod, [], { ...share(100), addresses: { v2: ['tcp://x:1'] } });
    if (content === 'foreign') writeFileSync(path, JSON.stringify(signRoutingTable(table, newKey())));
    else if (content !== undefined) writeFileSync(path, content);
    const stable = await pods.start('v1', iris(1), { routing: { resource: 'default/m', folder } });
    expect(await running(stable)).toEqual({});
    expect(tally([await infer(stable, flower)])).toEqual({ v1: 1 });
    const said = stable.log.filter(({ level }) => level === 50).map(({ msg }) => String(msg));
    expect(said.filter((msg) => msg.startsWith('no routing table: '))).toHaveLength(content === undefined ? 0 : 1);
  });
});
