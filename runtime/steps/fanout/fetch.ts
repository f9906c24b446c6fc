import type { Connections } from '../../net/connections.ts';
import type { StepEnvironment } from '../step.ts';
import { Exchange, type ExchangeOwner } from './exchange.ts';
import { type Failure, failure, type Outcome, type Result } from './result.ts';
import type { Gate, Job, Line, Schedule } from './schedule.ts';
import { policyOf, redirectTarget, type Target, TargetProblem, targetOf } from './target.ts';

/** What the fetches of a step have in common. */
export interface FetchOptions {
  readonly timeoutMs: number;
  readonly attempts: number;
  readonly maxBytes: number;
  readonly maxRedirects: number;
  readonly privateNetworks: 'Allow' | 'Deny';
  readonly environment: StepEnvironment;
  readonly connections: Connections;
  readonly schedule: Schedule;
  /** From 0 up to 1. */
  readonly random: () => number;
}

/** The event that URLs belong to. */
export interface FetchOwner {
  readonly line: Line;
  readonly options: FetchOptions;
  readonly headers: string[];
  reserve(bytes: number): boolean;
  /** Called once, and not before {@link Fetch.begin} has returned unless that fails. */
  fetched(index: number, result: Result): void;
}

/** One URL: its attempts and redirects, within its deadline. */
export class Fetch implements Job, ExchangeOwner {
  readonly maxBytes: number;
  readonly #owner: FetchOwner;
  readonly #index: number;
  readonly #text: string;
  #isOver = false;
  #gate: Gate | undefined;
  /** Whether it holds a place of {@link #gate}. */
  #isActive = false;
  #first: Target | undefined;
  #target: Target | undefined;
  #attempt = 1;
  /** Where the redirects of this attempt have led. */
  #visited: readonly string[] = none;
  #exchange: Exchange | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #deadlineAt = 0;
  #pause: NodeJS.Timeout | undefined;

  constructor(owner: FetchOwner, index: number, text: string) {
    this.#owner = owner;
    this.#index = index;
    this.#text = text;
    this.maxBytes = owner.options.maxBytes;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get gate(): Gate {
    return this.#gate as Gate;
  }

  begin(): void {
    const target = orFailure(() => targetOf(this.#text, this.#owner.options.environment));
    if ('kind' in target) this.#fail(target);
    else {
      this.#first = target;
      this.#request(target);
    }
  }

  /** Waits for its turn with `target`. */
  #request(target: Target): void {
    const { options, line } = this.#owner;
    this.#target = target;
    this.#gate = line.gates.get(target.address.origin);
    options.schedule.submit(line, this);
  }

  start(): void {
    this.#isActive = true;
    if (this.#deadline === undefined) {
      const { timeoutMs } = this.#owner.options;
      this.#deadlineAt = performance.now() + timeoutMs;
      this.#deadline = setTimeout(() => this.#late(), timeoutMs);
    }
    this.#send(false);
  }

  /** @param isNew on a connection that nobody has used */
  #send(isNew: boolean): void {
    const target = this.#target as Target;
    const { connections, privateNetworks } = this.#owner.options;
    const { origin, pathname, search } = target.address;
    const connection = connections.take(origin, policyOf(target, privateNetworks), isNew);
    this.#exchange = new Exchange(this, connection);
    this.#exchange.start(search === '' ? pathname : pathname + search, this.#owner.headers);
  }

  reserve(bytes: number): boolean {
    return this.#owner.reserve(bytes);
  }

  ended(outcome: Outcome): void {
    this.#exchange = undefined;
    if (outcome.kind === 'data') {
      this.#finish({ url: this.#text, status: outcome.status, data: outcome.data });
    } else if (outcome.kind === 'redirect') {
      const target = this.#redirectTarget(outcome.location);
      if ('kind' in target) this.#fail(target);
      else {
        this.#leave();
        this.#request(target);
      }
    } else if (outcome.isStale) {
      // GET is idempotent. That the server has closed a connection which we kept is no fault of this request.
      this.#send(true);
    } else this.#tryAgain(outcome);
  }

  #redirectTarget(location: string): Target | Failure {
    const { maxRedirects, environment } = this.#owner.options;
    const from = this.#target as Target;
    this.#visited = [...this.#visited, from.url.href];
    if (maxRedirects === 0) return failure('the answer is a redirect, and none is followed');
    if (this.#visited.length > maxRedirects) return failure(`more than ${maxRedirects} redirects`);
    const target = orFailure(() => redirectTarget(location, from, environment));
    if ('kind' in target) return failure(`the redirect is not followed: ${target.error}`);
    return this.#visited.includes(target.url.href) ? failure('the redirects go in a circle') : target;
  }

  #tryAgain(outcome: Failure): void {
    const { attempts, random } = this.#owner.options;
    const waitMs = Math.max(backoffMs(this.#attempt, random()), outcome.retryAfterMs ?? 0);
    const isLate = performance.now() + waitMs >= this.#deadlineAt;
    if (!outcome.mayPass || this.#attempt >= attempts || isLate) {
      this.#fail(outcome);
      return;
    }
    this.#attempt++;
    this.#visited = none;
    this.#leave();
    this.#pause = setTimeout(() => this.#request(this.#first as Target), waitMs);
  }

  #late(): void {
    const known = this.#exchange?.abandon();
    if (known?.kind === 'failure') this.#fail(known);
    else this.#finish({ url: this.#text, status: 'timeout', error: 'Request timed out' });
  }

  #fail({ error }: Failure): void {
    this.#finish({ url: this.#text, status: 'error', error });
  }

  #finish(result: Result): void {
    this.#isOver = true;
    clearTimeout(this.#deadline);
    clearTimeout(this.#pause);
    this.#owner.fetched(this.#index, result);
    this.#leave();
  }

  /** Gives its place to who waits. */
  #leave(): void {
    if (!this.#isActive) return;
    this.#isActive = false;
    this.#owner.options.schedule.release(this.#owner.line, this.gate);
  }

  /** Ends without a result. */
  abort(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#deadline);
    clearTimeout(this.#pause);
    this.#exchange?.abandon();
    this.#leave();
  }
}

function orFailure(find: () => Target): Target | Failure {
  try {
    return find();
  } catch (error) {
    if (error instanceof TargetProblem) return failure(error.message);
    throw error;
  }
}

const none: readonly string[] = [];
const firstBackoffMs = 50;

/** Milliseconds before attempt `attempt` + 1: twice as long each time, less up to a half by chance. */
export const backoffMs = (attempt: number, random: number): number =>
  firstBackoffMs * 2 ** (attempt - 1) * (1 - random / 2);
