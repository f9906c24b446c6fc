import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['{api,operator,runtime,cli,hack,test}/**/*.test.ts'],
    // Some start processes, train models or compile; a hung one still ends.
    testTimeout: 120_000,
    hookTimeout: 600_000,
    teardownTimeout: 30_000,
    maxWorkers: 2,
    pool: 'forks',
  },
});
