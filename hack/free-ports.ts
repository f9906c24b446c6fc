import { createServer } from 'node:net';

/** A free port on each address, all different where addresses are the same. */
export async function freePorts(addresses: readonly string[]): Promise<number[]> {
  const servers = await Promise.all(
    addresses.map(async (address) => {
      const server = createServer();
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(0, address, resolve);
      });
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  for (const server of servers) server.close();
  return ports;
}
