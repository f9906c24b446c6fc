import { isIP, type Socket } from 'node:net';
import { buildConnector, Client, type Dispatcher } from 'undici';
import { type NetworkPolicy, refusalOf } from './address.ts';
import { guardedLookup, Resolver } from './lookup.ts';

/** Connections that are kept though nobody uses them, in all. It bounds the number of origins, too. */
const maxIdle = 1024;
/** How long a connection is kept that nobody uses, unless the server says less. */
const idleMs = 10_000;

type Connector = buildConnector.connector;

/**
 * Kept-alive connections of this process to whatever origins, one request at a time on each. One that was made under one
 * policy is never used under the other.
 */
export class Connections {
  readonly #connectors: Record<NetworkPolicy, Connector>;
  readonly #maxIdle: number;
  readonly #idleMs: number;
  /** By policy and origin; the one used last is the last. */
  readonly #idle = new Map<string, Connection[]>();
  /** The same, the oldest first. */
  readonly #ages = new Set<Connection>();

  constructor(options: { resolver?: Resolver; maxIdle?: number; idleMs?: number } = {}) {
    const resolver = options.resolver ?? new Resolver();
    this.#connectors = { Allow: connector(resolver, 'Allow'), Deny: connector(resolver, 'Deny') };
    this.#maxIdle = options.maxIdle ?? maxIdle;
    this.#idleMs = options.idleMs ?? idleMs;
  }

  /** Connections that nobody uses. */
  get idle(): number {
    return this.#ages.size;
  }

  /** @param isNew one that nobody has used yet, because a kept one may be gone without our knowing */
  take(origin: string, policy: NetworkPolicy, isNew: boolean): Connection {
    const key = `${policy} ${origin}`;
    const kept = isNew ? undefined : this.#idle.get(key)?.at(-1);
    if (!kept) return new Connection(this, key, origin, this.#connectors[policy], this.#idleMs);
    this.remove(kept);
    return kept;
  }

  /** Keeps a connection for who wants one next. */
  keep(connection: Connection): void {
    const list = this.#idle.get(connection.key);
    if (list) list.push(connection);
    else this.#idle.set(connection.key, [connection]);
    this.#ages.add(connection);
    if (this.#ages.size > this.#maxIdle) this.#ages.values().next().value?.discard();
  }

  /** @returns whether it was there */
  remove(connection: Connection): boolean {
    if (!this.#ages.delete(connection)) return false;
    const list = this.#idle.get(connection.key) ?? [];
    list.splice(list.lastIndexOf(connection), 1);
    if (list.length === 0) this.#idle.delete(connection.key);
    return true;
  }

  /** Ends the connections that nobody uses. */
  closeIdle(): void {
    for (const connection of [...this.#ages]) connection.discard();
  }
}

/** One connection, which is made when it is first used. */
export class Connection {
  readonly key: string;
  readonly #owner: Connections;
  readonly #client: Client;
  #socket: Socket | undefined;
  #used = false;

  constructor(owner: Connections, key: string, origin: string, connect: Connector, keepAliveMs: number) {
    this.key = key;
    this.#owner = owner;
    this.#client = new Client(origin, {
      // The callers have deadlines of their own; undici's would each begin anew.
      ...{ headersTimeout: 0, bodyTimeout: 0, allowH2: false },
      ...{ keepAliveTimeout: keepAliveMs, keepAliveMaxTimeout: keepAliveMs, keepAliveTimeoutThreshold: 1000 },
      connect: (options, connected) => {
        this.#used = false;
        // undici's connector returns the socket, though its type does not say so: it is wanted when we give up.
        this.#socket = connect(options, connected) as unknown as Socket | undefined;
      },
    });
    this.#client.on('disconnect', () => {
      if (owner.remove(this)) this.discard();
    });
  }

  /** Whether the request under way is not the first one on its socket: the server may have just closed it. */
  get isReused(): boolean {
    return this.#used;
  }

  get(path: string, headers: string[], handler: Dispatcher.DispatchHandler): void {
    this.#client.dispatch({ path, method: 'GET', headers }, handler);
  }

  /** After an answer that has come to its end. */
  release(): void {
    this.#used = true;
    this.#owner.keep(this);
  }

  /** Ends it, whatever it is at. */
  discard(): void {
    this.#owner.remove(this);
    this.#client.destroy(new Error('given up'), () => {});
    // undici leaves alone a socket that has not connected yet.
    this.#socket?.destroy();
    this.#socket = undefined;
  }
}

/**
 * Connects to what the policy allows, for names and for addresses.
 *
 * @param timeout milliseconds; 0: none
 */
export function connector(resolver: Resolver, policy: NetworkPolicy, timeout = 0): Connector {
  const connect = buildConnector({ allowH2: false, timeout, lookup: guardedLookup(resolver, policy) });
  return (options, connected) => {
    // Sockets do not look up what is an address already.
    const refused = isIP(options.hostname) === 0 ? undefined : refusalOf(options.hostname, policy);
    if (!refused) return connect(options, connected);
    // As a connection would: not before the caller has returned.
    return queueMicrotask(() => connected(refused, null));
  };
}
