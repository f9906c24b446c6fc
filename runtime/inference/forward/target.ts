import { type Breaker, newBreaker, onFailure, onSuccess, stateOf } from '../../delivery/breaker.ts';
import type { Random } from '../routing/stratified.ts';
import { afterTwoTurns, Connection, type Forward, type Outcome, type Peer } from './connection.ts';

/** A connection is replaced after about this time, so that pods that have come meanwhile get their part. */
const maxAgeMs = 300_000;
/** Who has said goodbye is not asked for so long; by then a routing table without it has come, or somebody is there again. */
const awayMs = 1_000;

/** Gets what could not be sent by a link. */
type Elsewhere = (forward: Forward, link: Link, why: string) => void;

/** One address of another version: at most one connection, and a breaker that remembers whether anybody is there. */
class Link {
  readonly #peer: Peer;
  readonly #random: Random;
  readonly #elsewhere: Elsewhere;
  #breaker: Breaker = newBreaker();
  #connection: Connection | undefined;
  #probing = false;
  #awayUntil = 0;
  #age: NodeJS.Timeout | undefined;

  constructor(peer: Peer, random: Random, elsewhere: Elsewhere) {
    this.#peer = peer;
    this.#random = random;
    this.#elsewhere = elsewhere;
    this.#open();
  }

  /** Whether it takes a request now. After failures, one at a time to see whether it is back. */
  get permits(): boolean {
    const now = performance.now();
    if (now < this.#awayUntil) return false;
    const state = stateOf(this.#breaker, now);
    return state === 'Closed' || (state === 'HalfOpen' && !this.#probing);
  }

  send(forward: Forward): void {
    if (stateOf(this.#breaker, performance.now()) === 'HalfOpen') this.#probing = true;
    (this.#connection ?? this.#open()).send(forward);
  }

  /** Ends when what was sent is answered. */
  leave(): void {
    this.#connection?.leave();
  }

  #open(): Connection {
    const connection = new Connection(this.#peer, {
      left: (left) => {
        if (left.isDismissed) this.#awayUntil = performance.now() + awayMs;
        if (this.#connection !== left) return;
        this.#connection = undefined;
        clearTimeout(this.#age);
      },
      ended: (outcome) => this.#learn(outcome),
      unsent: (forwards, why) => {
        for (const forward of forwards) {
          this.#learn({ reason: 'unreachable', detail: why });
          this.#elsewhere(forward, this, why);
        }
      },
    });
    this.#connection = connection;
    clearTimeout(this.#age);
    this.#age = setTimeout(() => connection.leave(), maxAgeMs * (0.9 + 0.2 * this.#random())).unref();
    return connection;
  }

  /** Only whether it is there: an answer of any kind says that it is. */
  #learn(outcome: Outcome): void {
    this.#probing = false;
    if (!('reason' in outcome) && this.#breaker.failures === 0) return;
    const now = performance.now();
    const gone = 'reason' in outcome && (outcome.reason === 'unreachable' || outcome.reason === 'late');
    const before = stateOf(this.#breaker, now);
    this.#breaker = gone ? onFailure(this.#breaker, now) : onSuccess(this.#breaker);
    // A host that has vanished never ends its connections; the next request is to make a new one.
    if (before !== 'Open' && stateOf(this.#breaker, now) === 'Open') {
      this.#connection?.destroy('it did not answer');
    }
  }
}

/** Another version, at one or more addresses. */
export class Target {
  readonly #links = new Map<string, Link>();
  #at = 0;
  /** Where the requests of two turns go, so that they are one message. */
  #current: Link | undefined;

  /** Connects, so that the first request finds a connection. */
  update(peers: readonly Peer[], random: Random): void {
    const wanted = new Map(peers.map((peer) => [`${peer.host} ${peer.port}`, peer]));
    for (const [key, link] of this.#links) {
      if (wanted.has(key)) continue;
      link.leave();
      this.#links.delete(key);
    }
    for (const [key, peer] of wanted) {
      if (!this.#links.has(key)) this.#links.set(key, new Link(peer, random, this.#elsewhere));
    }
    this.#current = undefined;
  }

  /** Where nobody is at one address, the request goes to the next; it fails when there is none that has not failed just now. */
  send(forward: Forward): void {
    const link = this.#pick();
    if (!link) {
      forward.done({ reason: 'breaker', detail: 'it was not there a moment ago' });
      return;
    }
    link.send(forward);
  }

  leave(): void {
    this.update([], Math.random);
  }

  readonly #elsewhere: Elsewhere = (forward, link, why) => {
    if (this.#pick(link)) this.send(forward);
    else forward.done({ reason: 'unreachable', detail: why });
  };

  #pick(except?: Link): Link | undefined {
    if (this.#current !== except && this.#current?.permits) return this.#current;
    const links = [...this.#links.values()];
    for (let i = 0; i < links.length; i++) {
      const link = links[(this.#at + i) % links.length] as Link;
      if (link === except || !link.permits) continue;
      if (this.#current === undefined) afterTwoTurns(() => this.#turn());
      this.#current = link;
      return link;
    }
    return undefined;
  }

  #turn(): void {
    this.#at++;
    this.#current = undefined;
  }
}
