import {
  noTime,
  type RoutingReport,
  type RoutingStatus,
  type RoutingTable,
  type UnknownOutputs,
} from '../../../api/contract/routing-table.ts';
import { errorCodeOf } from '../../../api/errors.ts';
import type { Batcher } from '../batcher.ts';
import { differ } from '../routing/compare.ts';
import { Decider, type Decision, type Headers } from '../routing/decide.ts';
import { Judges } from '../routing/judges.ts';
import { RecentP99 } from '../routing/latency.ts';
import { allFinite, blameFor, budgetMs, hasTimeForBoth, misfit } from '../routing/rules.ts';
import type { Random } from '../routing/stratified.ts';
import { rows as rowsOf, type Tensor, type TensorInfo } from '../tensors.ts';
import type { Outcome } from './connection.ts';
import type { RoutingCounters } from './counters.ts';
import { Forwarded, type ForwardedHost } from './forwarded.ts';
import { Target } from './target.ts';

/** The stable version's model, which is in this process. */
export interface OwnModel {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly batcher: Batcher;
}

/** A request, whatever protocol it came by. */
export interface Work {
  readonly inputs: readonly Tensor[];
  readonly rows: number;
  /** When its tensors were made; this and the deadline are on the clock of `performance.now()`. */
  readonly began: number;
  readonly deadline: number;
  readonly headers: Headers;
  /**
   * The body of the answer.
   *
   * @param row the first of the request's rows in `outputs`
   * @throws LevadaError, e.g. OutputNotFinite
   */
  write(outputs: readonly Tensor[], row: number, version: string): string;
}

/**
 * Gets the body, the version that has answered, and the rollout that this is a trial of; or what went wrong. Called once, maybe
 * before `submit` has returned.
 */
export type RoutedAnswer = (error: unknown, body: string, version?: string, trial?: string) => void;

export interface RouterOptions {
  /** This process's. */
  readonly version: string;
  /** As tables name it. */
  readonly name?: string;
  readonly counters: RoutingCounters;
  readonly random?: Random;
}

/** Copies that may wait for the shadow. */
const maxShadows = 256;
const maxShadowBytes = 16 * 2 ** 20;
/** Requests of the candidate that this version scores at once, besides its own. */
const maxCompared = 64;
const compareWithinMs = 5_000;

/**
 * Answers the requests of a stable pod, each by the version that the routing table gives it to. What another version does not
 * answer as it should, the stable one answers: callers see no failure of a candidate.
 */
export class Router {
  readonly counters: RoutingCounters;
  readonly #options: RouterOptions;
  readonly #random: Random;
  #model: OwnModel | undefined;
  #host: ForwardedHost | undefined;
  #table: RoutingTable | undefined;
  #decider: Decider | undefined;
  #judges: Judges | undefined;
  /** The version that gets copies. */
  #shadow: string | undefined;
  readonly #targets = new Map<string, Target>();
  readonly #p99 = new RecentP99();
  #shadows = 0;
  #compared = 0;
  #shadowBytes = 0;

  constructor(options: RouterOptions) {
    this.#options = options;
    this.counters = options.counters;
    this.#random = options.random ?? Math.random;
  }

