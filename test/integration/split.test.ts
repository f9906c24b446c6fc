/**
 * A split of a local run with several pods: changed under load again and again, no request fails, and every pod heeds each change.
 * Then who answers is counted. `npm run prove -- rollout` changes it a hundred times and holds the time against its bar.
 */
import http from 'node:http';
import { expect, test } from 'vitest';
import type { RoutingReport } from '../../api/contract/routing-table.ts';
import { request } from '../support/http.ts';
import { startLoad } from '../support/load.ts';
import { iris, Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';

const everything = process.env['LEVADA_PROVE'] !== undefined;
const flips = everything ? 100 : 10;
const barMs = 2_000;
const replicas = 3;
/** None is that of the change before, nor of the one before that: a pod that becomes ready late makes a table, too, and one edit may then be passed over. */
const weights = [90, 50, 10, 70, 30];

const split = (weight: number) =>
  iris({
    replicas,
    split: [
      { version: 'v1', weight: 100 - weight },
      { version: 'v2', weight },
    ],
    sticky: { header: 'x-user-id' },
  });

/** The tables that pods go by, as they say themselves. */
async function generations(admins: readonly string[]): Promise<number[]> {
  const reports = await Promise.all(admins.map(async (admin) => (await request(`${admin}/routing`)).body));
  return reports.map((text) => (JSON.parse(text) as RoutingReport).generation ?? 0);
}

/** Requests of a row, some at a time. @returns the version that has answered each @throws Error: one has failed */
async function versionsOf(url: string, headers: ReadonlyArray<Record<string, string>>): Promise<string[]> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
  const one = (more: Record<string, string>) =>
    new Promise<string>((resolve, reject) => {
      const req = http.request(`${url}/predict`, { method: 'POST', agent, headers: more }, (res) => {
        res.resume().on('error', reject);
        res.on('end', () => {
          if (res.statusCode === 200) resolve(String(res.headers['x-levada-version']));
          else reject(new Error(`answered ${res.statusCode}`));
        });
      });
      req.on('error', reject);
      req.end('{"features":[5.1,3.5,1.4,0.2]}');
    });
  try {
    return await Promise.all(headers.map(one));
  } finally {
    agent.destroy();
  }
}

const countOf = (versions: readonly string[]): number => versions.filter((version) => version === 'v2').length;

test(`${flips} changes under load: no request fails, every pod heeds each; then the shares are what they say`, async () => {
  await using ws = await Workspace.create();
  await ws.write('res/iris.yaml', split(10));
  await (await ws.up('--replicas')).says('takes the traffic. http');
  const { services, admin } = await until('all pods run', async () => {
    const got = await ws.get();
    const isReady = got.status?.conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
    return isReady && got.admin['iris-v1']?.length === replicas && got;
  });
  const url = services['iris'] ?? '';
  const pods = admin['iris-v1'] ?? [];
  const applied = (after: number) =>
    until(`every pod has a table after ${after}`, async () => {
      const now = await generations(pods);
      return now.every((one) => one > after) && Math.max(...now);
    });
  let generation = await applied(0);

  const load = await startLoad(url, { perSecond: 100 });
  const took: number[] = [];
  for (let flip = 1; flip <= flips; flip++) {
    const began = performance.now();
    await ws.write('res/iris.yaml', split(weights[(flip - 1) % weights.length] ?? 0));
    generation = await applied(generation);
    took.push(performance.now() - began);
  }
  const result = await load.stop();
  const slowest = Math.max(...took);
  console.log(`${flips} changes, the slowest was everywhere after ${slowest.toFixed(0)} ms; ${JSON.stringify(result)}`);
  expect(result).toMatchObject({ wrong: 0, failed: 0, samples: [] });
  if (everything) expect(slowest).toBeLessThanOrEqual(barMs);

  // Nobody else asks now: a pod that has a new table begins to share out anew.
  await ws.write('res/iris.yaml', split(25));
  generation = await applied(generation);
  const unkeyed = await versionsOf(url, Array(1_000).fill({}));
  expect(Math.abs(countOf(unkeyed) - 250)).toBeLessThanOrEqual(replicas + 1);

  const keys = Array.from({ length: 1_000 }, (_, i) => ({ 'x-user-id': `user-${i}` }));
  let before: string[] = [];
  for (const weight of [25, 50, 75]) {
    if (weight > 25) {
      await ws.write('res/iris.yaml', split(weight));
      generation = await applied(generation);
    }
    const now = await versionsOf(url, keys);
    const p = weight / 100;
    expect(Math.abs(countOf(now) - 1_000 * p)).toBeLessThanOrEqual(3 * Math.sqrt(1_000 * p * (1 - p)));
    expect(before.filter((version, i) => version === 'v2' && now[i] !== 'v2')).toEqual([]);
    before = now;
  }
});

test('a key counts in one of several pods, however often and wherever it asks', async () => {
  await using ws = await Workspace.create();
  const sticky = { header: 'x-user-id' };
  await ws.write('res/iris.yaml', iris({ replicas: 2, sticky }));
  await (await ws.up('--replicas')).says('takes the traffic. http');
  const rollout = { interval: '1s', steps: [{ weight: 50, hold: '1h' }] };
  await ws.write('res/iris.yaml', iris({ replicas: 2, sticky, serve: 'v2', rollout }));
  const { services, admin } = await until('both pods share out', async () => {
    const got = await ws.get();
    return got.status?.rollout?.appliedWeight === 50 && got.admin['iris-v1']?.length === 2 && got;
  });
  const keys = Array.from({ length: 100 }, (_, i) => ({ 'x-user-id': `user-${i}` }));
  const counted = async () => {
    await versionsOf(services['iris'] ?? '', keys);
    const reports = (admin['iris-v1'] ?? []).map(async (url) => (await request(`${url}/routing`)).body);
    return (await Promise.all(reports)).map((text) =>
      (JSON.parse(text) as RoutingReport).counts.reduce((sum, { keys }) => sum + (keys?.n ?? 0), 0),
    );
  };
  const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
  await until('each key has come to the pod that counts it', async () => sum(await counted()) >= keys.length);
  const counts = await counted();
  expect(sum(counts)).toBe(keys.length);
  expect(Math.min(...counts)).toBeGreaterThan(0);
});
