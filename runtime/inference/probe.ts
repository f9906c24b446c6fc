import { LevadaError, messageOf } from '../../api/errors.ts';
import type { Session } from './onnx.ts';
import { allocate, concatRows, datatypeInfo, elements, rows, type Tensor, type TensorInfo } from './tensors.ts';

/** What running the model on made-up inputs has shown. */
export interface Probe {
  /** Rows of different requests may share a run: it changes no answer. */
  readonly joinable: boolean;
  /** Milliseconds of a warm run of `maxBatchSize` rows (of one, where rows cannot be joined). 0: no input could be made up that runs. */
  readonly runMs: number;
  /** Why something could not be found out; for the log. */
  readonly notes: readonly string[];
}

/** Tried for free dimensions other than the first: 1 suits most models, the others pictures and sequences. */
const freeDimensions = [1, 8, 32, 224];
const tolerance = { absolute: 1e-5, relative: 1e-4 };

/** Whether all inputs and outputs have a free first dimension, so that it can be a batch. */
export const hasFreeBatch = (session: Pick<Session, 'inputs' | 'outputs'>): boolean =>
  [...session.inputs, ...session.outputs].every(({ shape }) => shape[0] === -1);

/**
 * Warms the model up, times it, and finds out whether rows can be joined: two rows alone must give what they give
 * together. A free first dimension alone does not say that: it may be a sequence.
 *
 * @throws LevadaError ModelWarmUpFailed when no run can succeed
 */
export async function probe(session: Session, maxBatchSize: number, path: string): Promise<Probe> {
  const notes: string[] = [];
  const found = await firstThatRuns(session);
  if ('error' in found) {
    // Integers and strings may be keys that the model refuses; floating-point numbers of any value should pass.
    const certain = session.inputs.every(
      ({ datatype, shape }) => datatypeInfo(datatype).class === 'float' && shape.slice(1).every((dim) => dim !== -1),
    );
    if (certain) throw new LevadaError('ModelWarmUpFailed', { path, detail: found.error });
    return { joinable: false, runMs: 0, notes: [`no warm-up, requests are not joined: ${found.error}`] };
  }
  let joinable = false;
  if (hasFreeBatch(session)) {
    joinable = await rowsAreIndependent(session, found.make);
    if (!joinable) notes.push('rows of one run change each other: requests are not joined');
  }
  const full = found.make(joinable ? maxBatchSize : 1, 1);
  const times: number[] = [];
  for (let i = 0; i < 3; i++) {
    times.push((await session.run(full)).ms); // the least of a few: others' load does not count
  }
  return { joinable, runMs: Math.min(...times), notes };
}

type Make = (count: number, seed: number) => Tensor[];

async function firstThatRuns(session: Session): Promise<{ make: Make } | { error: string }> {
  let error = '';
  const free = session.inputs.some(({ shape }) => shape.slice(1).includes(-1)) ? freeDimensions : [1];
  for (const dimension of free) {
    for (const varied of [true, false]) {
      const make: Make = (count, seed) =>
        session.inputs.map((input) => synthetic(input, count, dimension, varied ? seed : 0));
      try {
        await session.run(make(1, 1));
        return { make };
      } catch (thrown) {
        error ||= messageOf(thrown).slice(0, 300);
      }
    }
  }
  return { error };
}

async function rowsAreIndependent(session: Session, make: Make): Promise<boolean> {
  try {
    const parts = [make(1, 1), make(1, 2), make(1, 3)];
    const alone: Tensor[][] = [];
    for (const part of parts) alone.push((await session.run(part)).outputs);
    const joined = session.inputs.map((_, i) => concatRows(parts.map((p) => p[i] as Tensor)));
    const together = (await session.run(joined)).outputs;
    return together.every(
      (tensor, i) =>
        tensor.shape[0] === parts.length &&
        alone.every((outputs, row) => close(rows(tensor, row, row + 1), outputs[i] as Tensor)),
    );
  } catch {
    return false; // what runs alone does not run together
  }
}

function close(a: Tensor, b: Tensor): boolean {
  if (a.data.length !== b.data.length) return false;
  for (let i = 0; i < a.data.length; i++) {
    const [x, y] = [a.data[i], b.data[i]];
    if (Object.is(x, y)) continue;
    if (typeof x !== 'number' || typeof y !== 'number') return false;
    if (!(Math.abs(x - y) <= tolerance.absolute + tolerance.relative * Math.abs(y))) return false;
  }
  return true;
}

/** An input of `count` rows. The same arguments give the same values; seed 0 gives zeros and empty strings. */
function synthetic({ datatype, shape }: TensorInfo, count: number, dimension: number, seed: number): Tensor {
  const actual = shape.map((dim, index) => (dim !== -1 ? dim : index === 0 ? count : dimension));
  const data = allocate(datatype, elements(actual));
  const kind = datatypeInfo(datatype).class;
  // A linear congruential generator (Numerical Recipes): the values only have to differ.
  let state = seed * 2_654_435_761;
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const bit = seed === 0 ? 0 : state >>> 31;
    if (kind === 'string') (data as string[])[i] = seed === 0 ? '' : 'a';
    else if (kind === 'bigint') (data as BigInt64Array)[i] = BigInt(bit);
    else (data as Float32Array)[i] = kind === 'float' && seed !== 0 ? (state / 2 ** 31 - 1) * 2 : bit;
  }
  return { datatype, shape: actual, data };
}
