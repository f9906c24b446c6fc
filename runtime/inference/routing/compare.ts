import { datatypeInfo, type Tensor } from '../tensors.ts';

/** Two floating-point numbers are the same up to this much of the greater one, and up to this much. */
const tolerance = 0.001;

/**
 * Whether two versions have answered differently: an output of the same request, of both. Whole numbers, texts and booleans
 * are the same when they are equal; floating-point numbers also when they are about equal, or neither is a number.
 */
export function differ(a: Tensor, b: Tensor): boolean {
  if (a.datatype !== b.datatype || a.data.length !== b.data.length) return true;
  const isFloat = datatypeInfo(a.datatype).class === 'float';
  for (let i = 0; i < a.data.length; i++) {
    const [x, y] = [a.data[i], b.data[i]];
    if (x !== y && !(isFloat && isClose(x as number, y as number))) return true;
  }
  return false;
}

const isClose = (x: number, y: number): boolean =>
  Number.isFinite(x) && Number.isFinite(y)
    ? Math.abs(x - y) <= tolerance * Math.max(1, Math.abs(x), Math.abs(y))
    : Object.is(x, y);
