import { type LookupAddress, lookup } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { type NetworkPolicy, refusalOf } from './address.ts';

type Answered = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void;
/** As `dns.lookup` with `all`. */
export type Resolve = (hostname: string, answered: Answered) => void;

/** getaddrinfo blocks one of libuv's four threads; files and compression want the others. */
const maxLookups = 2;

/** Looks names up, each name once at a time, and few names at a time. */
export class Resolver {
  readonly #resolve: Resolve;
  readonly #waiting = new Map<string, Answered[]>();
  readonly #queue: string[] = [];
  #running = 0;

  constructor(resolve: Resolve = (hostname, answered) => lookup(hostname, { all: true }, answered)) {
    this.#resolve = resolve;
  }

  resolve(hostname: string, answered: Answered): void {
    const others = this.#waiting.get(hostname);
    if (others) {
      others.push(answered);
      return;
    }
    this.#waiting.set(hostname, [answered]);
    this.#queue.push(hostname);
    this.#next();
  }

  #next(): void {
    if (this.#running >= maxLookups) return;
    const hostname = this.#queue.shift();
    if (hostname === undefined) return;
    this.#running++;
    this.#resolve(hostname, (error, addresses) => {
      this.#running--;
      const waiting = this.#waiting.get(hostname) ?? [];
      this.#waiting.delete(hostname);
      for (const answered of waiting) answered(error, addresses);
      this.#next();
    });
  }
}

/**
 * A `lookup` for sockets that gives addresses only where the policy allows every one of the name: the socket connects to
 * what was checked, so a name server that changes its mind gains nothing, and neither does one that hides an address
 * among others.
 */
export function guardedLookup(resolver: Resolver, policy: NetworkPolicy): LookupFunction {
  return (hostname, options, answered) => {
    resolver.resolve(hostname, (error, addresses) => {
      if (error) return answered(error, '', 0);
      for (const { address } of addresses) {
        const refused = refusalOf(address, policy);
        if (refused) return answered(refused, '', 0);
      }
      if (options.all) return answered(null, addresses);
      const [first] = addresses;
      return first
        ? answered(null, first.address, first.family)
        : answered(Object.assign(new Error('no addresses'), { code: 'ENOTFOUND' }), '', 0);
    });
  };
}
