import net from 'node:net';

/** A loopback port that is free now: `wanted` where that is free, else another one, and none of `taken`. */
export async function freePort(wanted?: number, taken: ReadonlySet<number> = new Set()): Promise<number> {
  if (wanted !== undefined && (await bind(wanted)) === wanted) return wanted;
  for (let tries = 0; tries < 100; tries++) {
    const port = await bind(0);
    if (port !== undefined && !taken.has(port)) return port;
  }
  throw new Error('no loopback port is free');
}

/** Binds and lets go again; `undefined` when it is taken. */
const bind = (port: number): Promise<number | undefined> =>
  new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(undefined));
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => {
      const address = server.address() as net.AddressInfo;
      server.close(() => resolve(address.port));
    });
  });

/** Whether something accepts connections on a loopback port. */
export const accepts = (port: number, signal: AbortSignal): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = net.connect({ host: '127.0.0.1', port, signal, timeout: 1_000 });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => end(true));
    socket.once('timeout', () => end(false));
    // Also after the answer: an abort destroys the socket with an error.
    socket.on('error', () => end(false));
  });
