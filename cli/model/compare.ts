import { showShape, type Tensor } from '../../runtime/inference/tensors.ts';

/** Numbers agree when |found − expected| ≤ absolute + relative · |expected|; anything else when it is equal. */
export interface Tolerance {
  readonly absolute: number;
  readonly relative: number;
}

export interface Difference {
  readonly output: string;
  readonly message: string;
}

/** Every element of `found` that is not as expected. */
export function compareTensors(output: string, found: Tensor, expected: Tensor, tolerance: Tolerance): Difference[] {
  if (showShape(found.shape) !== showShape(expected.shape)) {
    return [{ output, message: `shape ${showShape(found.shape)}, expected ${showShape(expected.shape)}` }];
  }
  const differences: Difference[] = [];
  for (let i = 0; i < found.data.length; i++) {
    const [a, b] = [found.data[i], expected.data[i]];
    if (agree(a, b, tolerance)) continue;
    differences.push({ output, message: `element ${i} is ${String(a)}, expected ${String(b)}` });
  }
  return differences;
}

function agree(a: unknown, b: unknown, { absolute, relative }: Tolerance): boolean {
  if (typeof a !== 'number' || typeof b !== 'number') return a === b;
  return Object.is(a, b) || Math.abs(a - b) <= absolute + relative * Math.abs(b);
}
