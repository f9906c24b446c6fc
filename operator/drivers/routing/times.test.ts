import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { latencyBoundsMs } from '../../../api/contract/routing-table.ts';
import type { ModelDeployment } from '../../../api/v1alpha1/model-deployment.ts';
import { countOf } from '../../plan/rollout/histogram.ts';
import { RoutingDesk } from './desk.ts';

const closing: (() => unknown)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** A rollout whose status has counted up to `countedUntil`, and whose latency gates have these quantiles. */
const resource = (countedUntil: number, weight: number, ...quantiles: number[]) =>
  ({
    kind: 'ModelDeployment',
    metadata: { name: 'iris', namespace: 'default' },
    spec: {
      rollout: { interval: '15s', gates: quantiles.map((quantile) => ({ latency: { quantile, maxRatio: 1.2 } })) },
    },
    status: {
      rollout: {
        ...{ phase: 'Progressing', stable: 'v1', candidate: 'v2', weight },
        ...{ startedAt: new Date(0).toISOString(), countedUntil: new Date(countedUntil).toISOString() },
      },
    },
  }) as unknown as ModelDeployment;

it('times wait for as many of the stable version as the highest quantile needs, and at 100 % for none', async () => {
  let served = { v1: 0, v2: 0 };
  let late = 0;
  const server = createServer((_req, res) => {
    const counts = Object.entries(served).map(([version, requests]) => {
      const times = (count: number) => [count, ...Array<number>(latencyBoundsMs.length).fill(0)];
      const theirs = version === 'v2' && late > 0 && { late: times(late) };
      return { version, by: 'weight', requests, failures: [], latency: times(requests), ...theirs };
    });
    res.end(JSON.stringify({ process: 'p', counts }));
  }).listen(0, '127.0.0.1');
  closing.push(() => server.close());
  await once(server, 'listening');
  let now = 0;
  const fail = () => Promise.reject(new Error('nothing is signed here'));
  const desk = new RoutingDesk({ signer: fail, now: () => now, log: () => {}, askSteps: async () => [] });
  closing.push(() => desk.close());
  const admin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const look = async (v1: number, v2: number, weight = 5) => {
    const since = now;
    now += 15_000;
    served = { v1, v2 };
    const { latency } = (await desk.traffic('o', resource(since, weight, 0.9, 0.99), [admin])) ?? {};
    return latency && [countOf(latency.stable), countOf(latency.candidate), countOf(latency.late ?? [])];
  };
  expect(await look(0, 0)).toEqual([0, 0, 0]);
  late = 2;
  expect(await look(50, 3)).toEqual([50, 0, 0]);
  late = 3;
  expect(await look(110, 6)).toEqual([110, 6, 3]);
  expect(await look(110, 60, 100)).toEqual([110, 54, 0]);
});
