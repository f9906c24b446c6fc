import { expect, test } from 'vitest';
import { staleFiles } from './generate.ts';

test('generated files are up to date (else run: node hack/generate.ts)', async () => {
  expect((await staleFiles()).map(({ path }) => path)).toEqual([]);
});
