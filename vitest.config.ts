import { defineConfig } from 'vitest/config';

const include = '{api,brokers,operator,runtime,cli,hack,test}/**/*.test.ts';
/** What needs brokers, which are started once for all of it. */
const withRabbit = '**/*.rabbitmq.test.ts';
/** What needs an API server, likewise. */
const withCluster = '**/*.cluster.test.ts';
/** What needs a whole cluster, which is made for it: only when asked for (hack/test.ts). */
const withNode = '**/*.e2e.test.ts';
const e2e = { all: withNode, smoke: '**/iris.e2e.test.ts' }[process.env['LEVADA_E2E'] ?? ''];

export default defineConfig({
  test: {
    // Some start processes, train models or compile; a hung one still ends.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    teardownTimeout: 30_000,
    maxWorkers: 2,
    pool: 'forks',
    projects: [
      {
        extends: true,
        test: {
          name: 'levada',
          include: [include],
          exclude: [withRabbit, withCluster, withNode, '**/node_modules/**'],
        },
      },
      {
        extends: true,
        test: { name: 'rabbitmq', include: [withRabbit], globalSetup: ['test/support/rabbitmq-setup.ts'] },
      },
      {
        extends: true,
        test: { name: 'cluster', include: [withCluster], globalSetup: ['test/support/cluster-setup.ts'] },
      },
      ...(e2e
        ? [
            {
              extends: true as const,
              test: {
                name: 'e2e',
                include: [e2e],
                globalSetup: ['test/e2e/setup.ts'],
                testTimeout: 600_000,
                fileParallelism: false,
              },
            },
          ]
        : []),
    ],
  },
});
