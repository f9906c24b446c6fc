import { isUtf8 } from 'node:buffer';
import { LevadaError, messageOf } from '../../../api/errors.ts';
import { datatypeInfo, type Tensor, type TensorInfo } from '../tensors.ts';

/** Deeper than any tensor: ONNX Runtime's and the protocols' objects together have some ten levels. */
const maxDepth = 64;
/** Bodies that are smaller cannot be deep enough to hurt. */
const shallowBytes = 64 * 2 ** 10;

/** Text of a body. @throws LevadaError InvalidJson when it is not UTF-8, or nested too deeply */
export function bodyText(body: Buffer): string {
  if (!isUtf8(body)) throw new LevadaError('InvalidJson', { detail: 'it is not UTF-8' });
  if (body.length > shallowBytes) checkDepth(body);
  return body.toString('utf8');
}

/** JSON.parse takes any depth, but ten times as long for it: seconds for a body of the largest size. */
function checkDepth(body: Buffer): void {
  let depth = 0;
  for (let i = 0; i < body.length; i++) {
    const byte = body[i];
    if (byte === 0x22) {
      for (i++; i < body.length && body[i] !== 0x22; i++) if (body[i] === 0x5c) i++;
    } else if (byte === 0x5b || byte === 0x7b) {
      if (++depth > maxDepth) throw new LevadaError('InvalidJson', { detail: `nested deeper than ${maxDepth}` });
    } else if (byte === 0x5d || byte === 0x7d) depth--;
  }
}

/** @throws LevadaError InvalidJson */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new LevadaError('InvalidJson', { detail: messageOf(error).slice(0, 200) });
  }
}

type Reviver = (this: unknown, key: string, value: unknown, context: { source?: string }) => unknown;

/** As {@link parseJson}, but integers beyond 2^53 become bigints. Slower; for bodies that need it. */
export function parseJsonExact(text: string): unknown {
  const exact: Reviver = (_key, value, { source }) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && source !== undefined && /^-?\d+$/.test(source)
      ? BigInt(source)
      : value;
  try {
    return JSON.parse(text, exact as (key: string, value: unknown) => unknown);
  } catch (error) {
    // The reviver recurses, so a body that is nested deeply enough overflows the stack here.
    throw new LevadaError('InvalidJson', { detail: messageOf(error).slice(0, 200) });
  }
}

/**
 * The elements `[from, to)` of a tensor as the inside of a JSON array. FP32 is printed as the double that it is.
 *
 * @throws LevadaError OutputNotFinite: JSON has no NaN and no infinity
 */
export function elementsJson(tensor: Tensor, { name }: Pick<TensorInfo, 'name'>, from: number, to: number): string {
  const { data } = tensor;
  const kind = datatypeInfo(tensor.datatype).class;
  let text = '';
  for (let i = from; i < to; i++) {
    const value = data[i] as number | bigint | string;
    if (i > from) text += ',';
    if (kind === 'float') {
      if (!Number.isFinite(value)) {
        throw new LevadaError('OutputNotFinite', { field: name, found: String(value), index: i - from });
      }
      // `String(-0)` is "0": the sign would be lost.
      text += Object.is(value, -0) ? '-0.0' : value;
    } else if (kind === 'string') text += JSON.stringify(value);
    else if (kind === 'bool') text += value ? 'true' : 'false';
    else text += value;
  }
  return text;
}
