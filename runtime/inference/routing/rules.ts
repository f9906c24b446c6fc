/** The rules of forwarding: how long another version may take, whose fault a failure is, which answers are off its signature. */

import type { noTime } from '../../../api/contract/routing-table.ts';
import { type ErrorCode, errors } from '../../../api/errors.ts';
import { datatypeInfo, showShape, type Tensor, type TensorInfo } from '../tensors.ts';

/** A version is given this time even where the stable one is quicker by far. */
const leastBudgetMs = 250;

/**
 * Milliseconds that another version has before the stable one answers instead. The other half of what the caller allows
 * stays for that.
 *
 * @param stableP99Ms 0: not known, so that nothing says that less than the half is enough for such a model
 */
export function budgetMs(remainingMs: number, stableP99Ms: number): number {
  const half = remainingMs / 2;
  return stableP99Ms === 0 ? half : Math.min(half, Math.max(leastBudgetMs, 3 * stableP99Ms));
}

/**
 * Whether the stable version could still answer after another one was late. If not, another version is not asked: callers would
 * fail because of one that is as good.
 *
 * @param stableP99Ms 0: not known, and each has half of it
 */
export const hasTimeForBoth = (remainingMs: number, stableP99Ms: number): boolean => remainingMs >= 2 * stableP99Ms;

/** Why another version has not answered a request that was its own. */
export type FailureReason =
  /** No connection, or it ended. */
  | 'unreachable'
  | 'late'
  /** It was not even asked, because it was not there a moment ago. */
  | 'breaker'
  /** It was not even asked, because the caller's deadline would not have left the stable version time to answer instead. */
  | typeof noTime
  /** More is waiting for it than it takes. */
  | 'overloaded'
  /** The model has thrown, or the process has refused the request. */
  | 'error'
  /** Names, types or shapes are not those of the stable version. */
  | 'signature'
  /** NaN or an infinity where the stable version has a number. */
  | 'not-finite'
  /** The answer could not be written in the caller's protocol, though the stable version's could. */
  | 'answer';

/** Whose fault a failure of another version is. Only the candidate's counts against it. */
export type Blame = 'candidate' | 'client' | 'unclear';

/**
 * @param stable the error that the stable version has for the same request; undefined: it has answered
 */
export function blameFor(stable: ErrorCode | undefined): Blame {
  if (stable === undefined) return 'candidate';
  // It would fail again whoever was asked; others (no room, no time) say nothing of the request.
  return errors[stable].outcome === 'terminal' ? 'client' : 'unclear';
}

/** Which of another version's tensors are which of the stable one's. */
export interface Fit {
  /** For each of its inputs, the index among the stable version's. */
  readonly inputs: readonly number[];
  /** For each of the stable version's outputs, the index among its own. */
  readonly outputs: readonly number[];
}

interface Signature {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
}

/**
 * A version can stand in for the stable one when it needs nothing more and gives nothing less: the same names, datatypes and
 * dimensions, in any order. Outputs that only it has are left out of answers.
 *
 * @returns what does not fit, where it does not
 */
export function fitOf(stable: Signature, other: Signature): Fit | string {
  const inputs: number[] = [];
  for (const input of other.inputs) {
    const index = stable.inputs.findIndex(({ name }) => name === input.name);
    const problem = mismatch('input', input, stable.inputs[index]);
    if (problem) return problem;
    inputs.push(index);
  }
  const outputs: number[] = [];
  for (const output of stable.outputs) {
    const index = other.outputs.findIndex(({ name }) => name === output.name);
    const problem = mismatch('output', output, other.outputs[index]);
    if (problem) return problem;
    outputs.push(index);
  }
  return { inputs, outputs };
}

/** Dimensions that are free on one side may be anything on the other; what comes is looked at again. */
function mismatch(what: string, a: TensorInfo, b: TensorInfo | undefined): string | undefined {
  if (!b) return `${what} ${a.name} is on one side only`;
  if (a.datatype !== b.datatype) return `${what} ${a.name} is ${a.datatype} on one side, ${b.datatype} on the other`;
  const fits = a.shape.length === b.shape.length && a.shape.every((dim, i) => agree(dim, b.shape[i] as number));
  return fits
    ? undefined
    : `${what} ${a.name} is ${showShape(a.shape)} on one side, ${showShape(b.shape)} on the other`;
}

const agree = (a: number, b: number): boolean => a === b || a === -1 || b === -1;

/**
 * Whether tensors are what `infos` say.
 *
 * @param rows what a free first dimension has to be; undefined: anything
 * @returns what is wrong, where something is
 */
export function misfit(
  tensors: readonly Tensor[],
  infos: readonly TensorInfo[],
  rows: number | undefined,
): string | undefined {
  if (tensors.length !== infos.length) return `${tensors.length} tensors instead of ${infos.length}`;
  for (let i = 0; i < infos.length; i++) {
    const { name, datatype, shape } = infos[i] as TensorInfo;
    const tensor = tensors[i] as Tensor;
    if (tensor.datatype !== datatype) return `${name} is ${tensor.datatype} instead of ${datatype}`;
    let fits = tensor.shape.length === shape.length;
    for (let d = 0; fits && d < shape.length; d++) {
      const wanted = d === 0 && shape[0] === -1 ? (rows ?? -1) : (shape[d] as number);
      fits = wanted === -1 || tensor.shape[d] === wanted;
    }
    if (!fits) return `${name} has the shape ${showShape(tensor.shape)} instead of ${showShape(shape)}`;
  }
  return undefined;
}

export function allFinite(tensors: readonly Tensor[]): boolean {
  return tensors.every(({ datatype, data }) => {
    if (datatypeInfo(datatype).class !== 'float') return true;
    for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i])) return false;
    return true;
  });
}

/** Whether `other` has a NaN or an infinity where `stable` has a number. Tensors of one request, in one order. */
export function lessFinite(other: readonly Tensor[], stable: readonly Tensor[]): boolean {
  return other.some(({ datatype, data }, t) => {
    if (datatypeInfo(datatype).class !== 'float') return false;
    const twin = stable[t]?.data ?? [];
    for (let i = 0; i < data.length; i++) {
      // Where the lengths differ, what is missing there was no NaN.
      if (!Number.isFinite(data[i]) && (twin[i] === undefined || Number.isFinite(twin[i]))) return true;
    }
    return false;
  });
}
