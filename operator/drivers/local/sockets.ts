import net from 'node:net';
import { LevadaError } from '../../../api/errors.ts';

/** A bound socket that this process keeps, and that model servers accept connections on. */
export interface BoundSocket {
  readonly port: number;
  /** Goes to a child process by `child.send(message, handle)`. */
  readonly handle: Handle;
  close(): void;
}

interface Handle {
  close(): void;
  getsockname(out: { port?: number }): number;
}

/**
 * Binds a loopback port, without listening on it: the first process that gets the handle does. Connections that nobody
 * has accepted yet wait in the kernel while processes come and go, because this process holds the socket.
 *
 * `net._createServerHandle` is what node:cluster binds its shared sockets with; no public function binds without
 * accepting. docs/decisions/0003-sockets.md has the alternatives.
 *
 * @param port 0: any that is free
 * @throws LevadaError PortBusy
 */
export function bindSocket(service: string, port: number): BoundSocket {
  const create = (net as unknown as { _createServerHandle(address: string, port: number, type: 4): Handle | number })
    ._createServerHandle;
  const handle = create('127.0.0.1', port, 4);
  if (typeof handle === 'number') throw busy(service, port, handle);
  const address: { port?: number } = {};
  // The kernel's EADDRINUSE is reported here, not by the bind itself.
  const error = handle.getsockname(address);
  if (error !== 0 || address.port === undefined) {
    handle.close();
    throw busy(service, port, error);
  }
  return { port: address.port, handle, close: () => handle.close() };
}

function busy(service: string, port: number, errno: number): LevadaError {
  const reasons: Record<number, string> = { [-98]: 'it is in use', [-48]: 'it is in use', [-13]: 'permission denied' };
  return new LevadaError('PortBusy', { port, service, detail: reasons[errno] ?? `error ${errno}` });
}