  #hostOf(model: OwnModel): ForwardedHost {
    const { counters } = this;
    return {
      model,
      own: this.#options.version,
      served: ({ work, drawn }, ms, outputs) => {
        const { decision, key, rollout } = drawn;
        const isFirst = counters.served(decision.version, decision.by, ms, key);
        if (isTrial(decision, isFirst)) this.#compare(work, decision, outputs);
        return trialOf(decision, isFirst, rollout);
      },
      failed: ({ drawn, givenMs }, blame, reason) => {
        const { version, by } = drawn.decision;
        counters.failed(version, by, blame, reason, drawn.key, givenMs);
      },
      timed: (ms, at) => this.#p99.observe(ms, at),
      answered: (work, version) => this.#copy(work, version),
    };
  }

  /** False: this process answers everything itself, because there is no table, or another version is and was the stable one. */
  get isActive(): boolean {
    return this.#decider !== undefined;
  }

  /** The model is loaded. */
  attach(model: OwnModel): void {
    this.#model = model;
    this.#host = this.#hostOf(model);
    this.#update();
  }

  apply(table: RoutingTable): void {
    if (table.rollout !== this.#table?.rollout) this.counters.forgetKeys();
    this.#table = table;
    this.#update();
  }

  /** All that was counted, for the operator, and what the table asks for in vain. */
  report(status: RoutingStatus): RoutingReport {
    const unknownOutputs = this.#unknownOutputs();
    return { ...this.counters.report(status), ...(unknownOutputs && { unknownOutputs }) };
  }

  #unknownOutputs(): UnknownOutputs | undefined {
    const { outputs } = this.#model ?? {};
    const wanted = this.#table?.compare?.outputs.filter((name) => !outputs?.some((info) => info.name === name));
    if (!outputs || !wanted?.length) return undefined;
    return { wanted, has: outputs.slice(0, 20).map(({ name }) => name.slice(0, 256)) };
  }

  /** Ends the connections, once what was sent is answered. */
  close(): void {
    for (const target of this.#targets.values()) target.leave();
    this.#targets.clear();
  }

  /**
   * @returns withdraws the request
   * @throws LevadaError QueueFull
   */
  submit(work: Work, answer: RoutedAnswer): () => void {
    const decision = (this.#decider as Decider).decide(work.headers);
    const { version, by } = decision;
    if (version === this.#options.version) return this.#answerHere(work, answer, decision);
    const now = performance.now();
    const p99 = this.#p99.at(now);
    if (!hasTimeForBoth(work.deadline - now, p99)) {
      this.counters.failed(version, by, 'unclear', noTime);
      return this.#answerHere(work, answer);
    }
    const target = this.#targets.get(version) as Target;
    const givenMs = budgetMs(work.deadline - now, p99);
    const request = new Forwarded(
      this.#host as ForwardedHost,
      work,
      { decision, key: this.#trialKey(work.headers, decision), rollout: this.#table?.rollout },
      { now, givenMs },
      answer,
    );
    target.send(request);
    return () => request.withdraw();
  }

  /**
   * What most requests come to, so nothing is made for it that is not needed.
   *
   * @param decision absent: it was another version's, and counts for neither
   */
  #answerHere(work: Work, answer: RoutedAnswer, decision?: Decision): () => void {
    const { version } = this.#options;
    // It is a trial of the rollout by whose table it was drawn; another may have begun when it is answered.
    const rollout = this.#table?.rollout;
    const key = decision && this.#trialKey(work.headers, decision);
    try {
      return (this.#model as OwnModel).batcher.submit(
        work.inputs,
        work.rows,
        work.deadline,
        (error, outputs, row, at) => {
          let text: string;
          try {
            if (error) throw error;
            text = work.write(outputs, row, version);
          } catch (thrown) {
            this.#failedHere(thrown, decision);
            answer(thrown, '');
            return;
          }
          const ms = at - work.began;
          this.#p99.observe(ms, at);
          const isFirst = decision && this.counters.served(version, decision.by, ms, key);
          answer(undefined, text, version, decision && trialOf(decision, isFirst === true, rollout));
          this.#copy(work, version);
        },
      );
    } catch (error) {
      this.#failedHere(error, decision);
      throw error;
    }
  }

  #failedHere(error: unknown, decision: Decision | undefined): void {
    if (!decision) return;
    this.counters.failed(decision.version, decision.by, blameFor(errorCodeOf(error) ?? 'InternalError'), 'error');
  }

  /** Shows an answered request to the shadow, if it is one of its share. Nobody waits for what comes of it. */
  #copy({ inputs, rows, began, deadline: allowed }: Work, answeredBy: string): void {
    const version = this.#shadow;
    if (version === undefined || version === answeredBy || !this.#decider?.shadows()) return;
    const { counters } = this;
    const bytes = inputs.reduce((sum, { data }) => sum + (Array.isArray(data) ? 64 * data.length : data.byteLength), 0);
    if (this.#shadows >= maxShadows || this.#shadowBytes + bytes > maxShadowBytes) {
      counters.dropped(version);
      return;
    }
    this.#shadows++;
    this.#shadowBytes += bytes;
    const done = (outcome: Outcome) => {
      this.#shadows--;
      this.#shadowBytes -= bytes;
      // The request was answered, so it is not the client's fault.
      if ('reason' in outcome) counters.failed(version, 'shadow', 'candidate', outcome.reason);
      else if (misfit(outcome.outputs, this.#model?.outputs ?? [], this.#rowsOf(rows))) {
        counters.failed(version, 'shadow', 'candidate', 'signature');
      } else if (allFinite(outcome.outputs)) counters.served(version, 'shadow', outcome.servedMs);
      else counters.failed(version, 'shadow', 'unclear', 'not-finite');
    };
    const now = performance.now();
    const p99 = this.#p99.at(now);
    // Nobody waits for it: what the caller allowed bounds it only while nothing else is known.
    const deadline = now + budgetMs(p99 > 0 ? Number.POSITIVE_INFINITY : allowed - began, p99);
    const target = this.#targets.get(version);
    if (target) target.send({ inputs, rows, deadline, done });
    else done({ reason: 'unreachable', detail: 'it has no address' });
  }

  /** Scores a trial here as well that the candidate has answered, if it is one of the sample. Callers come first. */
  #compare({ inputs, rows }: Work, { version, by }: Decision, theirs: readonly Tensor[]): void {
    const { candidate, compare } = this.#table ?? {};
    if (!compare || version !== candidate?.version || !this.#decider?.compares()) return;
    const { batcher, outputs: infos } = this.#model as OwnModel;
    if (this.#compared >= maxCompared) return;
    this.#compared++;
    try {
      batcher.submit(inputs, rows, performance.now() + compareWithinMs, (error, outputs, row) => {
        this.#compared--;
        if (error) return; // it was busy, or fails at it too: nothing to compare with
        for (const name of compare.outputs) {
          const index = infos.findIndex((info) => info.name === name);
          const [whole, other] = [outputs[index], theirs[index]];
          if (!whole || !other) continue;
          const own = batcher.joinable ? rowsOf(whole, row, row + rows) : whole;
          this.counters.compared(version, by, name, differ(own, other));
        }
      });
    } catch {
      this.#compared--; // the queue is full
    }
  }

  /** The key as a trial of a rollout, where this pod is the one that counts it. */
  #trialKey(headers: Headers, { by }: Decision): string | undefined {
    const key = by === 'sticky' && this.#table?.candidate ? this.#decider?.keyOf(headers) : undefined;
    if (key === undefined || !this.#judges) return key;
    return this.#judges.of(key) === this.#options.name ? key : undefined;
  }

  #rowsOf = (rows: number): number | undefined => (this.#model?.batcher.joinable ? rows : undefined);

  #update(): void {
    const { version } = this.#options;
    const [table, model] = [this.#table, this.#model];
    if (!table || !model) return;
    const isStable = table.stable.version === version;
    this.#shadow = isStable ? table.shadow?.version : undefined;
    // Its candidate has taken over: who is still connected here stays on the side that he was on, for the answers that are left.
    if (!isStable && this.#decider?.table.candidate?.version === table.stable.version) return;
    this.#decider = isStable ? new Decider(table, this.#random, this.#decider) : undefined;
    this.#judges = table.judges && new Judges(table.judges);
    const addresses = isStable ? table.addresses : {};
    for (const [name, target] of this.#targets) {
      if (Object.hasOwn(addresses, name) && name !== version) continue;
      target.leave();
      this.#targets.delete(name);
    }
    for (const [name, urls] of Object.entries(addresses)) {
      if (name === version) continue;
      const target = this.#targets.get(name) ?? new Target();
      this.#targets.set(name, target);
      const peers = urls.map((url) => ({ version: name, ...hostAndPort(url), signature: model }));
      target.update(peers, this.#random);
    }
  }
}

/** What a rule has decided is drawn from nothing, and of a key only the first request counts. */
const isTrial = ({ by }: Decision, isFirst: boolean): boolean => by === 'weight' || (by === 'sticky' && isFirst);

const trialOf = (decision: Decision, isFirst: boolean, rollout: string | undefined): string | undefined =>
  isTrial(decision, isFirst) ? rollout : undefined;

function hostAndPort(address: string): { host: string; port: number } {
  const { hostname, port } = new URL(address);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) };
}
