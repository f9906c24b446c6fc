import { errorCodeOf } from '../../../api/errors.ts';
import type { Decision } from '../routing/decide.ts';
import { allFinite, type Blame, blameFor, type FailureReason, lessFinite, misfit } from '../routing/rules.ts';
import { rows as rowsOf, type Tensor } from '../tensors.ts';
import type { Outcome } from './connection.ts';
import type { OwnModel, RoutedAnswer, Work } from './router.ts';

export interface ForwardedContext {
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
  served(ms: number, outputs: readonly Tensor[]): string | undefined;
  failed(blame: Blame, reason: FailureReason): void;
  /**
   * The stable version has scored the request instead.
   *
   * @param ms since it was asked
   * @param at on the clock of `performance.now()`
   */
  timed(ms: number, at: number): void;
  /** The caller has an answer, of this version. */
  answered(version: string): void;
}

/** One request that another version is to answer, and that the stable version answers where that fails. */
export class Forwarded {
  readonly #work: Work;
  readonly #decision: Decision;
  readonly #answer: RoutedAnswer;
  readonly #context: ForwardedContext;
  #isGone = false;
  /** While the stable version is asked instead. */
  #fallback: { readonly reason: FailureReason; readonly withdraw: () => void } | undefined;

  constructor(work: Work, decision: Decision, answer: RoutedAnswer, context: ForwardedContext) {
    this.#work = work;
    this.#decision = decision;
    this.#answer = answer;
    this.#context = context;
  }

  /** The caller has gone. What the other version makes of the request still counts: callers may leave because it hangs. */
  withdraw(): void {
    this.#isGone = true;
    if (!this.#fallback) return;
    this.#fallback.withdraw();
    this.#context.failed('unclear', this.#fallback.reason);
    this.#fallback = undefined;
  }

  end(outcome: Outcome): void {
    if ('reason' in outcome) {
      this.#fallBack(outcome.reason);
      return;
    }
    const { outputs, servedMs } = outcome;
    const { model } = this.#context;
    if (misfit(outputs, model.outputs, model.batcher.joinable ? this.#work.rows : undefined)) {
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
    const { model, failed, timed } = this.#context;
    if (this.#isGone) {
      failed(reason === 'error' || reason === 'not-finite' ? 'unclear' : 'candidate', reason);
      return;
    }
    const { inputs, rows, deadline } = this.#work;
    const asked = performance.now();
    try {
      const withdraw = model.batcher.submit(inputs, rows, deadline, (error, outputs, row, at) => {
        this.#fallback = undefined;
        if (!error) timed(at - asked, at);
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
    const { version } = this.#decision;
    let text: string;
    try {
      text = this.#work.write(outputs, 0, version);
    } catch (error) {
      otherwise(error);
      return;
    }
    const trial = this.#context.served(servedMs, outputs);
    if (this.#isGone) return;
    this.#answer(undefined, text, version, trial);
    this.#context.answered(version);
  }

  #answerOurs(outputs: readonly Tensor[], row: number, reason: FailureReason): void {
    const { own, failed, answered } = this.#context;
    let text: string;
    try {
      text = this.#work.write(outputs, row, own);
    } catch (error) {
      this.#failBoth(error, reason);
      return;
    }
    failed('candidate', reason);
    this.#answer(undefined, text, own);
    answered(own);
  }

  #failBoth(error: unknown, reason: FailureReason): void {
    this.#context.failed(blameFor(errorCodeOf(error) ?? 'InternalError'), reason);
    this.#answer(error, '');
  }
}
