import { noTime } from '../../../api/contract/routing-table.ts';
import { errorCodeOf } from '../../../api/errors.ts';
import type { Decision } from '../routing/decide.ts';
import { allFinite, type Blame, blameFor, type FailureReason, lessFinite, misfit } from '../routing/rules.ts';
import { rows as rowsOf, type Tensor } from '../tensors.ts';
import type { Forward, Outcome } from './connection.ts';
import type { OwnModel, RoutedAnswer, Work } from './router.ts';

/** What one process's forwarded requests share; it counts what becomes of them. */
export interface ForwardedHost {
  readonly model: OwnModel;
  /** The version of this process. */
  readonly own: string;
  /**
   * The other version has answered.
   *
   * @param ms in its pod
   * @param outputs in the stable version's order
   * @returns the rollout that this is a trial of
   */
  served(request: Forwarded, ms: number, outputs: readonly Tensor[]): string | undefined;
  failed(request: Forwarded, blame: Blame, reason: FailureReason): void;
  /**
   * The stable version has scored a request instead.
   *
   * @param ms since it was asked
   * @param at on the clock of `performance.now()`
   */
  timed(ms: number, at: number): void;
  /** The caller has an answer, of this version. */
  answered(work: Work, version: string): void;
}

/** How a request came to be another version's. */
export interface Drawn {
  readonly decision: Decision;
  /** Of the caller, where this pod is to count it. */
  readonly key: string | undefined;
  /** By whose table it was drawn; another one may have begun when it is answered. */
  readonly rollout: string | undefined;
}

/** What the stable version alone could make clear. */
const unclearReasons: readonly FailureReason[] = ['error', 'not-finite', noTime];

/** One request that another version is to answer, and that the stable version answers where that fails. */
export class Forwarded implements Forward {
  readonly work: Work;
  readonly drawn: Drawn;
  readonly inputs: readonly Tensor[];
  readonly rows: number;
  /** The other version's; the caller waits longer. */
  readonly deadline: number;
  /** Milliseconds that the other version has. */
  readonly givenMs: number;
  readonly #host: ForwardedHost;
  readonly #answer: RoutedAnswer;
  #isGone = false;
  /** While the stable version is asked instead. */
  #fallback: { readonly reason: FailureReason; readonly withdraw: () => void } | undefined;

  /** @param now on the clock of `performance.now()` */
  constructor(
    host: ForwardedHost,
    work: Work,
    drawn: Drawn,
    { now, givenMs }: { now: number; givenMs: number },
    answer: RoutedAnswer,
  ) {
    this.#host = host;
    this.work = work;
    this.drawn = drawn;
    this.inputs = work.inputs;
    this.rows = work.rows;
    this.deadline = now + givenMs;
    this.givenMs = givenMs;
    this.#answer = answer;
  }

  /** The caller has gone. What the other version makes of the request still counts: callers may leave because it hangs. */
  withdraw(): void {
    this.#isGone = true;
    if (!this.#fallback) return;
    this.#fallback.withdraw();
    this.#host.failed(this, 'unclear', this.#fallback.reason);
    this.#fallback = undefined;
  }

  done(outcome: Outcome): void {
    if ('reason' in outcome) {
      this.#fallBack(outcome.reason);
      return;
    }
    const { outputs, servedMs } = outcome;
    const { model } = this.#host;
    if (misfit(outputs, model.outputs, model.batcher.joinable ? this.rows : undefined)) {
      this.#fallBack('signature');
    } else if (!allFinite(outputs)) this.#fallBack('not-finite', { outputs, servedMs });
    else this.#answerTheirs(outputs, servedMs, () => this.#fallBack('answer'));
  }

  /**
   * The stable version answers instead, and by that shows whose fault it was.
   *
   * @param theirs with NaNs: the answer all the same, if the stable version has them as well
   */
  #fallBack(reason: FailureReason, theirs?: { outputs: readonly Tensor[]; servedMs: number }): void {
    const { model } = this.#host;
    if (this.#isGone) {
      this.#host.failed(this, unclearReasons.includes(reason) ? 'unclear' : 'candidate', reason);
      return;
    }
    const { inputs, rows, deadline } = this.work;
    const asked = performance.now();
    try {
      const withdraw = model.batcher.submit(inputs, rows, deadline, (error, outputs, row, at) => {
        this.#fallback = undefined;
        if (!error) this.#host.timed(at - asked, at);
        const ours = () =>
          model.batcher.joinable ? outputs.map((tensor) => rowsOf(tensor, row, row + rows)) : outputs;
        if (error) this.#failBoth(error, reason);
        else if (theirs && !lessFinite(theirs.outputs, ours())) {
          // The caller may have asked for other outputs than those with the NaNs.
          this.#answerTheirs(theirs.outputs, theirs.servedMs, (thrown) => this.#failBoth(thrown, reason));
        } else this.#answerOurs(outputs, row, reason);
      });
      this.#fallback = { reason, withdraw };
    } catch (error) {
      this.#failBoth(error, reason);
    }
  }

  #answerTheirs(outputs: readonly Tensor[], servedMs: number, otherwise: (error: unknown) => void): void {
    const { version } = this.drawn.decision;
    let text: string;
    try {
      text = this.work.write(outputs, 0, version);
    } catch (error) {
      otherwise(error);
      return;
    }
    const trial = this.#host.served(this, servedMs, outputs);
    if (this.#isGone) return;
    this.#answer(undefined, text, version, trial);
    this.#host.answered(this.work, version);
  }

  #answerOurs(outputs: readonly Tensor[], row: number, reason: FailureReason): void {
    const { own } = this.#host;
    let text: string;
    try {
      text = this.work.write(outputs, row, own);
    } catch (error) {
      this.#failBoth(error, reason);
      return;
    }
    this.#host.failed(this, reason === noTime ? 'unclear' : 'candidate', reason);
    this.#answer(undefined, text, own);
    this.#host.answered(this.work, own);
  }

  #failBoth(error: unknown, reason: FailureReason): void {
    this.#host.failed(this, blameFor(errorCodeOf(error) ?? 'InternalError'), reason);
    this.#answer(error, '');
  }
}
