import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A TCP proxy that does what networks do: cut, fall silent, refuse. */
export interface Proxy {
  readonly port: number;
  /** Connections that are open. */
  readonly connections: number;
  /** Ends every connection now, as a reset. */
  cut(): void;
  /** Connections so far. */
  readonly accepted: number;
  /** Bytes that are held back. */
  readonly held: number;
  /**
   * Nothing goes through any more, and nobody is told; new connections are taken and get no answer.
   *
   * @param direction `answers`: what clients send still arrives. Default: both
   */
  silence(direction?: 'answers'): void;
  /** Keeps what comes, until {@link Proxy.release}. */
  hold(): void;
  /** Lets go what was held, in its order. */
  release(): void;
  /** New connections are refused. */
  refuse(): void;
  /** New connections go through. Those that were silenced stay so, as a half-open connection does. */
  heal(): void;
  close(): Promise<void>;
}

/** @param target where connections go, asked for each of them */
export async function startProxy(target: () => { readonly host: string; readonly port: number }): Promise<Proxy> {
  const pairs = new Set<{ near: Socket; far: Socket; silent: boolean | 'answers' }>();
  let mode: 'open' | 'silent' | 'refuse' = 'open';
  let held: Array<{ to: Socket; chunk: Buffer }> | undefined;
  let accepted = 0;
  const server = createServer((near) => {
    accepted++;
    near.on('error', () => {}); // the other side has gone
    if (mode === 'refuse') {
      near.resetAndDestroy();
      return;
    }
    const { host, port } = target();
    const far = connect({ host, port });
    const pair: { near: Socket; far: Socket; silent: boolean | 'answers' } = { near, far, silent: mode === 'silent' };
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
      from.on('data', (chunk: Buffer) => {
        if (pair.silent === true || (pair.silent === 'answers' && from === far)) return;
        if (held) {
          held.push({ to, chunk });
          return;
        }
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
    get accepted() {
      return accepted;
    },
    get held() {
      return (held ?? []).reduce((sum, { chunk }) => sum + chunk.length, 0);
    },
    silence(direction) {
      mode = 'silent';
      for (const pair of pairs) pair.silent = direction ?? true;
    },
    hold() {
      held ??= [];
    },
    release() {
      for (const { to, chunk } of held ?? []) to.write(chunk);
      held = undefined;
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
