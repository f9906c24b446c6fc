import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A TCP proxy that does what networks do: cut, fall silent, refuse. */
export interface Proxy {
  readonly port: number;
  /** Connections that are open. */
  readonly connections: number;
  /** Ends every connection now, as a reset. */
  cut(): void;
  /** Nothing goes through any more, and nobody is told; new connections are taken and get no answer. */
  silence(): void;
  /** New connections are refused. */
  refuse(): void;
  /** New connections go through. Those that were silenced stay so, as a half-open connection does. */
  heal(): void;
  close(): Promise<void>;
}

/** @param target where connections go, asked for each of them */
export async function startProxy(target: () => { readonly host: string; readonly port: number }): Promise<Proxy> {
  const pairs = new Set<{ near: Socket; far: Socket; silent: boolean }>();
  let mode: 'open' | 'silent' | 'refuse' = 'open';
  const server = createServer((near) => {
    near.on('error', () => {}); // the other side has gone
    if (mode === 'refuse') {
      near.resetAndDestroy();
      return;
    }
    const { host, port } = target();
    const far = connect({ host, port });
    const pair = { near, far, silent: mode === 'silent' };
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    far.on('error', () => !pair.silent && near.resetAndDestroy());
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.setNoDelay(true);
      from.on('data', (chunk) => {
        if (pair.silent) return;
        if (!to.write(chunk)) {
          from.pause();
          to.once('drain', () => from.resume());
        }
      });
      from.on('close', () => {
        // A connection that nobody hears of any more looks open to the other side.
        if (!pair.silent || from === near) end();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    port,
    get connections() {
      return pairs.size;
    },
    cut() {
      for (const { near, far } of pairs) {
        near.resetAndDestroy();
        far.destroy();
      }
    },
    silence() {
      mode = 'silent';
      for (const pair of pairs) pair.silent = true;
    },
    refuse() {
      mode = 'refuse';
    },
    heal() {
      mode = 'open';
    },
    async close() {
      for (const { near, far } of pairs) {
        near.destroy();
        far.destroy();
      }
      server.close();
      await once(server, 'close');
    },
  };
}
