import { afterEach, expect, test } from 'vitest';
import { until } from '../../test/support/wait.ts';
import { httpServer, json, type TestServer } from '../steps/fanout/testing.ts';
import type { NetworkPolicy } from './address.ts';
import { type Connection, Connections } from './connections.ts';

const open: TestServer[] = [];
const serve = async () => {
  const server = await httpServer((_, response) => json(response, {}));
  open.push(server);
  return server;
};
afterEach(() => Promise.all(open.splice(0).map((server) => server.close())));

const ask = (connection: Connection) =>
  new Promise<void>((resolve, reject) =>
    connection.get('/', [], {
      onRequestStart() {},
      onResponseStart() {},
      onResponseData() {},
      onResponseEnd: () => queueMicrotask(resolve),
      onResponseError: (_, error) => reject(error),
    }),
  );

/** One request to each of `urls`, all at once; the connections are kept afterwards. */
async function use(connections: Connections, urls: string[], policy: NetworkPolicy = 'Allow') {
  const taken = urls.map((url) => connections.take(url, policy, false));
  await Promise.all(taken.map(ask));
  for (const connection of taken) connection.release();
}

test('a connection is used again, of the same origin and policy only', async () => {
  const [one, two] = [await serve(), await serve()];
  const connections = new Connections();
  for (let i = 0; i < 3; i++) await use(connections, [one.url, two.url]);
  expect([one.connections(), two.connections(), connections.idle]).toEqual([1, 1, 2]);
  const other = connections.take(one.url, 'Deny', false);
  await expect(ask(other)).rejects.toMatchObject({ network: 'loopback' });
  other.discard();
  await use(connections, [one.url]);
  expect(one.connections()).toBe(1);
  connections.closeIdle();
  await until('all are closed', () => one.sockets.size + two.sockets.size === 0);
  expect(connections.idle).toBe(0);
});

test('what nobody uses is closed after a while', async () => {
  const server = await serve();
  const connections = new Connections({ idleMs: 50 });
  await use(connections, [server.url, server.url]);
  expect(server.sockets.size).toBe(2);
  await until('they are closed', () => server.sockets.size === 0 && connections.idle === 0);
});

test('one that the server closes is forgotten', async () => {
  const server = await serve();
  const connections = new Connections();
  await use(connections, [server.url]);
  for (const socket of server.sockets) socket.destroy();
  await until('it is forgotten', () => connections.idle === 0);
  await use(connections, [server.url]);
  expect(server.connections()).toBe(2);
  connections.closeIdle();
});

test('so many are kept in all, and the oldest goes', async () => {
  const servers = [await serve(), await serve(), await serve()];
  const connections = new Connections({ maxIdle: 2 });
  for (const { url } of servers) await use(connections, [url]);
  expect(connections.idle).toBe(2);
  await until('the first is closed', () => servers[0]?.sockets.size === 0);
  await use(
    connections,
    servers.slice(1).map(({ url }) => url),
  );
  expect(servers.map((server) => server.connections())).toEqual([1, 1, 1]);
  connections.closeIdle();
});

test('giving up one that has not connected ends its socket', async () => {
  const server = await serve();
  const connections = new Connections();
  const connection = connections.take(server.url, 'Allow', false);
  const asked = ask(connection);
  connection.discard();
  await expect(asked).rejects.toThrow('given up');
  await use(connections, [server.url]);
  await until('only the second is there', () => server.sockets.size === 1);
  connections.closeIdle();
});
