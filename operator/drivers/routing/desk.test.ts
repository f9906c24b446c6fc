import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { latencyBoundsMs, type RoutingReport } from '../../../api/contract/routing-table.ts';
import { RoutingDesk } from './desk.ts';
import { newSigningKey, signerOf } from './signing.ts';

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
});

/** A process that has counted so many requests of v2, and for how long. */
async function startProcess(
  said: Pick<RoutingReport, 'unknownOutputs'> & { requests: number; countedMs: number | undefined },
): Promise<string> {
  const process = `p${servers.length}`;
  const server = createServer((_, res) => {
    const latency = [said.requests, ...latencyBoundsMs.map(() => 0)];
    const count = { version: 'v2', by: 'weight', requests: said.requests, failures: [], latency } as const;
    const { countedMs, unknownOutputs } = said;
    const report = { process, countedMs, counts: [count], ...(unknownOutputs && { unknownOutputs }) };
    res.end(JSON.stringify(report satisfies Omit<RoutingReport, 'countedMs'>));
  });
  servers.push(server);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const begun = Date.UTC(2030, 0, 1);
const owner = 'default/iris';

it('counts nothing twice of processes that missed the first look, and all of those that have begun since', async () => {
  let time = begun;
  const signer = signerOf(newSigningKey());
  const desk = new RoutingDesk({
    signer: async () => signer,
    now: () => time,
    log: () => {},
    askSteps: async () => [],
  });
  const look = async (...admins: string[]) => {
    const at = (ms: number) => new Date(ms).toISOString();
    const rollout = {
      phase: 'Progressing',
      stable: 'v1',
      candidate: 'v2',
      startedAt: at(begun),
      countedUntil: at(begun),
    };
    const resource = { kind: 'ModelDeployment', metadata: { name: 'iris' }, spec: {}, status: { rollout } };
    return (await desk.traffic(owner, resource as never, admins))?.requests;
  };
  expect(await look()).toBeUndefined(); // nobody answers
  const old = { requests: 1_000, countedMs: 600_000 };
  const silent = { requests: 50, countedMs: undefined };
  const young = { requests: 7, countedMs: 5_000 };
  const admins = await Promise.all([startProcess(old), startProcess(silent), startProcess(young)]);
  time += 60_000;
  expect(await look(...admins)).toBe(7);
  old.requests += 3;
  silent.requests += 2;
  time += 60_000;
  expect(await look(...admins)).toBe(12);
  desk.close();
});

it('hands on which outputs nobody has, in the looks that count', async () => {
  const desk = new RoutingDesk({
    ...{ signer: async () => signerOf(newSigningKey()), now: () => begun + 60_000, log: () => {} },
    askSteps: async () => [],
  });
  const unknownOutputs = { wanted: ['score'], has: ['label'] };
  const admin = await startProcess({ requests: 1, countedMs: 5_000, unknownOutputs });
  const look = (countedUntil: number) => {
    const [startedAt, until] = [begun, countedUntil].map((ms) => new Date(ms).toISOString());
    const rollout = { phase: 'Progressing', stable: 'v1', candidate: 'v2', startedAt, countedUntil: until };
    const resource = { kind: 'ModelDeployment', metadata: { name: 'iris' }, spec: {}, status: { rollout } };
    return desk.traffic(owner, resource as never, [admin]);
  };
  expect((await look(begun))?.unknownOutputs).toEqual(unknownOutputs);
  expect(await look(begun + 59_000)).toBeUndefined();
  desk.close();
});
